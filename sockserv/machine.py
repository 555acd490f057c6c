"""What this machine is called, and at which addresses others reach it."""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

__all__ = ["Address", "addresses", "names"]

Address = IPv4Address | IPv6Address

_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses that nobody has (RFC 5737, RFC 3849): where to is of no concern, only from where."""


def addresses() -> list[Address]:
    """The addresses that this machine sends from to the rest of the world, IPv4 first; none without a network.

    Nothing is sent, and no name server asked.
    """
    found: list[Address] = []
    for family, elsewhere in _ELSEWHERE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            address = ip_address(probe.getsockname()[0])
            if not address.is_unspecified and not address.is_link_local:
                found.append(address)
    return found


def names() -> list[str | Address]:
    """All that a certificate for this machine may say: its names, its addresses, and those of loopback."""
    loopback: list[str | Address] = [IPv4Address("127.0.0.1"), IPv6Address("::1")]
    return ["localhost", socket.gethostname(), *loopback, *addresses()]
