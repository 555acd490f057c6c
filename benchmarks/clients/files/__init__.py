"""Clients of the file benchmark: each does the jobs that it is given on its standard input."""
