"""The servers of the benchmark of remote commands."""
