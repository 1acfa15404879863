"""The S3 contract without I/O: SigV4, aws-chunked, XML shapes, checksums, the error catalogue."""
