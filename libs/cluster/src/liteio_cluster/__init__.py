"""Opening a store: drives of this machine, or of storage nodes."""
