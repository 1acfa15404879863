"""LocalDrive and RemoteDrive, and the drive protocol between them."""
