"""Whom a client trusts: by a pin, by an authority; and what it says of those whom it does not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from sockserv.errors import CertificateChanged, CertificateError, ConnectError
from sockserv.net.tls import HandshakeFailed, TlsTransport
from sockserv.tls.certificates import as_pem, make_certificate
from sockserv.tls.serving import ServerTls
from sockserv.tls.trusting import ClientTls, TlsClientEndpoint
from tests.tls.authority import Authority, Files, now
from tests.tls.test_serving import Quiet, meet


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "server")


def outcome(files: Files, client: ClientTls) -> BaseException | None:
    """How it ends for the client; None when it is connected."""
    ours, theirs = meet(ServerTls(files.endpoint()), client)
    assert (ours.end is None) == (theirs.end is None)
    return theirs.end


# By the key


@pytest.mark.parametrize("host", ["lab", "192.0.2.9", "::1"])
def test_the_pin_is_all_that_counts(files: Files, host: str) -> None:
    assert outcome(files, ClientTls(host, pin=files.pin)) is None


def test_a_renewed_certificate_with_the_same_key(files: Files) -> None:
    files.show(make_certificate(files.key, ["other names"], now=now()))
    assert outcome(files, ClientTls("lab", pin=files.pin)) is None


def test_an_expired_certificate_with_the_key_that_is_known(files: Files) -> None:
    files.show(make_certificate(files.key, [], now=now() - timedelta(days=4000)))
    long_ago = ServerTls(files.endpoint(), now=lambda: now() - timedelta(days=3999))
    ours, theirs = meet(long_ago, ClientTls("lab", pin=files.pin))
    assert ours.end is theirs.end is None


def test_another_key(files: Files, tmp_path: Path) -> None:
    stranger = Files(tmp_path / "stranger")
    error = outcome(stranger, ClientTls("lab", pin=files.pin))
    assert isinstance(error, CertificateChanged)
    assert files.pin in str(error)
    assert stranger.pin in str(error)
    assert "somebody else answers in its place" in str(error)


def test_a_pin_is_not_satisfied_by_a_certificate_further_up_the_chain(
    files: Files, tmp_path: Path
) -> None:
    """A stranger may send the certificate of whoever it wants to be, behind its own."""
    stranger = Files(tmp_path / "stranger")
    stranger.show(
        make_certificate(stranger.key, [], now=now()),
        make_certificate(files.key, [], now=now()),
    )
    assert isinstance(outcome(stranger, ClientTls("lab", pin=files.pin)), CertificateChanged)


def test_an_authority_does_not_replace_the_pin(files: Files, tmp_path: Path) -> None:
    authority = Authority()
    stranger = Files(tmp_path / "stranger")
    stranger.show(authority.sign(stranger.key, "lab", ["lab"]))
    ca = stranger.write("ca.pem", as_pem(authority.certificate))
    error = outcome(stranger, ClientTls("lab", pin=files.pin, ca=ca))
    assert isinstance(error, CertificateChanged)


def test_nothing_of_ours_is_shown_to_a_stranger(files: Files, tmp_path: Path) -> None:
    stranger, mine = Files(tmp_path / "stranger"), Files(tmp_path / "mine")
    client = ClientTls("lab", pin=files.pin, certificate=mine.certificate_file, key=mine.key_file)
    ours, _ = meet(ServerTls(stranger.endpoint()), client)
    assert "unknown ca" in str(ours.end)
    assert ours.transport.getPeerCertificate() is None


# By an authority


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def ca(tmp_path: Path, authority: Authority) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(as_pem(authority.certificate))
    return path


@pytest.mark.parametrize("host", ["lab.example.org", "LAB.example.org", "192.0.2.9"])
def test_a_server_that_an_authority_vouches_for(
    files: Files, authority: Authority, ca: Path, host: str
) -> None:
    files.show(authority.sign(files.key, "lab", ["lab.example.org", "192.0.2.9"]))
    assert outcome(files, ClientTls(host, ca=ca)) is None


@pytest.mark.parametrize(
    ("names", "ended", "why"),
    [
        (["other.example.org"], False, "its certificate is for lab, other.example.org, not for"),
        ([], False, "its certificate is for lab, not for lab.example.org"),
        (["*.org"], False, "not for lab.example.org"),
        (["192.0.2.9"], False, "not for lab.example.org"),
        (["lab.example.org"], True, "its certificate has expired"),
    ],
)
def test_a_server_that_the_authority_vouches_for_not_as_this(
    files: Files, authority: Authority, ca: Path, names: list[str], ended: bool, why: str
) -> None:
    files.show(authority.sign(files.key, "lab", names, ended=ended))
    server = ServerTls(files.endpoint(), now=lambda: now() - timedelta(days=1, hours=12))
    ours, theirs = meet(server, ClientTls("lab.example.org", ca=ca))
    assert isinstance(theirs.end, HandshakeFailed)
    assert why in str(theirs.end)
    assert ours.end is not None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("of_the_system", [True, False])
def test_a_server_that_nobody_vouches_for(
    files: Files, ca: Path, host: str, of_the_system: bool
) -> None:
    error = outcome(files, ClientTls(host, ca=None if of_the_system else ca))
    assert isinstance(error, HandshakeFailed)
    assert "no authority that is trusted here has signed its certificate" in str(error)
    assert "take the URL with the pin" in str(error)


def test_a_daemons_own_certificate_as_the_authority(files: Files) -> None:
    assert outcome(files, ClientTls("localhost", ca=files.certificate_file)) is None


def test_an_international_name(files: Files, authority: Authority, ca: Path) -> None:
    files.show(authority.sign(files.key, "lab", ["xn--bcher-kva.example"]))
    assert outcome(files, ClientTls("bücher.example", ca=ca)) is None
    assert outcome(files, ClientTls("bucher.example", ca=ca)) is not None


def test_what_is_no_name_of_a_host() -> None:
    with pytest.raises(ConnectError, match="is not the name of a host"):
        ClientTls("a_b..\u2028", pin="sha256:x").connection()


# Files


def test_files_that_cannot_be_used(files: Files, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="none cannot be read"):
        ClientTls("lab", ca=tmp_path / "none")
    with pytest.raises(CertificateError, match="does not hold a private key"):
        ClientTls("lab", certificate=files.certificate_file)
    files.key_file.chmod(0o644)
    with pytest.raises(CertificateError, match="others can read this key"):
        ClientTls("lab", certificate=files.certificate_file, key=files.key_file)


def test_one_file_with_both(files: Files, tmp_path: Path) -> None:
    mine = Files(tmp_path / "mine")
    both = mine.write("both.pem", mine.certificate_file.read_bytes() + mine.key_file.read_bytes())
    ours, _ = meet(
        ServerTls(files.endpoint(requires_client_certificate=True)),
        ClientTls("lab", pin=files.pin, certificate=both),
    )
    assert ours.end is None


# The endpoint


@implementer(IStreamClientEndpoint)
class Connected:
    """An endpoint that has connected."""

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return succeed(protocolFactory.buildProtocol(None))  # type: ignore[arg-type]  # nobody looks


def test_the_endpoint_gives_the_protocol_inside() -> None:
    protocols: list[Any] = []
    endpoint = TlsClientEndpoint(Connected(), ClientTls("lab", pin="sha256:x"))
    endpoint.connect(Factory.forProtocol(Quiet)).addCallback(protocols.append)
    assert isinstance(protocols[0], Quiet)
    assert not isinstance(protocols[0], TlsTransport)
