"""A kept job outside of the daemon: its folder on the disk, and the supervisor, a small process that looks after it.

The supervisor starts the command, keeps what it writes in bounded files, and writes down how it has ended, whatever
becomes of the daemon, which finds it by the folder. Nothing here imports Twisted, so that a supervisor is small.
"""
