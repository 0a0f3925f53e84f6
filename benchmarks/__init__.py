"""Benchmarks. Not part of the package."""
