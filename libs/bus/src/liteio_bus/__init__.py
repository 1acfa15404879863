"""NATS connection, streams, publishers and consumers."""
