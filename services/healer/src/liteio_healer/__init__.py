"""Repairs, rebuilds, scans and tidies the drives; publishes what their outboxes hold."""
