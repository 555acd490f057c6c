"""The clients of the benchmark of remote commands."""
