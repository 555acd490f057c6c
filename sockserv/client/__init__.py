"""The client for programs: `connect`, and what comes of it."""

from sockserv.client.client import Client, Reply
from sockserv.client.connecting import connect, connect_endpoint
from sockserv.net.calls import OutgoingCall

__all__ = ["Client", "OutgoingCall", "Reply", "connect", "connect_endpoint"]
