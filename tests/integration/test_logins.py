"""Logging in to a real daemon: by what the system proves, by passwords, and by guessing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from sockserv.state import StateDirectory
from sockserv.trust import hash_token
from tests.integration.conftest import ANY_PORT, DEADLINE_SECONDS, Twistd, until
from tests.integration.raw_client import RawClient
from tests.tls.authority import Authority, Files

Start = Callable[..., Twistd]

STRANGER = 54321
"""The number of an account that nobody has."""

IDENTITIES = f"""
[alice]
echo = true
password = true
tokens = [{{ sha256 = "{hash_token("alices")}" }}]

[bob]
password = false

[carol]
uids = [{STRANGER}]
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account can enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


class Served:
    """A daemon with three identities, on a port and on a socket that every account can connect to."""

    def __init__(
        self, twistd: Start, folder: Path, *arguments: str, identities: str = IDENTITIES
    ) -> None:
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        self.identities = self.state / "identities.toml"
        self.identities.touch(0o600)
        self.identities.write_text(identities)
        self.socket = folder / "socket"
        listen = ["--listen", f"unix:{self.socket}:mode=666"]
        if "--listen" not in arguments:
            listen += ["--listen", ANY_PORT]
        self.twistd = twistd("--state", str(self.state), *listen, *arguments)
        self.local, self.url = self.twistd.wait_until_listening(self.state).listening
        self._clients: list[RawClient] = []

    def connect(self, url: str | None = None, **options: Any) -> RawClient:
        client = RawClient(url or self.url, **options)
        self._clients.append(client)
        client.greet()
        return client

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.twistd.process.pid}/fd"))

    def close(self) -> None:
        for client in self._clients:
            client.close()


Serve = Callable[..., Served]


@pytest.fixture
def serve(twistd: Start, tmp_path: Path) -> Iterator[Serve]:
    """Starts a daemon with these arguments."""
    started: list[Served] = []

    def start(*arguments: str, folder: Path = tmp_path, **options: str) -> Served:
        started.append(Served(twistd, folder, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_passwords(serve: Serve, tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("alice:her password\nbob:his\ncarol:hers\n")
    served = serve("--auth", f"file:{passwords}")
    alice = served.connect()
    answer = alice.log_in_by("password", user="alice", password="her password")
    assert answer["result"] == {"identity": "alice"}
    alice.echo(b"hello")
    refusals = [
        served.connect().log_in_by("password", user=user, password=password)
        for user, password in [("alice", "x"), ("bob", "his"), ("dora", "x"), ("owner", "x")]
    ]
    assert {(one["code"], one["message"]) for one in refusals} == {
        ("authentication-failed", "the user name or the password is not right")
    }
    log = served.twistd.output
    assert "her password" not in log
    assert log.count("failed to log in by 'password'") == 4


def test_without_a_checker_there_are_no_passwords(serve: Serve) -> None:
    served = serve()
    with RawClient(served.url) as client:
        assert client.receive()["auth"] == ["token", "certificate", "uid"]


def test_the_account_that_runs_the_daemon_is_its_owner(serve: Serve) -> None:
    served = serve()
    assert served.connect(served.local).log_in_by("uid")["result"] == {"identity": "owner"}
    assert served.connect().log_in_by("uid")["code"] == "authentication-failed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another account")
@pytest.mark.parametrize(
    ("account", "answer"),
    [
        (STRANGER, {"identity": "carol"}),
        (STRANGER + 1, "authentication-failed"),
        (65534, "authentication-failed"),
    ],
)
def test_another_account(serve: Serve, open_folder: Path, account: int, answer: object) -> None:
    served = serve(folder=open_folder)
    program = "\n".join(
        [
            "import os",
            "from tests.integration.raw_client import RawClient",
            f"os.setuid({account})",
            f"with RawClient({served.local!r}) as client:",
            "    client.greet()",
            "    answer = client.log_in_by('uid')",
            "print(answer.header.get('result') or answer['code'])",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (str(answer), "")


class TestCertificates:
    """Clients that show one in the TLS handshake."""

    @pytest.fixture
    def alice(self, tmp_path: Path) -> Files:
        """Her key, with a certificate that it has signed itself."""
        return Files(tmp_path / "alice")

    def log_in(self, served: Served, files: Files) -> Any:
        """What becomes of a login by these, or None if it does not come to that."""
        shown = (files.certificate_file, files.key_file)
        try:
            client = served.connect(certificate=shown)
        except (AssertionError, OSError):
            return None
        answer = client.log_in_by("certificate")
        return answer.header.get("result", {}).get("identity") or answer["message"]

    def test_by_the_key(self, serve: Serve, tmp_path: Path, alice: Files) -> None:
        served = serve(
            *("--listen", "tls:0:interface=127.0.0.1"),
            identities=f'[alice]\ncertificates = ["{alice.pin}"]\ncertificate_names = ["alice"]',
        )
        assert self.log_in(served, alice) == "alice"
        assert served.connect().log_in_by("certificate")["message"].startswith("no certificate")
        # Whoever signs it: it is the key that counts, and no name that anybody may write.
        alice.show(Authority().sign(alice.key, "somebody else"))
        assert self.log_in(served, alice) == "alice"
        other = Files(tmp_path / "other")
        other.show(Authority().sign(other.key, "alice", ["alice"]))
        unknown = f"nobody is known here by this certificate ({other.pin})"
        assert self.log_in(served, other) == unknown

    def test_by_a_name_that_an_authority_has_signed(
        self, serve: Serve, tmp_path: Path, alice: Files
    ) -> None:
        authority = Authority()
        trusted = Files(tmp_path / "authority").show(authority.certificate)
        served = serve(
            *("--listen", f"tls:0:interface=127.0.0.1:clientCA={trusted}"),
            identities='[alice]\ncertificate_names = ["alice.example.org"]',
        )
        for issuer, name, outcome in [
            (authority, "alice.example.org", "alice"),
            (
                authority,
                "bob.example.org",
                f"nobody is known here by this certificate ({alice.pin})",
            ),
            # Of the same name, and not the one that is trusted: this is where it ends.
            (Authority(), "alice.example.org", None),
        ]:
            alice.show(issuer.sign(alice.key, "x", [name]))
            assert self.log_in(served, alice) == outcome
        alice.show(authority.sign(alice.key, "x", ["alice.example.org"], ended=True))
        assert self.log_in(served, alice) is None
        assert served.connect().log_in_by("certificate")["message"].startswith("no certificate")


def test_a_thousand_wrong_tokens(serve: Serve) -> None:
    """As fast as they go; meanwhile another source is let in at once, and this one a little later."""
    served = serve()
    descriptors = served.descriptors
    began = monotonic()
    for _ in range(10):
        guessers = [RawClient(served.url) for _ in range(100)]
        for guesser in guessers:
            guesser.greet()
            guesser.start_login("a wrong guess")
        for guesser in guessers:
            guesser.close()
    owner = served.connect(served.local)
    assert owner.log_in_by("uid")["result"] == {"identity": "owner"}
    owner.echo(b"at work")
    log = served.twistd.output
    most = 32 * (2 + int(monotonic() - began))
    assert log.count("failed to log in") <= most, "no more than are answered in the time"
    assert "a wrong guess" not in log

    def is_let_in() -> bool:
        return "result" in served.connect().log_in_by("token", token="alices").header

    until(is_let_in)
    served.close()
    # It has opened some files of its own meanwhile.
    until(lambda: served.descriptors < descriptors + 8)
    assert "Traceback" not in served.twistd.output


def test_an_edit_takes_effect_on_who_is_logged_in(serve: Serve) -> None:
    """In the middle of an echo that streams both ways."""
    served = serve()
    alice = served.connect()
    alice.log_in_by("token", token="alices")
    call = alice.open("echo", b"first ")
    assert alice.receive().body == b"first "
    served.identities.write_text(IDENTITIES.replace("echo = true", "echo = false"))
    answer = alice.receive_answer(call)
    assert answer["code"] == "permission-denied"
    assert answer["details"] == {"permission": "echo", "revoked": True}
    assert alice.is_alive()
    refused = alice.receive_answer(alice.open("echo", b"again", end=True))
    assert refused["code"] == "permission-denied"

    served.identities.write_text("[bob]\n")
    assert alice.receive_goodbye() == "revoked"
    again = served.connect().log_in_by("token", token="alices")
    assert again["code"] == "authentication-failed"
    assert StateDirectory(served.state).running().pid == served.twistd.process.pid


def test_who_is_revoked_while_they_do_not_read(serve: Serve) -> None:
    served = serve()
    alice = served.connect()
    alice.log_in_by("token", token="alices")
    call = alice.open("echo")
    alice.send({"type": "data", "call": call}, bytes(1_000_000))
    served.identities.write_text("")
    until(lambda: "is cut off: the login of alice was revoked" in served.twistd.output)
    # Its end is not waited for.
    alice.receive_goodbye()
    assert served.connect(served.local).log_in_by("uid")["result"] == {"identity": "owner"}
