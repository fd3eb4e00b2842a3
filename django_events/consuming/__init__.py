"""From Kafka to the user's functions: groups, attempts, offsets."""
