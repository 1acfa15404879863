"""Settings, logs, process supervision and the `liteio` command."""
