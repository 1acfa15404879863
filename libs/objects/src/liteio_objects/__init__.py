"""The ObjectLayer over any StorageAPI: commit, read, settle, list, multipart, heal."""
