"""Servers of the file benchmark: each serves the folder that it is given as its first argument."""
