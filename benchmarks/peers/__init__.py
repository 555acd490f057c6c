"""The servers that are measured: one a file, each a process that prints where it listens."""
