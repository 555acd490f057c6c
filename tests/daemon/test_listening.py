"""From endpoints to the URLs that lead there: for this machine, for others, with the right pins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort

from sockserv import machine
from sockserv.daemon.listening import ListenError, Listeners
from sockserv.endpoints import parse_endpoint
from sockserv.errors import CertificateError
from sockserv.tls import own
from sockserv.tls.certificates import as_pem, pin_of
from sockserv.urls import ServerUrl
from tests.tls.authority import Files, now


class Port:
    """A port that the system has chosen."""

    def __init__(self, port: int) -> None:
        self._port = port

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "0.0.0.0", self._port)


class Server:
    """Listens on whatever it is told to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def listen(self, where: Any) -> Deferred[IListeningPort]:
        self.asked.append(where)
        return succeed(Port(7000 + len(self.asked)))  # type: ignore[arg-type]  # as far as it is used


def listeners(directory: Path, *texts: str, changes: list[None] | None = None) -> Listeners:
    server = Server()
    made = Listeners(
        None,
        server.listen,
        directory,
        on_change=lambda: (changes if changes is not None else []).append(None),
    )
    made.open(parse_endpoint(text, base=directory) for text in texts)
    return made


def test_what_is_not_encrypted_needs_no_certificate(tmp_path: Path) -> None:
    made = listeners(tmp_path, "tcp:0:interface=127.0.0.1", "unix:s")
    assert made.local_urls == ["tcp://127.0.0.1:7001", f"unix://{tmp_path}/s"]
    assert made.addresses == made.local_urls
    assert [str(url) for url in made.urls] == made.local_urls
    assert not list(tmp_path.iterdir())


def test_clients_of_this_machine_find_a_listener_on_all_addresses(tmp_path: Path) -> None:
    made = listeners(tmp_path, "0.0.0.0:0", ":0", "[::1]:0")
    pin = pin_of(own.load(tmp_path).certificate)
    assert made.local_urls == [
        f"sockserv://127.0.0.1:7001/?pin={pin}",
        f"sockserv://[::1]:7002/?pin={pin}",
        f"sockserv://[::1]:7003/?pin={pin}",
    ]
    assert made.addresses == [
        "sockserv://0.0.0.0:7001",
        "sockserv://[::]:7002",
        "sockserv://[::1]:7003",
    ]


def test_others_find_it_at_the_addresses_of_this_machine(tmp_path: Path) -> None:
    made = listeners(tmp_path, "tcp:0:interface=127.0.0.1", "0.0.0.0:0", "192.0.2.1:0")
    pin = pin_of(own.load(tmp_path).certificate)
    outside = [str(address) for address in machine.addresses() if address.version == 4]
    assert [url.address for url in made.urls] == [
        *(f"sockserv://{address}:7002" for address in outside),
        "sockserv://192.0.2.1:7003",
    ]
    assert {url.pin for url in made.urls} == {pin}


def test_where_nobody_else_gets_in_the_urls_are_for_this_machine(tmp_path: Path) -> None:
    made = listeners(tmp_path, "127.0.0.1:0", "unix:s")
    assert [url.is_local for url in made.urls] == [True, True]


def test_a_certificate_of_somebody_else(tmp_path: Path) -> None:
    files = Files(tmp_path / "other")
    state = tmp_path / "state"
    state.mkdir()
    text = f"tls:0:interface=127.0.0.1:certKey={files.certificate_file}:privateKey={files.key_file}"
    made = listeners(state, text)
    assert ServerUrl.parse(made.local_urls[0]).pin == files.pin
    assert not list(state.iterdir())


def test_the_urls_have_the_pin_of_a_key_that_was_replaced(tmp_path: Path) -> None:
    changes: list[None] = []
    server = Server()
    made = Listeners(None, server.listen, tmp_path, on_change=lambda: changes.append(None))
    made.open([parse_endpoint("127.0.0.1:0", base=tmp_path)])
    before = made.local_urls
    own.renew(tmp_path, [], new_key=True, now=now())
    # It is looked at when somebody connects.
    server.asked[0].security.connection()
    assert changes == [None]
    assert made.local_urls != before
    assert ServerUrl.parse(made.local_urls[0]).pin == pin_of(own.load(tmp_path).certificate)


def test_a_certificate_that_cannot_be_shown(tmp_path: Path) -> None:
    (tmp_path / "certificate.pem").write_bytes(as_pem(Files(tmp_path / "x").key))
    with pytest.raises(CertificateError, match="its key .*key.pem is not: put that back"):
        listeners(tmp_path, "0.0.0.0:7700")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (CannotListenError("0.0.0.0", 7700, OSError(98, "Address already in use")), "address alr"),
        (OSError(97, "Address family not supported by protocol"), "address family not supported"),
    ],
)
def test_an_address_that_cannot_be_listened_on(tmp_path: Path, error: Exception, why: str) -> None:
    made = Listeners(None, lambda where: fail(error), tmp_path)
    with pytest.raises(ListenError, match=f"cannot listen on sockserv://0.0.0.0:7700: {why}"):
        made.open([parse_endpoint("0.0.0.0:7700", base=tmp_path)])
