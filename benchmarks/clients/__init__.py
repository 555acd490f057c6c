"""The programs that load the servers: each a process that reads a plan and prints a result, as JSON."""
