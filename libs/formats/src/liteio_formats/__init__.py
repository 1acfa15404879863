"""What is stored: object records, format.json, shard footers; encode, decode, migrate."""
