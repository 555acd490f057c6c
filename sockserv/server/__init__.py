"""Serving calls: what joins services and trust to the network."""

from sockserv.server.server import Server

__all__ = ["Server"]
