"""Listeners' certificates: what is refused at the start, what is taken up later, and what clients have to show."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import attrs
import pytest
from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactor

from sockserv.endpoints import TlsEndpoint
from sockserv.errors import CertificateError, ConnectError
from sockserv.net.tls import TlsFactory, TlsTransport
from sockserv.testing import MemoryNetwork
from sockserv.tls.certificates import as_pem, make_certificate, make_key
from sockserv.tls.contexts import peer_certificate
from sockserv.tls.serving import ServerTls, TlsServerEndpoint
from sockserv.tls.trusting import ClientTls
from sockserv.trust import PeerCertificate
from tests.tls.authority import Authority, Files, now
from tests.tls.conftest import Logged


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "server")


# At the start


def test_what_cannot_be_shown_is_refused_at_the_start(files: Files) -> None:
    endpoint = files.endpoint()
    for changed, problem in [
        (attrs.evolve(endpoint, certificate=files.folder / "none"), "none cannot be read: no such"),
        (attrs.evolve(endpoint, key=files.certificate_file), "does not hold a private key"),
        (attrs.evolve(endpoint, chain=files.key_file), "does not hold a certificate"),
        (attrs.evolve(endpoint, client_ca=files.key_file), "does not hold a certificate"),
        (attrs.evolve(endpoint, certificate=None), "needs a certificate and a key"),
    ]:
        with pytest.raises(CertificateError, match=problem):
            ServerTls(changed)


def test_the_key_of_another_certificate(files: Files) -> None:
    files.replace_key()
    with pytest.raises(CertificateError, match="is not the certificate of the key in"):
        ServerTls(files.endpoint())


def test_a_key_that_everybody_can_read(files: Files) -> None:
    files.key_file.chmod(0o644)
    with pytest.raises(CertificateError, match=r"key.pem: others can read this key .*`chmod 640 "):
        ServerTls(files.endpoint())


@pytest.mark.parametrize(
    ("days", "problem"), [(3651, "certificate.pem expired on "), (-2, "is not valid before")]
)
def test_dates(files: Files, days: int, problem: str) -> None:
    def then() -> datetime:
        return now() + timedelta(days=days)

    with pytest.raises(CertificateError, match=problem):
        ServerTls(files.endpoint(), now=then)


def test_a_certificate_that_is_about_to_expire(files: Files, logged: Logged) -> None:
    ServerTls(files.endpoint(), now=lambda: now() + timedelta(days=3640))
    assert "certificate.pem expires on" in logged.text


# Replaced


def test_files_that_stay_are_read_once(files: Files) -> None:
    tls = ServerTls(files.endpoint())
    assert tls.connection().get_context() is tls.connection().get_context()


def test_a_renewed_certificate_is_shown_to_the_next_client(files: Files, logged: Logged) -> None:
    replaced: list[str] = []
    tls = ServerTls(files.endpoint(), on_replaced=lambda: replaced.append(tls.pin))
    before = tls.connection()
    files.show(make_certificate(files.key, ["renewed"], now=now()))
    after = tls.connection()
    assert before.get_context() is not after.get_context()
    assert replaced == [files.pin]
    assert f"has a new certificate, with the pin {files.pin}" in logged.text


def test_a_half_replaced_pair_goes_on_with_the_old_one(files: Files, logged: Logged) -> None:
    replaced: list[str] = []
    tls = ServerTls(files.endpoint(), on_replaced=lambda: replaced.append(tls.pin))
    old_pin, context = tls.pin, tls.connection().get_context()
    files.replace_key()
    for _ in range(3):
        assert tls.connection().get_context() is context
    assert logged.text.count("goes on with the certificate that it had") == 1
    files.show(make_certificate(files.key, [], now=now()))
    assert tls.connection().get_context() is not context
    assert tls.pin == files.pin != old_pin
    assert replaced == [files.pin]


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_broken_replacement_is_said_once(
    files: Files, logged: Logged, content: bytes | None
) -> None:
    tls = ServerTls(files.endpoint())
    context = tls.connection().get_context()
    if content is None:
        files.certificate_file.unlink()
    else:
        files.write("certificate.pem", content)
    for _ in range(3):
        assert tls.connection().get_context() is context
    assert logged.text.count("goes on with the certificate that it had") == 1


def test_an_expired_replacement(files: Files, logged: Logged) -> None:
    tls = ServerTls(files.endpoint())
    context = tls.connection().get_context()
    files.show(make_certificate(files.key, [], now=now() - timedelta(days=4000)))
    assert tls.connection().get_context() is context
    assert "expired on" in logged.text


def test_a_certificate_behind_a_link(files: Files, tmp_path: Path) -> None:
    """As certbot has them: what a link leads to changes, and the link does not."""
    other = Files(tmp_path / "other")
    link, key = tmp_path / "live.pem", tmp_path / "live-key.pem"
    link.symlink_to(files.certificate_file)
    key.symlink_to(files.key_file)
    tls = ServerTls(attrs.evolve(files.endpoint(), certificate=link, key=key))
    for path, target in [(link, other.certificate_file), (key, other.key_file)]:
        path.unlink()
        path.symlink_to(target)
    tls.connection()
    assert tls.pin == other.pin


# Clients


class Quiet(Protocol):
    """Says nothing, and knows how it ended."""

    transport: TlsTransport

    def __init__(self) -> None:
        self.end: BaseException | None = None

    def connectionLost(self, reason: object = None) -> None:
        self.end = getattr(reason, "value", None)


def meet(server: ServerTls, client: ClientTls) -> tuple[Quiet, Quiet]:
    """What comes of a client that connects."""
    network, ours, theirs = MemoryNetwork(), Quiet(), Quiet()
    network.join(TlsTransport(client, theirs), TlsTransport(server, ours))
    network.flush()
    return ours, theirs


def test_a_client_without_a_certificate(files: Files) -> None:
    ours, theirs = meet(ServerTls(files.endpoint()), ClientTls("lab", pin=files.pin))
    assert ours.end is theirs.end is None
    assert peer_certificate(ours.transport) is None


def test_any_certificate_proves_its_key_and_nothing_else(files: Files, tmp_path: Path) -> None:
    mine = Files(tmp_path / "client")
    client = ClientTls("lab", pin=files.pin, certificate=mine.certificate_file, key=mine.key_file)
    ours, _ = meet(ServerTls(files.endpoint()), client)
    assert ours.end is None
    assert peer_certificate(ours.transport) == PeerCertificate(mine.pin)


def test_an_expired_certificate_still_proves_its_key(files: Files, tmp_path: Path) -> None:
    mine = Files(tmp_path / "client")
    mine.show(Authority().sign(mine.key, "alice", ended=True))
    client = ClientTls("lab", pin=files.pin, certificate=mine.certificate_file, key=mine.key_file)
    ours, _ = meet(ServerTls(files.endpoint()), client)
    assert peer_certificate(ours.transport) == PeerCertificate(mine.pin)


def with_authority(files: Files, authority: Authority, *, required: bool = False) -> ServerTls:
    ca = files.write("ca.pem", as_pem(authority.certificate))
    return ServerTls(files.endpoint(client_ca=ca, requires_client_certificate=required))


def signed(folder: Path, authority: Authority, *, ended: bool = False) -> Files:
    mine = Files(folder)
    mine.show(authority.sign(mine.key, "alice", ["alice.example.org"], ended=ended))
    return mine


def test_a_certificate_of_the_authority(files: Files, tmp_path: Path) -> None:
    authority = Authority()
    mine = signed(tmp_path / "client", authority)
    client = ClientTls("lab", pin=files.pin, certificate=mine.certificate_file, key=mine.key_file)
    ours, _ = meet(with_authority(files, authority), client)
    shown = peer_certificate(ours.transport)
    assert shown == PeerCertificate(mine.pin, ("alice", "alice.example.org"), is_trusted=True)


@pytest.mark.parametrize("what", ["another authority", "itself", "expired"])
def test_a_certificate_that_the_authority_does_not_vouch_for(
    files: Files, tmp_path: Path, logged: Logged, what: str
) -> None:
    # The other one has the same name: it is the signature that counts.
    authority = Authority()
    mine = Files(tmp_path / "client")
    if what != "itself":
        signer = authority if what == "expired" else Authority()
        mine = signed(tmp_path / "client", signer, ended=what == "expired")
    client = ClientTls("lab", pin=files.pin, certificate=mine.certificate_file, key=mine.key_file)
    ours, theirs = meet(with_authority(files, authority), client)
    assert isinstance(ours.end, ConnectError)
    assert isinstance(theirs.end, ConnectError)
    assert "did not get in: there is no TLS with it" in logged.text
    assert "it says" in str(theirs.end)


def test_no_certificate_where_one_may_be_shown(files: Files) -> None:
    ours, _ = meet(with_authority(files, Authority()), ClientTls("lab", pin=files.pin))
    assert ours.end is None
    assert peer_certificate(ours.transport) is None


@pytest.mark.parametrize("has_authority", [True, False])
def test_no_certificate_where_one_must_be_shown(files: Files, has_authority: bool) -> None:
    server = (
        with_authority(files, Authority(), required=True)
        if has_authority
        else ServerTls(files.endpoint(requires_client_certificate=True))
    )
    ours, theirs = meet(server, ClientTls("lab", pin=files.pin))
    assert isinstance(ours.end, ConnectError)
    assert str(theirs.end) == "there is no TLS with it: it says 'certificate required'"


def test_what_is_no_tls_has_no_certificate() -> None:
    class Handle:
        def getHandle(self) -> str:
            return "something else"

    assert peer_certificate(Handle()) is None
    assert peer_certificate(object()) is None


def test_no_session_can_be_resumed(files: Files) -> None:
    """Each connection proves anew who is at either end."""
    context = ServerTls(files.endpoint()).connection().get_context()
    assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF


# The endpoint


@pytest.mark.parametrize("interface", ["127.0.0.1", "::1"])
def test_listening(files: Files, interface: str) -> None:
    address = IPv6Address(interface) if ":" in interface else IPv4Address(interface)
    endpoint: TlsEndpoint = attrs.evolve(files.endpoint(), interface=address, backlog=9)
    reactor, factory = MemoryReactor(), Factory.forProtocol(Quiet)
    TlsServerEndpoint(reactor, endpoint, ServerTls(endpoint)).listen(factory)
    ((port, made, backlog, where),) = reactor.tcpServers
    assert (port, backlog, where) == (0, 9, interface)
    assert isinstance(made, TlsFactory)


def test_another_key_than_that_of_the_old_certificate(files: Files) -> None:
    tls = ServerTls(files.endpoint())
    files.write("key.pem", as_pem(make_key()))
    tls.connection()
    assert tls.pin == files.pin
