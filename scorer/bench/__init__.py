"""Benchmark evaluation runs: suites become jobs, and answers become figures with intervals."""
