"""From the caller's transaction to Kafka. Gets events and plain values; knows no Topic."""
