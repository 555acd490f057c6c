"""The protocol itself, pure: bytes in, events out. Nothing here knows Twisted, sockets or time."""
