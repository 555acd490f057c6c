"""TLS between a TCP transport and a protocol, on OpenSSL's memory BIOs.

It does what `twisted.protocols.tls` does, for the protocols of this house, in fewer turns of the reactor and in larger
pieces: ciphertext goes out as `sockserv.net.outlet` sends it, the plaintext of a delivery is handed on as one, and
what a protocol says first goes out with its answer to what has come with the end of the handshake.

Invariants:

1. Nothing is encrypted, and no plaintext handed on, before the handshake is done and `Security.verify` is content.
2. What waits for the transport is bounded: see `sockserv.net.ciphertext`.
3. The protocol is told of a clean end (`ConnectionDone`) only if the peer has announced it, or we: a stream that
   somebody on the way has cut is `ConnectionLost`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from typing import Protocol as Interface

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    ISSLTransport,
    ISystemHandle,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from sockserv.errors import ConnectError
from sockserv.net.bulk import in_memory
from sockserv.net.ciphertext import Ciphertext, TooMuchWaits
from sockserv.net.outlet import Outlet, OutletSource
from sockserv.wire.outbox import Buffer

__all__ = ["HandshakeFailed", "NotTls", "Security", "TlsFactory", "TlsTransport"]

_RECORD_BYTES: Final = 16 * 1024
"""The most plaintext that a record holds (RFC 8446, section 5.1)."""

_RECORD_OVERHEAD_BYTES: Final = 64
"""More than a record has besides: its head, its type, its tag."""

_HANDSHAKE_BYTES: Final = 4 * 1024
"""Enough for what a handshake says at once, with a short chain of certificates."""

_RECORD_TYPES: Final = b"\x14\x15\x16\x17"
"""What TLS may begin with; nothing else that is spoken on TCP does."""

_ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x46"
"""The alert `protocol_version`: whoever does not speak TLS can tell from it that we do."""


class HandshakeFailed(ConnectError):
    """There is no TLS with the peer; the message says why."""


class NotTls(HandshakeFailed):
    """What the peer speaks is not TLS."""


class Security(Interface):
    """The keys and the judgement behind the connections of a `TlsFactory`."""

    def connection(self) -> SSL.Connection:
        """An OpenSSL connection on memory BIOs, which knows whether it accepts or connects."""

    def verify(self, connection: SSL.Connection, *, is_done: bool) -> None:
        """Called when the handshake is done, or has failed.

        Raises `ConnectError` when the peer is not who it should be.
        """

    def failed(self, address: IAddress, error: ConnectError) -> None:
        """Called when there is no TLS with the peer at `address`."""


class TlsFactory(Factory):
    """Makes the protocols of another factory speak TLS."""

    noisy = False

    def __init__(self, factory: IProtocolFactory, security: Security) -> None:
        self._factory = factory
        self._security = security

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """TLS around what the other factory makes, if it makes something."""
        protocol = self._factory.buildProtocol(addr)
        return None if protocol is None else TlsTransport(self._security, protocol)


@implementer(ISSLTransport, ISystemHandle)
class TlsTransport(Protocol, OutletSource):
    """The protocol of a TCP transport, and the transport of `protocol`.

    `protocol` gets its transport with the TCP connection; what it writes waits for the handshake. If that fails, its
    `connectionLost` is given the `ConnectError`.
    """

    def __init__(self, security: Security, protocol: IProtocol) -> None:
        self.protocol = protocol
        self._security = security
        self._tls = security.connection()
        self._out: Ciphertext | None = None
        self._outlet: _TlsOutlet | None = None
        # What is written without an outlet, until it can be encrypted.
        self._written: list[bytes] = []
        self._has_heard = self._has_flushed = False
        self._is_open = False
        self._has_read = False
        self._is_closing = False
        self._ends_cleanly = False
        self._failure: Failure | None = None

    # The protocol of the TCP transport

    def connectionMade(self) -> None:
        """Give the protocol its transport, and begin the handshake."""
        assert self.transport is not None
        self._out = Ciphertext(self._tls, self.transport, self._on_writable)
        self.protocol.makeConnection(self)
        self._shake_hands()
        self._flush(_HANDSHAKE_BYTES)

    def dataReceived(self, data: bytes) -> None:
        """Decrypt, and hand on what was in it."""
        out = self._out
        if out is None:
            return
        if not self._has_heard:
            self._has_heard = True
            if data[0] not in _RECORD_TYPES:
                out.send_plain(_ALERT)
                self._fail(NotTls("it does not speak TLS (without it, a URL begins with tcp://)"))
                return
        out.on_received(len(data))
        self._tls.bio_write(data)
        self._has_flushed = False
        if self._is_open:
            self._read()
        else:
            self._shake_hands()
        if not self._has_flushed:
            # OpenSSL may have something of its own to say.
            self._flush(_HANDSHAKE_BYTES)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the protocol how the connection has ended."""
        if self._failure is not None:
            reason = self._failure
        elif reason.check(ConnectionDone) and not (self._ends_cleanly or self._is_closing):
            reason = Failure(ConnectionLost("it ended without a word"))
        self._out = self._outlet = None
        # The protocol has us as its transport: in a cycle, OpenSSL's memory would wait for the collector.
        protocol = self.protocol
        del self.protocol
        protocol.connectionLost(reason)

    def _shake_hands(self) -> None:
        if self._out is None:
            return
        failure: ConnectError | None = None
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            failure = HandshakeFailed(f"there is no TLS with it: {_reason(error)}")
        try:
            self._security.verify(self._tls, is_done=failure is None)
        except ConnectError as error:
            failure = error
        if failure is not None:
            self._fail(failure)
            return
        self._is_open = True
        # What has come behind the peer's part of the handshake is answered together with our first words, and with
        # the last ones of the handshake.
        self._read()
        self._on_writable()

    def _read(self) -> None:
        pieces: list[bytes] = []
        failure: Exception | None = None
        receive = self._tls.recv
        try:
            while True:
                pieces.append(receive(_RECORD_BYTES))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._ends_cleanly = True
        except SSL.Error as error:
            failure = self._broken(error)
        if pieces:
            self._has_read = True
            self.protocol.dataReceived(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if failure is not None:
            self._fail(failure)
        elif self._ends_cleanly:
            self._end()

    def _broken(self, error: SSL.Error) -> Exception:
        """What an error means that comes after the handshake."""
        if self._has_read:
            return ConnectionLost(f"TLS broke off: {_reason(error)}")
        # In TLS 1.3 a server looks at a client's certificate when the client is done already.
        return HandshakeFailed(f"there is no TLS with it: {_reason(error)}")

    def _fail(self, error: Exception) -> None:
        if self._failure is not None or self._out is None:
            return
        self._failure = Failure(error)
        if isinstance(error, ConnectError):
            self._security.failed(self.getPeer(), error)
        self._end()

    def _end(self) -> None:
        """Close it all, after what OpenSSL has to say about it."""
        out, transport = self._out, self._tcp
        if out is None:
            return
        self._shut_down()
        self._out = self._outlet = None
        out.close()
        transport.loseConnection()

    # Output

    def encrypt(self, buffers: Sequence[Buffer], size: int) -> None:
        """Send; to be called when the connection is open and not blocked."""
        plain = in_memory(buffers, size)
        sent = 0
        try:
            while sent < size:
                # All of it at once where the context allows that, else a record.
                sent += self._tls.send(plain[sent:])
        except SSL.Error as error:
            self._fail(self._broken(error))
            return
        self._flush(size + _RECORD_OVERHEAD_BYTES * (2 + size // _RECORD_BYTES))

    def _flush(self, expected_bytes: int) -> None:
        """Send what OpenSSL has for the peer."""
        self._has_flushed = True
        if self._out is not None:
            try:
                self._out.flush(expected_bytes)
            except TooMuchWaits as error:
                self._fail(error)

    def _on_writable(self) -> None:
        """The TCP transport takes more."""
        if self._written and self._can_send():
            written, self._written = self._written, []
            self.encrypt(written, sum(map(len, written)))
        if not self._can_send():
            return
        if self._is_closing:
            self._close_our_half()
        elif self._outlet is not None:
            self._outlet.is_blocked = False
            self._outlet.refill()

    def _can_send(self) -> bool:
        return self._is_open and self._out is not None and not self._out.is_blocked

    def _shut_down(self) -> None:
        """Say that nothing more comes from us."""
        with suppress(SSL.Error):  # there may be no TLS that could be ended
            self._tls.shutdown()
        self._flush(_HANDSHAKE_BYTES)

    def _close_our_half(self) -> None:
        self._shut_down()
        if self._out is not None and not self._out.is_blocked:
            self._out.close()

    # The transport of the protocol

    @property
    def _tcp(self) -> Any:
        """The TCP transport."""
        return self.transport

    def make_outlet(self, refill: Callable[[], None]) -> Outlet:
        """Where the protocol's bytes go."""
        assert self._out is not None  # a protocol asks when it gets its transport
        self._outlet = _TlsOutlet(self, self._out, refill)
        return self._outlet

    def write(self, data: bytes) -> None:
        """Send, when the handshake is done."""
        self.writeSequence([data])

    def writeSequence(self, data: Any) -> None:
        """Send, when the handshake is done."""
        if not self._is_closing:
            self._written.extend(data)
            self._on_writable()

    def loseConnection(self) -> None:
        """Send what was written, say that it was all, and close our half; the peer closes the other one."""
        if not self._is_closing:
            self._is_closing = True
            self._on_writable()

    def loseWriteConnection(self) -> None:
        """The same: TLS cannot close one half and go on with the other for sure."""
        self.loseConnection()

    def abortConnection(self) -> None:
        """Cut the connection."""
        self._out = self._outlet = None
        self._is_closing = True
        self._tcp.abortConnection()

    def getHandle(self) -> SSL.Connection:
        """The OpenSSL connection."""
        return self._tls

    def getPeerCertificate(self) -> X509 | None:
        """What the peer has shown, as Twisted's own TLS tells it."""
        return self._tls.get_peer_certificate()

    def getPeer(self) -> Any:
        """The peer's address."""
        return self._tcp.getPeer()

    def getHost(self) -> Any:
        """Our address."""
        return self._tcp.getHost()

    def getTcpNoDelay(self) -> bool:
        """What the TCP transport says."""
        return bool(self._tcp.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Tell the TCP transport."""
        self._tcp.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        """What the TCP transport says."""
        return bool(self._tcp.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Tell the TCP transport."""
        self._tcp.setTcpKeepAlive(enabled)


class _TlsOutlet:
    """Where the bytes of a TLS transport's protocol go."""

    takes_spans = True

    __slots__ = ("_out", "_transport", "is_blocked", "refill")

    def __init__(
        self, transport: TlsTransport, out: Ciphertext, refill: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._out = out
        self.refill = refill
        # Until the handshake is done.
        self.is_blocked = True

    def write(self, buffers: Sequence[Buffer], size: int) -> None:
        """Encrypt and send; what the socket does not take waits."""
        self._transport.encrypt(buffers, size)
        self.is_blocked = self._out.is_blocked

    def on_received(self, size: int) -> None:
        """It is the ciphertext that counts."""

    def yield_turn(self) -> None:
        """Let others have the reactor."""
        self._out.yield_turn()
        self.is_blocked = self._out.is_blocked

    def close(self) -> None:
        """Nothing more will be written."""
        self.is_blocked = True
        self._transport.loseConnection()


def _reason(error: SSL.Error) -> str:
    """What OpenSSL says, without where in its source; or what the peer has said."""
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    said = str(queue[-1][-1]) if queue else "OpenSSL gives no reason"
    alert = re.search(r"\balert (.+)", said)
    return f"it says {alert[1]!r}" if alert else said
