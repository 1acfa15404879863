"""Benchmarks. They print figures and ratios and never pass or fail: `make bench`, or `python -m tests.bench -h`."""
