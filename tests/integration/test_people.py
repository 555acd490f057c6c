"""Letting people in, as it is typed: two accounts, which are two directories each, and real daemons and commands."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs
import pytest

from sockserv.client.profiles import Profiles
from sockserv.state import StateDirectory
from sockserv.tls import own
from sockserv.tls.certificates import as_pem, make_certificate, make_key, pin_of_key
from sockserv.urls import ServerUrl
from tests.integration.conftest import ANY_PORT, DEADLINE_SECONDS, Twistd, start_process, until
from tests.integration.terminals import Terminal
from tests.integration.test_cli import SOCKSERV, environment
from tests.test_atomic import files_of_at_most

QUESTION: Final = "Invitation (it is not shown): "


class Account:
    """Somebody on this machine: where their logins are, and perhaps their daemon's state."""

    def __init__(self, config: Path, state: Path) -> None:
        self.profiles = Profiles(config / "servers")
        self.environ = environment(SOCKSERV_CONFIG=str(config), SOCKSERV_STATE=str(state))

    def run(self, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
        """The result of `sockserv` with these arguments."""
        return subprocess.run(
            [*SOCKSERV, *arguments],
            env=self.environ,
            # Without a terminal, whoever runs the tests at one.
            start_new_session=True,
            input=input,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def succeed(self, *arguments: str, input: str = "") -> str:
        """What `sockserv` with these arguments prints, when there is nothing to complain about."""
        result = self.run(*arguments, input=input)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`sockserv` with these arguments, running, with pipes for its output and errors."""
        return start_process(
            [*SOCKSERV, *arguments],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


@pytest.fixture
def owner(tmp_path: Path, state: Path) -> Account:
    """The account that the daemon on `state` belongs to."""
    return Account(tmp_path / "owner's config", state)


@pytest.fixture
def alice(tmp_path: Path) -> Account:
    """Another account, without a daemon."""
    return Account(tmp_path / "alice's config", tmp_path / "no state")


@pytest.fixture
def url(twistd: Callable[..., Twistd], state: Path) -> str:
    """A daemon's URL on loopback, with the owner's token."""
    daemon = twistd("--listen", ANY_PORT, "--state", str(state))
    (url,) = daemon.wait_until_listening(state).listening
    return f"{url}/?token={StateDirectory(state).owner_token()}"


@pytest.fixture
def tls_daemon(twistd: Callable[..., Twistd], state: Path) -> Twistd:
    """A daemon that is open to the network."""
    daemon = twistd("--listen", "tls:0:interface=0.0.0.0", "--state", str(state))
    daemon.wait_until_listening(state)
    return daemon


class TestTheQuestion:
    def test_it_is_answered(
        self, alice: Account, terminal: Callable[..., Terminal], url: str
    ) -> None:
        screen = terminal(alice, "login", "--name", "lab1")
        screen.wait_for(QUESTION)
        assert not screen.shows_keys
        screen.type(f"{url}\n".encode())
        assert screen.end() == 0
        assert b"lab1 is tcp://127.0.0.1:" in screen.shown
        assert url.rpartition("=")[2].encode() not in screen.everything
        assert alice.succeed("--server", "lab1", "echo", "hi") == "hi\n"

    @pytest.mark.parametrize(
        ("typed", "status"), [(b"\x03", -signal.SIGINT), (b"\x04", 2), (b"\n", 2), (b"\xff\n", 2)]
    )
    def test_it_is_not(
        self, alice: Account, terminal: Callable[..., Terminal], typed: bytes, status: int
    ) -> None:
        screen = terminal(alice, "login", "--name", "lab1")
        screen.wait_for(QUESTION)
        screen.type(typed)
        assert screen.end() == status
        assert b"Traceback" not in screen.everything
        assert alice.profiles.names() == []

    def test_it_is_not_shown_after_a_pause_either(
        self, alice: Account, terminal: Callable[..., Terminal], url: str
    ) -> None:
        screen = terminal(alice, "login", "--name", "lab1")
        screen.wait_for(QUESTION)
        # What a shell does at Ctrl-Z and `fg`.
        screen.process.send_signal(signal.SIGSTOP)
        screen.show_keys()
        screen.process.send_signal(signal.SIGCONT)
        screen.wait_for(QUESTION)
        assert not screen.shows_keys
        screen.type(f"{url}\n".encode())
        assert screen.end() == 0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_leaves_the_terminal_as_it_was(
        self, alice: Account, terminal: Callable[..., Terminal], number: signal.Signals
    ) -> None:
        screen = terminal(alice, "login")
        screen.wait_for(QUESTION)
        screen.process.send_signal(number)
        assert screen.end() == -number


class TestTheProfiles:
    def test_the_reader_of_the_list_goes_away(self, alice: Account, url: str) -> None:
        alice.succeed("login", "--name", "lab1", input=url)
        process = alice.start("servers")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(DEADLINE_SECONDS) == -signal.SIGPIPE
        assert process.stderr is not None
        with process.stderr:
            assert process.stderr.read() == b""

    def test_a_full_disk(self, alice: Account, url: str) -> None:
        with files_of_at_most(50):
            result = alice.run("login", "--name", "lab1", input=url)
        assert (result.returncode, result.stdout) == (1, "")
        assert re.fullmatch(r"sockserv: cannot write .*lab1.toml: file too large\n", result.stderr)
        assert alice.profiles.names() == []
        alice.succeed("login", "--name", "lab1", input=url)
        assert alice.succeed("--server", "lab1", "echo", "hi") == "hi\n"


class TestLettingSomebodyIn:
    """The whole way, over TLS: invite, log in, use, look who is there, revoke."""

    def test_invite_log_in_use_revoke(
        self, tls_daemon: Twistd, owner: Account, alice: Account
    ) -> None:
        line = owner.succeed("invite", "alice", "--chat", "lobby", "--expires", "7d")
        assert re.fullmatch(r"sockserv://[^/]+/\?pin=sha256:[\w-]{43}&token=[\w-]{43}\n", line)
        shown = alice.succeed("login", "--name", "lab1", input=line)
        assert re.fullmatch(r"lab1 is sockserv://[^/]+, as alice\n", shown)
        profile = alice.profiles.load("lab1")
        invited = ServerUrl.parse(line.strip())
        assert profile.next_token is None
        assert profile.url.pin == invited.pin
        assert profile.url.token not in (None, invited.token)

        assert alice.succeed("--server", "lab1", "echo", "--upper", "grüße") == "GRÜSSE\n"
        whoami = json.loads(alice.succeed("--server", "lab1", "whoami", "--json"))
        assert (whoami["name"], whoami["permissions"]) == ("alice", ["chat", "echo"])
        (listed,) = map(json.loads, owner.succeed("identities", "--json").splitlines())
        (credential,) = listed["credentials"]
        assert credential["name"] == whoami["login"]["credential"]
        assert credential["expires"] is not None
        refused = alice.run("--server", "lab1", "invite", "mallory")
        assert refused.returncode == 4

        again = alice.run("login", "--name", "again", input=line)
        assert again.returncode == 4
        assert "an invitation is good for one login" in again.stderr

        assert owner.succeed("revoke", "alice") == "alice is revoked\n"
        late = alice.run("--server", "lab1", "ping")
        assert late.returncode == 4
        assert "lab1" in late.stderr
        assert owner.succeed("identities") == ""
        for secret in (invited.token, profile.url.token):
            assert secret is not None
            assert secret not in late.stderr + again.stderr + tls_daemon.output

    def test_a_login_at_ones_own_daemon_keeps_its_pin(
        self, tls_daemon: Twistd, state: Path, owner: Account, alice: Account
    ) -> None:
        (url,) = map(ServerUrl.parse, StateDirectory(state).running().listening)
        token = ServerUrl.parse(owner.succeed("invite", "alice").strip()).token
        line = attrs.evolve(url, pin=None, token=token).reveal()
        owner.succeed("login", "--name", "lab1", input=line)
        assert owner.profiles.load("lab1").url.pin == url.pin
        # It leads there from elsewhere, too: where no note says it.
        profile = owner.profiles.path / "lab1.toml"
        alice.profiles.path.mkdir(parents=True)
        profile.rename(alice.profiles.path / "lab1.toml")
        assert alice.succeed("--server", "lab1", "echo", "hi") == "hi\n"

    def test_somebody_who_is_cut_off_in_the_middle(
        self, tls_daemon: Twistd, owner: Account, alice: Account
    ) -> None:
        alice.succeed("login", "--name", "lab1", input=owner.succeed("invite", "alice"))
        process = alice.start("--server", "lab1", "ping", "--count", "0", "--interval", "0.01")
        assert process.stdout is not None
        assert process.stdout.readline().endswith(b", as alice\n")
        owner.succeed("revoke", "alice")
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode in (4, 5)
        assert b"revoked" in errors

    def test_an_admin_from_elsewhere(
        self, tls_daemon: Twistd, owner: Account, alice: Account
    ) -> None:
        bob = owner.succeed("invite", "bob", "--admin")
        alice.succeed("login", "--name", "lab1", input=bob)
        line = alice.succeed("--server", "lab1", "invite", "王小明")
        ours, theirs = alice.profiles.load("lab1").url, ServerUrl.parse(line.strip())
        assert (theirs.address, theirs.pin) == (ours.address, ours.pin)
        owner.succeed("login", "--name", "家", input=line)
        assert "as 王小明" in owner.succeed("--server", "家", "ping", "--count", "1")
        assert "王小明" in alice.succeed("--server", "lab1", "identities")

    def test_another_line(self, tls_daemon: Twistd, owner: Account, alice: Account) -> None:
        owner.succeed("invite", "alice")
        taken = owner.run("invite", "alice")
        assert taken.returncode == 1
        assert "`sockserv invite --again alice`" in taken.stderr
        line = owner.succeed("invite", "--again", "alice")
        alice.succeed("login", "--name", "lab1", input=line)
        (listed,) = map(json.loads, owner.succeed("identities", "--json").splitlines())
        assert len(listed["credentials"]) == 2

    def test_the_daemon_has_another_key(
        self, tls_daemon: Twistd, state: Path, owner: Account, alice: Account
    ) -> None:
        alice.succeed("login", "--name", "lab1", input=owner.succeed("invite", "alice"))
        own.renew(state, ["localhost"], now=datetime.now(UTC), new_key=True)
        changed = alice.run("--server", "lab1", "echo", "hi")
        assert (changed.returncode, changed.stdout) == (3, "")
        assert changed.stderr.startswith("sockserv: lab1 (sockserv://")
        assert "its key is not the one that we know it by" in changed.stderr
        # The owner's own command believes the note in the state directory; what it prints has the new pin.
        line = owner.succeed("invite", "--again", "alice")
        alice.succeed("login", "--name", "lab1", input=line)
        assert alice.succeed("--server", "lab1", "echo", "hi") == "hi\n"

    def test_a_certificate_of_ones_own(
        self, tls_daemon: Twistd, state: Path, tmp_path: Path, owner: Account, alice: Account
    ) -> None:
        key = make_key()
        certificate = make_certificate(key, ["alice"], now=datetime.now(UTC))
        both = tmp_path / "alice.pem"
        both.touch(0o600)
        both.write_bytes(as_pem(certificate) + as_pem(key))
        with (state / "identities.toml").open("a") as identities:
            identities.write(f'[alice]\necho = true\ncertificates = ["{pin_of_key(key)}"]\n')
        until(lambda: owner.succeed("identities"))
        (url,) = StateDirectory(state).running().listening
        alice.succeed("login", url, "--name", "lab1", "--certificate", str(both))
        assert alice.succeed("--server", "lab1", "echo", "hi") == "hi\n"
        whoami = json.loads(alice.succeed("--server", "lab1", "whoami", "--json"))
        assert whoami["login"]["method"] == "certificate"

    def test_many_log_in_at_once(self, tls_daemon: Twistd, owner: Account, tmp_path: Path) -> None:
        lines = [owner.succeed("invite", f"user{n}") for n in range(4)]
        accounts = [Account(tmp_path / f"config{n}", tmp_path / "none") for n in range(4)]
        processes = [
            account.start("login", line.strip(), "--name", "lab1")
            for account, line in zip(accounts, lines, strict=True)
        ]
        for process in processes:
            assert process.communicate(timeout=DEADLINE_SECONDS)[1] == b""
        for n, account in enumerate(accounts):
            assert f", as user{n}\n" in account.succeed("--server", "lab1", "ping", "-c", "1")

    def test_a_login_that_is_killed_loses_nothing(
        self, tls_daemon: Twistd, owner: Account, alice: Account
    ) -> None:
        for number, seconds in enumerate([0.0, 0.2, 0.3, 0.4, 0.5]):
            line, server = owner.succeed("invite", f"user{number}"), f"lab{number}"
            process = alice.start("login", line.strip(), "--name", server)
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=seconds)
            process.kill()
            process.communicate()
            if server not in alice.profiles.names():
                alice.succeed("login", "--name", server, input=line)
            assert alice.succeed("--server", server, "echo", "hi") == "hi\n"
            assert alice.profiles.load(server).next_token is None


def test_a_password(
    twistd: Callable[..., Twistd],
    state: Path,
    tmp_path: Path,
    owner: Account,
    terminal: Callable[..., Terminal],
) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("al:guess me\n")
    arguments = ("--listen", ANY_PORT, "--state", str(state), "--auth", f"file:{passwords}")
    (url,) = twistd(*arguments).wait_until_listening(state).listening
    with (state / "identities.toml").open("a") as identities:
        identities.write("[al]\necho = true\npassword = true\n")
    until(lambda: owner.succeed("identities"))

    screen = terminal(owner, "login", url, "--name", "lab1", "--user", "al")
    for command, says in [((), ", as al\r\n"), (("echo", "hello"), "hello\r\n")]:
        if command:
            screen.start("--server", "lab1", *command)
        screen.wait_for("Password of al")
        screen.type("guess me\n")
        assert screen.end() == 0
        assert says.encode() in screen.shown
    assert b"guess me" not in screen.everything
    nobody_to_ask = owner.run("--server", "lab1", "echo", "hello")
    assert nobody_to_ask.returncode == 2
    assert "there is no terminal to ask at: Password of al at lab1" in nobody_to_ask.stderr


def test_a_daemon_for_this_machine_only(
    twistd: Callable[..., Twistd], state: Path, owner: Account, alice: Account
) -> None:
    twistd("--listen", ANY_PORT, "--state", str(state)).wait_until_listening(state)
    invited = owner.run("invite", "alice")
    assert invited.returncode == 0
    assert "for this machine only" in invited.stderr
    assert invited.stdout.startswith("tcp://127.0.0.1:")
    alice.succeed("login", "--name", "lab1", input=invited.stdout)
    assert alice.succeed("--server", "lab1", "echo", "hi") == "hi\n"
