"""Daemon and clients are killed at any moment, again and again; then everything on the disk is looked at.

`python -m tests.crash.files --rounds 200` takes some minutes; the integration tests do a few rounds.
"""
