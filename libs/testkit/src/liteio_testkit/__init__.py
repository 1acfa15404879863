"""Test doubles and contract suites: imported by tests only."""
