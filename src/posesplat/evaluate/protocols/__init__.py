"""Benchmarks: what is measured, on which data, against whom, and how it is reported."""
