"""The drive protocol: drives of another machine over HTTP/2. docs/protocols/drive.md describes the wire."""
