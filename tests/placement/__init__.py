"""What placement does with a thousand drives: `python -m tests.placement`."""
