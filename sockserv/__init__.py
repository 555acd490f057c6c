"""sockserv: remote commands, files and talk over one small framed protocol, on Twisted.

The names below are loaded when they are first used, so that a program pays only for what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sockserv.client import Client, OutgoingCall, Reply, connect
    from sockserv.errors import CallError, SockservError
    from sockserv.limits import Limits
    from sockserv.server import Server
    from sockserv.services import Audit, Call, Service, operation
    from sockserv.trust import Anonymous, Identity, TokenAuthenticator

_HOMES = {
    "Anonymous": "sockserv.trust",
    "Audit": "sockserv.services",
    "Call": "sockserv.services",
    "CallError": "sockserv.errors",
    "Client": "sockserv.client",
    "Identity": "sockserv.trust",
    "Limits": "sockserv.limits",
    "OutgoingCall": "sockserv.client",
    "Reply": "sockserv.client",
    "Server": "sockserv.server",
    "Service": "sockserv.services",
    "SockservError": "sockserv.errors",
    "TokenAuthenticator": "sockserv.trust",
    "connect": "sockserv.client",
    "operation": "sockserv.services",
}

__all__ = [
    "Anonymous",
    "Audit",
    "Call",
    "CallError",
    "Client",
    "Identity",
    "Limits",
    "OutgoingCall",
    "Reply",
    "Server",
    "Service",
    "SockservError",
    "TokenAuthenticator",
    "__version__",
    "connect",
    "operation",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
