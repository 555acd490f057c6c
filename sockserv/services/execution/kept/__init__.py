"""Kept jobs: commands that run on whatever becomes of their caller, and of the daemon.

Each has a small process of its own, its supervisor, which starts the command, keeps what it writes in bounded files,
and writes down how it has ended. The daemon finds it by its folder in the state directory, and talks to it by a
socket there.
"""
