"""Everything that knows Kafka: records, names on the wire, librdkafka's options and clients.

Only modules in here import confluent_kafka, and neither this one nor ``record`` does. Events are unknown here.
"""
