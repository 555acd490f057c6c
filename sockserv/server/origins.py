"""Where a connection comes from, asked of its transport."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final
from weakref import WeakKeyDictionary

from twisted.internet.address import IPv4Address, IPv6Address

from sockserv.net.peer import Peer
from sockserv.trust.origin import Origin, PeerCertificate
from sockserv.trust.throttle import source_of

__all__ = ["Origins", "is_here", "origin_of", "place_of"]

_CREDENTIALS: Final = struct.Struct("=iII")
"""Linux's `struct ucred`: process, account, group."""

_NOBODYS: Final = {65534, 0xFFFFFFFF}
"""What the system says where it has no number for the account here, as one of another container: it
could be anybody.
"""


class Origins:
    """Where each connection comes from, as `origin_of` finds out from its transport."""

    def __init__(self, origin_of: Callable[[Any], Origin]) -> None:
        self._origin_of = origin_of
        # Asked once for each connection: after its end, the system does not know any more.
        self._known: WeakKeyDictionary[Peer, Origin] = WeakKeyDictionary()

    def of(self, peer: Peer) -> Origin:
        """Where a connection comes from; to be asked for the first time while it is open."""
        origin = self._known.get(peer)
        if origin is None:
            origin = self._known[peer] = self._origin_of(peer.transport)
        return origin

    def know(self, peer: Peer, origin: Origin) -> None:
        """A connection comes from elsewhere than its transport says: somebody was listened to who passes it on."""
        self._known[peer] = origin


def origin_of(transport: Any) -> Origin:
    """Where the connection on a transport comes from; to be asked while it is connected, and TLS has shaken hands."""
    address = transport.getPeer()
    certificate = _certificate_of(transport)
    if isinstance(address, IPv4Address | IPv6Address):
        return Origin(_plain(address.host), address.port, certificate=certificate)
    return Origin(uid=_uid_of(transport), certificate=certificate)


def place_of(address: Any) -> str:
    """Whose address this is, as far as that can be told from it: one that guesses has many in an IPv6 network."""
    if isinstance(address, IPv4Address | IPv6Address):
        return source_of(Origin(_plain(address.host)))
    return source_of(Origin())


def is_here(address: Any) -> bool:
    """Whether this is an address of this machine that no other one can have: loopback, or a Unix socket."""
    if not isinstance(address, IPv4Address | IPv6Address):
        return True
    try:
        return ip_address(_plain(address.host)).is_loopback
    except ValueError:
        return False


def _plain(host: str) -> str:
    """An address as people write it: a listener for both IPv4 and IPv6 gives the former in the latter's clothes."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return str(getattr(address, "ipv4_mapped", None) or address)


def _uid_of(transport: Any) -> int | None:
    """The account of the process that has connected to a Unix socket, where the system tells."""
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    option = getattr(socket, "SO_PEERCRED", None)
    if not isinstance(handle, socket.socket) or handle.family != socket.AF_UNIX or option is None:
        return None
    _, uid, _ = _CREDENTIALS.unpack(handle.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return None if uid in _NOBODYS else uid


def _certificate_of(transport: Any) -> PeerCertificate | None:
    """The certificate that the peer has shown, where the transport is one of TLS."""
    if not hasattr(transport, "getPeerCertificate"):
        return None
    # Imported late: a server without TLS needs none of it.
    from sockserv.tls.contexts import peer_certificate

    return peer_certificate(transport)
