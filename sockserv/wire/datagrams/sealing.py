"""Sealing datagrams with AES-GCM, and opening them.

Invariants:

1. Each direction of a session has a key of its own, and no counter is used twice with one: a nonce is never repeated.
2. The header is authenticated together with the content: nobody can change either.
3. A counter is used up to `MAX_DATAGRAMS` and not beyond, however long the session lives.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import Final

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sockserv.wire.datagrams.drops import DatagramDropped, DropReason
from sockserv.wire.datagrams.layout import (
    HEADER,
    MAX_DATAGRAM_BYTES,
    SESSION_ID_BYTES,
    TAG_BYTES,
    Kind,
)
from sockserv.wire.receiver import Role

__all__ = ["KEY_BYTES", "MAX_DATAGRAMS", "Opener", "Sealer", "SessionKeys"]

KEY_BYTES: Final = 32

MAX_DATAGRAMS: Final = 2**28
"""How many datagrams one key seals at most; the bound is that of RFC 9001, appendix B.1, for
AES-GCM and short packets.
"""

_kept_cipher_of = lru_cache(256)(AESGCM)
"""A cipher has 2.5 KiB and takes a few microseconds to make: those sessions have one that are busy."""

_BUSY_DATAGRAMS: Final = 16
"""Before so many, no cipher is kept: to join and to say nothing takes fewer."""

_NONCE_PREFIX: Final = bytes(4)
_HEADER_BYTES: Final = HEADER.size
_COUNTER_OFFSET: Final = HEADER.size - 8


def _right_size(instance: object, attribute: attrs.Attribute[bytes], value: bytes) -> None:
    size = SESSION_ID_BYTES if attribute.name == "session_id" else KEY_BYTES
    if value is not None and len(value) != size:
        raise ValueError(f"{attribute.name} has {len(value)} bytes: it must have {size}")


@attrs.frozen(kw_only=True)
class SessionKeys:
    """What both ends of a session know, and nobody else.

    A second session with the same keys would use nonces again: it must not be.

    `session_id` names the session (8 bytes, in the clear on each datagram); `client_key` seals what the client sends,
    `server_key` what the server sends (32 bytes each). Without keys nothing is sealed, which is for loopback alone:
    then whoever knows the id can forge.
    """

    session_id: bytes = attrs.field(validator=_right_size)
    client_key: bytes | None = attrs.field(default=None, repr=False, validator=_right_size)
    server_key: bytes | None = attrs.field(default=None, repr=False, validator=_right_size)

    def __attrs_post_init__(self) -> None:
        if (self.client_key is None) != (self.server_key is None):
            raise ValueError("there is a key for one direction only: give both, or none")
        if self.client_key is not None and self.client_key == self.server_key:
            raise ValueError("both directions have the same key, and would share their nonces")

    @property
    def is_sealed(self) -> bool:
        """Whether datagrams are sealed."""
        return self.client_key is not None

    @classmethod
    def make(cls, *, sealed: bool = True) -> SessionKeys:
        """New ones, from the system's random numbers."""
        return cls(
            session_id=secrets.token_bytes(SESSION_ID_BYTES),
            client_key=secrets.token_bytes(KEY_BYTES) if sealed else None,
            server_key=secrets.token_bytes(KEY_BYTES) if sealed else None,
        )

    def key_of(self, role: Role) -> bytes | None:
        """The key with which this role seals what it sends."""
        return self.client_key if role is Role.CLIENT else self.server_key


def _cipher_of(key: bytes, datagrams: int) -> AESGCM:
    """The cipher of a key with which so many datagrams have been sealed, or tried."""
    return _kept_cipher_of(key) if datagrams >= _BUSY_DATAGRAMS else AESGCM(key)


class Sealer:
    """Makes the datagrams of one direction; `counter` is that of the next one."""

    __slots__ = ("_key", "_kind", "_session_id", "counter")

    def __init__(self, keys: SessionKeys, role: Role) -> None:
        key = keys.key_of(role)
        self._key = key
        self._kind = int(Kind.PLAIN if key is None else Kind.SEALED)
        self._session_id = keys.session_id
        self.counter = 0

    @property
    def is_worn_out(self) -> bool:
        """Whether the key may seal no more."""
        return self.counter >= MAX_DATAGRAMS

    def seal(self, content: bytes) -> bytes:
        """The next datagram; raises `OverflowError` when the key is worn out."""
        counter = self.counter
        if counter >= MAX_DATAGRAMS:
            raise OverflowError("the key of a session has sealed as much as it may")
        self.counter = counter + 1
        header = HEADER.pack(self._kind, self._session_id, counter)
        if self._key is None:
            return header + content
        return header + _cipher_of(self._key, counter).encrypt(
            _NONCE_PREFIX + header[_COUNTER_OFFSET:], content, header
        )


class Opener:
    """Reads the datagrams of the other direction; each has `overhead_bytes` besides its content."""

    __slots__ = ("_key", "_kind", "_session_id", "_tried", "overhead_bytes")

    def __init__(self, keys: SessionKeys, role: Role) -> None:
        """`role` is that of whoever reads."""
        key = keys.key_of(Role.SERVER if role is Role.CLIENT else Role.CLIENT)
        self._key = key
        self._kind = int(Kind.PLAIN if key is None else Kind.SEALED)
        self._session_id = keys.session_id
        self._tried = 0
        """How many were opened, forged ones too; counted up to where it matters."""
        self.overhead_bytes = HEADER.size + (0 if key is None else TAG_BYTES)

    def counter_of(self, datagram: bytes) -> int:
        """The counter of a datagram that may be one of the session; raises `DatagramDropped` if it cannot be."""
        size = len(datagram)
        if size < self.overhead_bytes:
            raise DatagramDropped(DropReason.TOO_SHORT)
        if size > MAX_DATAGRAM_BYTES:
            raise DatagramDropped(DropReason.TOO_LONG)
        kind, session_id, counter = HEADER.unpack_from(datagram)
        if kind != self._kind:
            raise DatagramDropped(DropReason.WRONG_KIND)
        if session_id != self._session_id:
            raise DatagramDropped(DropReason.UNKNOWN_SESSION)
        if counter >= MAX_DATAGRAMS:
            raise DatagramDropped(DropReason.MALFORMED)
        return int(counter)

    def open(self, datagram: bytes) -> bytes:
        """The content of a datagram that `counter_of` let through; raises `DatagramDropped` if it was not sealed by the
        peer.
        """
        header = datagram[:_HEADER_BYTES]
        if self._key is None:
            return datagram[_HEADER_BYTES:]
        if self._tried < _BUSY_DATAGRAMS:
            self._tried += 1
        try:
            return _cipher_of(self._key, self._tried).decrypt(
                _NONCE_PREFIX + header[_COUNTER_OFFSET:], datagram[_HEADER_BYTES:], header
            )
        except InvalidTag:
            raise DatagramDropped(DropReason.FORGED) from None
