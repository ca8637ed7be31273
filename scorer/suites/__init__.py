"""Benchmark suites: what a suite file says, which questions it makes of a dataset's rows, and how answers are read."""
