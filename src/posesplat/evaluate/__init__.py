"""Metrics, rivals and benchmarks."""
