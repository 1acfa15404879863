"""The seams: StorageAPI, LockAPI, ObjectLayer, their value types and errors; the bus messages."""
