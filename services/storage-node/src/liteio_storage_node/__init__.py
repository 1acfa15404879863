"""Serves the drives of its host over HTTP/2."""
