"""The stateless S3 front door."""
