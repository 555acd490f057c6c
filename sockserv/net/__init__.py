"""Twisted around `sockserv.wire`: transports, producers, timeouts, running calls."""
