"""TLS on links in memory: what gets through, how it ends, and what is made of those who speak something else."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from sockserv.net.outlet import outlet_for
from sockserv.net.tls import HandshakeFailed, NotTls, TlsFactory, TlsTransport
from sockserv.server import Server
from sockserv.testing import Link, MemoryNetwork
from sockserv.testing.link import MemoryTransport
from sockserv.tls.serving import ServerTls
from sockserv.tls.trusting import ClientTls
from sockserv.trust import Anonymous, Identity
from tests.tls.authority import Files


class Side(Protocol):
    """Keeps what it hears; sends through an outlet, as a peer does."""

    transport: TlsTransport

    def __init__(self) -> None:
        self.received = b""
        self.deliveries = 0
        self.end: Failure | None = None
        self.unsent = b""
        self.wants_to_close = False

    def connectionMade(self) -> None:
        self.outlet = outlet_for(self.transport, self.refill)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.deliveries += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.end = reason

    def send(self, data: bytes) -> None:
        self.unsent += data
        self.refill()

    def close(self) -> None:
        self.wants_to_close = True
        self.refill()

    def refill(self) -> None:
        while self.unsent and not self.outlet.is_blocked:
            piece, self.unsent = self.unsent[:100_000], self.unsent[100_000:]
            self.outlet.write([piece[:10], piece[10:]], len(piece))
        if self.wants_to_close and not self.outlet.is_blocked:
            self.outlet.close()


class Pair:
    """A client and a server with TLS between them."""

    def __init__(self, files: Files, link: Link | None = None, *, pin: str | None = None) -> None:
        self.network = MemoryNetwork()
        self.client, self.server = Side(), Side()
        self.link = link or Link()
        self.server_tls = ServerTls(files.endpoint())
        client = TlsTransport(ClientTls("127.0.0.1", pin=pin or files.pin), self.client)
        self.network.join(client, TlsTransport(self.server_tls, self.server), self.link)

    def flush(self) -> None:
        self.network.flush()

    @property
    def ends(self) -> tuple[type[BaseException] | None, ...]:
        """How the client's connection and the server's have ended."""
        ends = (self.client.end, self.server.end)
        return tuple(None if end is None else end.type for end in ends)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


def test_what_is_said_before_the_handshake_is_heard_after_it(files: Files) -> None:
    pair = Pair(files)
    pair.client.send(b"from the client")
    pair.server.send(b"from the server")
    assert pair.client.unsent  # nothing leaves unencrypted
    pair.flush()
    assert (pair.client.received, pair.server.received) == (b"from the server", b"from the client")


@given(
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=40),
    amount=st.integers(0, 300_000),
    buffer_bytes=st.integers(1, 200_000),
)
def test_everything_arrives_however_it_is_cut(
    sizes: list[int], amount: int, buffer_bytes: int
) -> None:
    link = Link(fragments=sizes, buffer_bytes=buffer_bytes)
    pair = Pair(_files(), link)
    data = bytes(range(256)) * (amount // 256)
    pair.client.send(data)
    pair.server.send(data[::-1])
    pair.flush()
    assert pair.server.received == data
    assert pair.client.received == data[::-1]


def test_byte_by_byte(files: Files) -> None:
    pair = Pair(files, Link(fragments=[1] * 10_000))
    pair.client.send(b"x" * 1000)
    pair.flush()
    assert pair.server.received == b"x" * 1000


def test_a_delivery_is_handed_on_as_one(files: Files) -> None:
    pair = Pair(files)
    pair.flush()
    pair.client.send(b"x" * 64_000)
    pair.flush()
    assert pair.server.received == b"x" * 64_000
    assert pair.server.deliveries < 3


def test_the_first_words_go_out_with_the_answers(files: Files) -> None:
    """What the client says with the end of its handshake is answered together with the server's own first words."""

    class Greeter(Side):
        def connectionMade(self) -> None:
            super().connectionMade()
            self.send(b"hello; ")

        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.send(b"answer")

    network = MemoryNetwork()
    client, server = Side(), Greeter()
    tls = TlsTransport(ClientTls("127.0.0.1", pin=files.pin), client)
    network.join(tls, TlsTransport(ServerTls(files.endpoint()), server))
    client.send(b"question")
    network.flush()
    assert client.received == b"hello; answer"
    assert client.deliveries == 1


def test_a_slow_reader_stops_the_sender(files: Files) -> None:
    link = Link(buffer_bytes=10_000)
    pair = Pair(files, link)
    pair.flush()
    link.to_server.stall()
    pair.client.send(b"x" * 1_000_000)
    pair.flush()
    assert len(pair.client.unsent) >= 800_000
    assert link.to_server.waiting_bytes < 200_000
    link.to_server.resume()
    pair.flush()
    assert len(pair.server.received) == 1_000_000


# How it ends


def test_a_clean_end(files: Files) -> None:
    pair = Pair(files)
    pair.client.send(b"the last words" * 10_000)
    pair.client.close()
    pair.flush()
    assert pair.server.received == b"the last words" * 10_000
    assert pair.ends == (ConnectionDone, ConnectionDone)


def test_both_close_at_once(files: Files) -> None:
    pair = Pair(files)
    pair.flush()
    pair.client.close()
    pair.server.close()
    pair.flush()
    assert pair.ends == (ConnectionDone, ConnectionDone)


def test_a_stream_that_is_cut_is_no_clean_end(files: Files) -> None:
    """Somebody on the way may end the TCP connection, and cannot end TLS."""
    pair = Pair(files)
    pair.flush()
    pair.client.send(b"half of it")
    pair.flush()
    tcp = cast(MemoryTransport, pair.client.transport.transport)
    tcp.unregisterProducer()
    tcp.loseConnection()
    pair.flush()
    assert pair.server.received == b"half of it"
    assert pair.ends[1] is ConnectionLost


@pytest.mark.parametrize("turns", range(6))
def test_an_end_in_the_middle_of_the_handshake(files: Files, turns: int) -> None:
    pair = Pair(files)
    for _ in range(turns):
        pair.network.step()
    pair.link.cut()
    pair.flush()
    assert all(end is not None and issubclass(end, ConnectionLost) for end in pair.ends)


@pytest.mark.parametrize("turns", range(6))
def test_giving_up_in_the_middle_of_the_handshake(files: Files, turns: int) -> None:
    pair = Pair(files)
    for _ in range(turns):
        pair.network.step()
    pair.server.transport.abortConnection()
    pair.server.send(b"nobody hears that")
    pair.flush()
    assert pair.ends[1] is ConnectionAborted
    assert pair.ends[0] is ConnectionLost
    assert pair.client.received == b""


def test_bytes_that_were_changed_on_the_way(files: Files) -> None:
    pair = Pair(files)
    pair.client.send(b"first")
    pair.flush()
    pair.server.transport.dataReceived(b"\x17\x03\x03\x00\x20" + bytes(32))
    pair.flush()
    assert pair.server.received == b"first"
    assert pair.ends[1] is ConnectionLost
    assert "TLS broke off" in str(pair.server.end)


def test_nothing_is_held_after_the_end(files: Files) -> None:
    pair = Pair(files)
    tls = pair.server.transport
    pair.client.close()
    pair.flush()
    tls.dataReceived(b"late")
    tls.write(b"late")
    tls.loseConnection()
    assert not hasattr(tls, "protocol")


# Others


class Plain(Protocol):
    """Says something that is not TLS."""

    def __init__(self, greeting: bytes) -> None:
        self.greeting = greeting
        self.received = b""
        self.is_lost = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True


NOT_TLS = [
    b"\0\0\0\x20{}",
    b"GET / HTTP/1.1\r\n\r\n",
    b"SSH-2.0-x\r\n",
    b"\x80\x2e\x01\x03\x01",
    b"\xff",
]


@pytest.mark.parametrize("greeting", NOT_TLS)
def test_a_client_that_does_not_speak_tls(files: Files, greeting: bytes) -> None:
    network, server, plain = MemoryNetwork(), Side(), Plain(greeting)
    network.join(plain, TlsTransport(ServerTls(files.endpoint()), server))
    network.flush()
    assert server.end is not None
    assert server.end.type is NotTls
    # An alert, from which the client can tell what is spoken here.
    assert plain.received[:2] == b"\x15\x03"
    assert plain.is_lost


@pytest.mark.parametrize("greeting", NOT_TLS)
def test_a_server_that_does_not_speak_tls(files: Files, greeting: bytes) -> None:
    network, client = MemoryNetwork(), Side()
    network.join(TlsTransport(ClientTls("127.0.0.1", pin=files.pin), client), Plain(greeting))
    network.flush()
    assert client.end is not None
    assert client.end.type is NotTls
    assert client.received == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + bytes(70_000),
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x17\x03\x03\x00\x01x",
        b"\x16\x03\x01\x40\x00" + b"\x01\x00\x3f\xfc" + bytes(16_380),
    ],
    ids=["no message", "too long", "alert", "data", "empty hello"],
)
def test_garbage_in_the_clothes_of_tls(files: Files, garbage: bytes) -> None:
    network, server, plain = MemoryNetwork(), Side(), Plain(garbage)
    network.join(plain, TlsTransport(ServerTls(files.endpoint()), server))
    network.flush()
    assert server.end is not None
    assert server.end.type is HandshakeFailed
    assert server.received == b""
    assert plain.is_lost


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=400), st.booleans(), st.integers(0, 3))
def test_any_bytes_end_the_connection_or_wait(data: bytes, as_tls: bool, turns: int) -> None:
    """Nothing that is sent there raises, or gets through to the protocol."""
    pair = Pair(_files())
    for _ in range(turns):
        pair.network.step()
    pair.server.transport.dataReceived(b"\x16\x03\x01" + data if as_tls else data)
    pair.flush()
    assert pair.server.received == b""


def test_an_old_version_is_refused(files: Files) -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(b"DEFAULT@SECLEVEL=0")
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    with pytest.raises(SSL.Error):
        connection.do_handshake()
    network, server = MemoryNetwork(), Side()
    # OpenSSL does not even offer it any more, so this is one of its hellos with the version changed.
    modern = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    modern.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        modern.do_handshake()
    hello = (
        modern.bio_read(10_000).replace(b"\x03\x04", b"\x03\x02").replace(b"\x03\x03", b"\x03\x02")
    )
    network.join(Plain(hello), TlsTransport(ServerTls(files.endpoint()), server))
    network.flush()
    assert server.end is not None
    assert server.end.type is HandshakeFailed


# As a transport


def test_it_is_a_transport_of_tls(files: Files) -> None:
    pair = Pair(files)
    pair.flush()
    tls = pair.server.transport
    assert ISSLTransport.providedBy(tls)
    assert isinstance(tls.getHandle(), SSL.Connection)
    assert tls.getHandle().get_protocol_version_name() == "TLSv1.3"
    assert tls.getPeer().host == "127.0.0.1"
    assert tls.getHost().port == 7700
    tls.setTcpNoDelay(True)
    tls.setTcpKeepAlive(True)
    assert tls.getTcpNoDelay()
    assert tls.getTcpKeepAlive()
    assert tls.getPeerCertificate() is None
    assert pair.client.transport.getPeerCertificate() is not None


def test_a_protocol_without_an_outlet(files: Files) -> None:
    """A refusal is written, and the connection closed, before there is a handshake."""

    class Refusal(Protocol):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.write(b"no ")
            self.transport.writeSequence([b"ro", b"om"])
            self.transport.loseConnection()
            self.transport.write(b"too late")

    network, client = MemoryNetwork(), Side()
    factory = TlsFactory(Factory.forProtocol(Refusal), ServerTls(files.endpoint()))
    server = factory.buildProtocol(None)
    assert server is not None
    network.join(TlsTransport(ClientTls("127.0.0.1", pin=files.pin), client), server)
    network.flush()
    assert client.received == b"no room"
    assert client.end is not None
    assert client.end.type is ConnectionDone


def test_who_is_refused_and_never_shakes_hands_is_cut_off(files: Files) -> None:
    network, silent = MemoryNetwork(), Plain(b"")
    guest = Anonymous(Identity("guest"))
    server = Server(network.clock, [], authenticator=guest)
    network.run(server.stop())
    refusal = TlsFactory(server.factory, ServerTls(files.endpoint())).buildProtocol(None)
    assert refusal is not None
    network.join(silent, refusal)
    network.advance(1.9)
    assert [silent.is_lost] == [False]
    network.advance(0.1)
    assert [silent.is_lost, silent.received] == [True, b""]
    assert not network.clock.getDelayedCalls()


def test_a_factory_that_wants_no_more(files: Files) -> None:
    class Full(Factory):
        def buildProtocol(self, addr: object) -> None:
            return None

    assert TlsFactory(Full(), ServerTls(files.endpoint())).buildProtocol(None) is None


_made: list[Files] = []


def _files() -> Files:
    """For properties, which take no fixtures of a test."""
    return _made[0]


@pytest.fixture(autouse=True)
def _keep(files: Files) -> None:
    _made[:] = [files]
