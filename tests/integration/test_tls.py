"""TLS on real sockets: the daemon as it is started, and servers and clients in a program."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from sockserv import Identity, Server, connect
from sockserv.errors import (
    AuthenticationFailed,
    CertificateChanged,
    ConnectError,
    ConnectionEnded,
    Unavailable,
)
from sockserv.limits import Limits
from sockserv.services.echo import Echo
from sockserv.state import StateDirectory
from sockserv.tls import own
from sockserv.tls.certificates import as_pem, make_certificate, pin_of
from sockserv.tls.serving import ServerTls, TlsServerEndpoint
from sockserv.trust import EVERYTHING, Origin, TokenAuthenticator, hash_token
from sockserv.urls import ServerUrl
from tests.integration.conftest import DEADLINE_SECONDS, Twistd
from tests.integration.waiting import until_so
from tests.tls.authority import Authority, Files, now

Start = Callable[..., Twistd]

TOKEN = "0123456789_0123456789_0123456789_0123456789"
OWNER = Identity("owner", frozenset({EVERYTHING}))
ANY_TLS_PORT = "127.0.0.1:0"


def sockserv(*arguments: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sockserv", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def shown_certificate(url: ServerUrl) -> bytes:
    """What a stranger sees who connects, in DER form."""
    pem = ssl.get_server_certificate((url.host, url.port), timeout=DEADLINE_SECONDS)
    return ssl.PEM_cert_to_DER_cert(pem)


class TestTheDaemon:
    def test_the_command_finds_it_whatever_it_listens_on(
        self, twistd: Start, state: Path, environ: dict[str, str]
    ) -> None:
        for listen in (ANY_TLS_PORT, "0.0.0.0:0"):
            daemon = twistd("--state", str(state), "--listen", listen)
            (url,) = daemon.wait_until_listening(state).listening
            assert ServerUrl.parse(url).pin == pin_of(own.load(state).certificate)
            ping = sockserv("--state", str(state), "ping", "-c", "1", environ=environ)
            assert (ping.returncode, ping.stderr) == (0, "")
            assert "sockserv://127.0.0.1:" in ping.stdout
            daemon.stop()

    def test_a_url_with_and_without_its_pin(
        self, twistd: Start, state: Path, tmp_path: Path, environ: dict[str, str]
    ) -> None:
        note = twistd("--state", str(state), "--listen", ANY_TLS_PORT).wait_until_listening(state)
        url = ServerUrl.parse(note.listening[0])
        token = state / "owner-token"
        elsewhere = ["--state", str(tmp_path / "elsewhere"), "--token-file", str(token)]

        def ping(url: ServerUrl | str) -> subprocess.CompletedProcess[str]:
            return sockserv(*elsewhere, "--server", str(url), "ping", "-c", "1", environ=environ)

        assert ping(url).returncode == 0
        nobody = ping(url.address)
        assert nobody.returncode == 3
        assert "no authority that is trusted here has signed its certificate" in nobody.stderr
        other = ping(attrs.evolve(url, pin=Files(tmp_path / "other").pin))
        assert other.returncode == 3
        assert "somebody else answers in its place" in other.stderr
        plain = ping(url.address.replace("sockserv:", "tcp:"))
        assert plain.returncode == 3
        assert "speaks TLS: its URL begins with sockserv://" in plain.stderr
        assert token.read_text().strip() not in nobody.stderr + other.stderr + plain.stderr

    def test_tls_where_there_is_none(
        self, twistd: Start, state: Path, environ: dict[str, str]
    ) -> None:
        listen = "tcp:0:interface=127.0.0.1"
        note = twistd("--state", str(state), "--listen", listen).wait_until_listening(state)
        url = note.listening[0].replace("tcp:", "sockserv:")
        ping = sockserv("--state", str(state), "--server", url, "ping", environ=environ)
        assert ping.returncode == 3
        assert "it does not speak TLS" in ping.stderr

    def test_a_renewed_certificate(
        self, twistd: Start, state: Path, environ: dict[str, str]
    ) -> None:
        daemon = twistd("--state", str(state), "--listen", ANY_TLS_PORT)
        url = ServerUrl.parse(daemon.wait_until_listening(state).listening[0])
        before = shown_certificate(url)
        at = ["--state", str(state)]
        assert sockserv(*at, "certificate", "renew", environ=environ).returncode == 0
        assert shown_certificate(url) != before
        assert sockserv(*at, "ping", "-c", "1", environ=environ).returncode == 0
        # With a new key, the client of this account follows at once, and others are told.
        assert sockserv(*at, "certificate", "renew", "--new-key", environ=environ).returncode == 0
        ping = sockserv(*at, "ping", "-c", "1", environ=environ)
        assert (ping.returncode, ping.stderr) == (0, "")
        old = sockserv(*at, "--server", str(url), "ping", "-c", "1", environ=environ)
        assert old.returncode == 3
        assert "its key is not the one that we know it by" in old.stderr
        assert "has a new certificate, with the pin" in daemon.output
        assert daemon.stop() in (0, -15)

    @pytest.mark.parametrize(
        ("listen", "why"),
        [
            ("tcp:7700:interface=0.0.0.0", "or with TLS 0.0.0.0:7700"),
            ("tcp:7700", "or with TLS 0.0.0.0:7700"),
            ("tls:0:privateKey=none.pem", "none.pem cannot be read: no such file or directory"),
            ("tls:0:clientCA=none.pem", "none.pem cannot be read"),
            ("tls:0:interface=192.0.2.77", "cannot listen on sockserv://192.0.2.77:0"),
        ],
    )
    def test_what_it_does_not_start_with(
        self, twistd: Start, state: Path, listen: str, why: str
    ) -> None:
        daemon = twistd("--state", str(state), "--listen", listen)
        assert daemon.wait() == 1
        assert why in daemon.errors
        assert len(daemon.errors.splitlines()) == 1

    def test_a_certificate_of_another_key(self, twistd: Start, state: Path, tmp_path: Path) -> None:
        files = Files(tmp_path / "files")
        files.replace_key()
        listen = f"tls:0:certKey={files.certificate_file}:privateKey={files.key_file}"
        daemon = twistd("--state", str(state), "--listen", listen)
        assert daemon.wait() == 1
        assert "is not the certificate of the key in" in daemon.errors

    @pytest_twisted.ensureDeferred
    async def test_a_certificate_of_an_authority(
        self, twistd: Start, state: Path, tmp_path: Path
    ) -> None:
        authority, files = Authority(), Files(tmp_path / "files")
        files.show(authority.sign(files.key, "lab", ["localhost"]))
        ca = files.write("ca.pem", as_pem(authority.certificate))
        listen = f"tls:0:interface=127.0.0.1:certKey={files.certificate_file}:privateKey={files.key_file}"
        note = twistd("--state", str(state), "--listen", listen).wait_until_listening(state)
        url = ServerUrl.parse(note.listening[0])
        context = ssl.create_default_context(cafile=str(ca))
        with (
            socket.create_connection(("127.0.0.1", url.port), DEADLINE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            assert connection.version() == "TLSv1.3"
            assert connection.recv(4)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(("127.0.0.1", url.port), DEADLINE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            assert connection.version() == "TLSv1.2"
            assert connection.recv(4)
        client = await connect(
            reactor,
            f"sockserv://localhost:{url.port}",
            ca=ca,
            token=StateDirectory(state).owner_token(),
            state=tmp_path,
        )
        assert client.identity == "owner"
        await client.close()


# In a program


class ByCertificate:
    """Lets in whoever an authority vouches for, as whoever it says."""

    methods = ("certificate",)
    anonymous = None

    def authenticate(self, method: str, credentials: Mapping[str, Any], origin: Origin) -> Identity:
        if origin.certificate is None:
            raise AuthenticationFailed("no certificate was shown")
        name = origin.certificate.names[0] if origin.certificate.is_trusted else "somebody"
        return Identity(name, frozenset({"echo"}))


@asynccontextmanager
async def serving(
    files: Files,
    *,
    authenticator: Any = None,
    limits: Limits | None = None,
    client_ca: Path | None = None,
    requires_client_certificate: bool = False,
) -> AsyncIterator[tuple[Server, str]]:
    """A server, and the URL with its pin."""
    endpoint = files.endpoint(
        client_ca=client_ca, requires_client_certificate=requires_client_certificate
    )
    server = Server(
        reactor,
        [Echo()],
        authenticator=authenticator or TokenAuthenticator({hash_token(TOKEN): OWNER}),
        limits=limits,
    )
    port: Any = await server.listen(TlsServerEndpoint(reactor, endpoint, ServerTls(endpoint)))
    try:
        yield server, f"sockserv://127.0.0.1:{port.getHost().port}/?pin={files.pin}"
    finally:
        await server.stop()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "server")


@pytest_twisted.ensureDeferred
async def test_10_mib_there_and_back(files: Files, tmp_path: Path) -> None:
    body = bytes(range(256)) * 40_960
    async with serving(files) as (_, url):
        client = await connect(reactor, url, token=TOKEN, state=tmp_path)
        assert client.identity == "owner"
        reply = await client.call("echo", body=body)
        assert reply.body == body
        await client.close()


@pytest_twisted.ensureDeferred
async def test_many_clients_at_once(files: Files, tmp_path: Path) -> None:
    async with serving(files) as (server, url):
        clients = await gatherResults(
            [connect(reactor, url, token=TOKEN, state=tmp_path) for _ in range(200)]
        )
        assert server.connections == 200
        replies = await gatherResults([each.call("echo", body=b"x" * 1000) for each in clients])
        assert {reply.body for reply in replies} == {b"x" * 1000}
        await gatherResults([each.close() for each in clients])


@pytest_twisted.ensureDeferred
async def test_a_login_by_certificate(files: Files, tmp_path: Path) -> None:
    authority, mine = Authority(), Files(tmp_path / "client")
    mine.show(authority.sign(mine.key, "alice"))
    ca = files.write("ca.pem", as_pem(authority.certificate))
    shown: dict[str, Any] = {
        "certificate": mine.certificate_file,
        "key": mine.key_file,
        "state": tmp_path,
    }
    async with serving(files, authenticator=ByCertificate()) as (_, url):
        client = await connect(reactor, url, **shown)
        assert client.identity == "somebody"
        await client.close()
        with pytest.raises(
            AuthenticationFailed, match=r"a login \(certificate\), and none is known for it"
        ):
            await connect(reactor, url, state=tmp_path)
    async with serving(files, authenticator=ByCertificate(), client_ca=ca) as (_, url):
        client = await connect(reactor, url, **shown)
        assert client.identity == "alice"
        await client.close()
        mine.show(Authority("another").sign(mine.key, "alice"))
        with pytest.raises(ConnectError, match="there is no TLS with it: it says 'unknown ca'"):
            await connect(reactor, url, **shown)


@pytest_twisted.ensureDeferred
async def test_a_server_that_wants_a_certificate(files: Files, tmp_path: Path) -> None:
    async with serving(files, requires_client_certificate=True) as (_, url):
        expected = "it says 'certificate required'; log in with a certificate: `sockserv login --c"
        with pytest.raises(ConnectError, match=expected):
            await connect(reactor, url, token=TOKEN, state=tmp_path)


@pytest_twisted.ensureDeferred
async def test_a_pin_that_is_not_that_of_the_server(files: Files, tmp_path: Path) -> None:
    async with serving(files) as (server, url):
        other = Files(tmp_path / "other").pin
        with pytest.raises(CertificateChanged, match=r"^sockserv://127.0.0.1:\d+: its key is not"):
            await connect(reactor, url, pin=other, token=TOKEN, state=tmp_path)
        assert server.connections <= 1


@pytest_twisted.ensureDeferred
async def test_a_certificate_replaced_under_a_connection(files: Files, tmp_path: Path) -> None:
    """What is connected goes on with the old one."""
    async with serving(files) as (_, url):
        client = await connect(reactor, url, token=TOKEN, state=tmp_path)
        files.replace_key()
        files.show(make_certificate(files.key, [], now=now()))
        with pytest.raises(CertificateChanged):
            await connect(reactor, url, token=TOKEN, state=tmp_path)
        assert (await client.call("echo", body=b"still here")).body == b"still here"
        renewed = await connect(reactor, url, pin=files.pin, token=TOKEN, state=tmp_path)
        await renewed.close()
        await client.close()


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has ended it."""
    try:
        while connection.recv(1000):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        pass
    return True


@pytest_twisted.ensureDeferred
async def test_handshakes_that_never_end(files: Files, tmp_path: Path) -> None:
    """Who says nothing, or half a hello, is cut off with the login's deadline, and counted until then."""
    limits = Limits(login_timeout_seconds=0.5, max_unauthenticated_connections=50)
    async with serving(files, limits=limits) as (server, url):
        port = ServerUrl.parse(url).port
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        for one in silent[::2]:
            one.sendall(b"\x16\x03\x01\x02\x00\x01")
        await until_so(lambda: server.connections == 50)
        await until_so(lambda: not server.connections)
        client = await connect(reactor, url, token=TOKEN, state=tmp_path)
        await client.close()
        # Those for which there was no room are not kept for ever, either.
        for one in silent:
            one.setblocking(False)
            await until_so(partial(has_ended, one))
            one.close()


@pytest_twisted.ensureDeferred
async def test_a_refusal_is_said_over_tls(files: Files, tmp_path: Path) -> None:
    async with serving(files, limits=Limits(max_connections=1)) as (_, url):
        client = await connect(reactor, url, token=TOKEN, state=tmp_path)
        with pytest.raises(ConnectError, match="1 connections are open, which is the limit"):
            await connect(reactor, url, token=TOKEN, state=tmp_path)
        await client.close()


@pytest_twisted.ensureDeferred
async def test_a_server_that_stops(files: Files, tmp_path: Path) -> None:
    async with serving(files) as (server, url):
        client = await connect(reactor, url, token=TOKEN, state=tmp_path)
        await server.stop()
        with pytest.raises((ConnectionEnded, Unavailable)):
            await client.call("echo", body=b"x")
