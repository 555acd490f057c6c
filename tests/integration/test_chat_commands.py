"""`sockserv chat` and `who` as they are typed: in pipes, in a terminal, with a daemon that is killed meanwhile."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import (
    ANY_PORT,
    DEADLINE_SECONDS,
    ROOT,
    Twistd,
    start_process,
    until,
)
from tests.integration.terminals import Terminal
from tests.integration.test_cli import Daemon, environment, finish


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for all tests that do not end it."""
    folder = tmp_path_factory.mktemp("daemon")
    state = folder / "state"
    twistd = Twistd(folder, "--listen", ANY_PORT, "--state", str(state), environ=environment())
    try:
        yield Daemon(twistd, state)
    finally:
        twistd.stop()


def invite(daemon: Daemon, name: str, *others: str) -> str:
    """What somebody logs in with who may chat."""
    result = daemon.run("--json", "invite", name, "--chat", "*", *others)
    url = json.loads(result.stdout)["url"]
    assert isinstance(url, str)
    return url


def send(daemon: Daemon, place: str, text: str) -> None:
    result = daemon.run("chat", "--send", place, input=text.encode())
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


class TestPipes:
    def test_send_and_look_back(self, daemon: Daemon) -> None:
        send(daemon, "pipes", "one\ntwo \x1b[2J\n")
        result = daemon.run("chat", "--history", "1", "pipes")
        assert result.stdout.endswith(b" pipes owner: one\\ntwo \\x1b[2J\n")
        found = daemon.run("chat", "--search", "two", "pipes", "--json")
        assert json.loads(found.stdout)["text"] == "one\ntwo \x1b[2J"

    def test_the_longest(self, daemon: Daemon) -> None:
        send(daemon, "long", "\n\x01" * 32_768)
        result = daemon.run("chat", "--history", "1", "long", "--json")
        assert json.loads(result.stdout)["text"] == "\n\x01" * 32_767 + "\n\x01"

    @pytest.mark.parametrize(
        ("arguments", "status", "words"),
        [
            (["--send", "@nobody", "hello"], 1, "nobody called nobody"),
            (["--send", "lobby", ""], 1, "1 to 65536 bytes"),
            ([], 2, "no terminal here"),
            (["--server", "tcp://127.0.0.1:1", "--send", "lobby", "x"], 3, "127.0.0.1"),
        ],
        ids=["nobody", "empty", "no-terminal", "no-daemon"],
    )
    def test_what_fails(
        self, daemon: Daemon, arguments: list[str], status: int, words: str
    ) -> None:
        result = daemon.run("chat", *arguments)
        assert result.returncode == status
        assert words in result.stderr.decode()
        assert result.stderr.count(b"\n") == 1

    def test_a_file_for_somebody(self, daemon: Daemon, tmp_path: Path) -> None:
        # Not the owner's, whose followers would hear of it.
        invite(daemon, "carol", "--files", "rw:carol")
        url = invite(daemon, "dave", "--files", "drop:dave")
        path = tmp_path / "two 文件.txt"
        path.write_bytes(b"content")
        sent = daemon.run("--server", url, "chat", "--send-file", str(path), "@carol")
        assert sent.stdout.decode() == "carol has it: inbox/two 文件.txt\n"
        assert (daemon.state / "files/carol/inbox" / path.name).read_bytes() == b"content"

    def test_follow_until_interrupted(self, daemon: Daemon) -> None:
        process = daemon.start("chat", "--follow", "followed", "--history", "1", "--json")
        assert process.stdout is not None
        send(daemon, "followed", "hello")
        assert json.loads(process.stdout.readline())["text"] == "hello"
        assert b"owner" in daemon.run("who", "followed").stdout
        process.send_signal(signal.SIGINT)
        assert finish(process)[1] == b""
        assert process.returncode == -signal.SIGINT

    def test_a_follower_whose_reader_goes_away(self, daemon: Daemon) -> None:
        process = daemon.start("chat", "--follow", "left", "--history", "1")
        assert process.stdout is not None
        send(daemon, "left", "one")
        assert process.stdout.readline().endswith(b"one\n")
        process.stdout.close()
        send(daemon, "left", "two")
        assert process.wait(DEADLINE_SECONDS) == -signal.SIGPIPE
        for pipe in (process.stdin, process.stderr):
            assert pipe is not None
            pipe.close()

    def test_a_daemon_that_is_killed_meanwhile(
        self, twistd: Callable[..., Twistd], state: Path
    ) -> None:
        first = Daemon(twistd("--listen", ANY_PORT, "--state", str(state)), state)
        process = first.start("chat", "--follow", "lobby", "--history", "1")
        assert process.stdout is not None
        send(first, "lobby", "before")
        assert process.stdout.readline().endswith(b"before\n")
        first.twistd.process.kill()
        first.twistd.wait()
        second = Daemon(twistd("--listen", ANY_PORT, "--state", str(state)), state)
        send(second, "lobby", "after")
        assert process.stdout.readline().endswith(b"after\n")
        process.send_signal(signal.SIGTERM)
        _, errors = finish(process)
        assert errors.count(b"no connection") == errors.count(b"is back") == 1


class TestTerminal:
    def test_two_people(self, daemon: Daemon, terminal: Callable[..., Terminal]) -> None:
        url = invite(daemon, "bob")
        owner = terminal(daemon, "chat", "two")
        owner.wait_for("you are in two as owner")
        bob = terminal(daemon, "chat", "two", "--server", url, size=(40, 10))
        owner.wait_for("bob is here")
        owner.type("hello 中文\r")
        bob.wait_for("hello 中文")
        bob.type("/msg @ow\tps\u202est\r")
        owner.wait_for("bob → you")
        owner.wait_for("ps\\u202est")
        assert not owner.shows_keys
        bob.type("\x04")
        owner.wait_for("bob has left")
        assert bob.end() == 0
        owner.type("typed, but not sent\x03\x03")
        assert owner.end() == 0
        assert b"typed" not in daemon.run("chat", "--history", "5", "two").stdout

    def test_several_rows_are_pasted(
        self, daemon: Daemon, terminal: Callable[..., Terminal]
    ) -> None:
        screen = terminal(daemon, "chat", "paste")
        screen.wait_for("you are in paste")
        screen.type("\x1b[200~one\n\ttwo\n\x1b[201~\r")
        screen.wait_for("│")
        screen.wait_for("    two")
        screen.wait_for("│")
        screen.type("/quit\r")
        assert screen.end() == 0
        result = daemon.run("chat", "--history", "5", "paste", "--json")
        assert json.loads(result.stdout)["text"] == "one\n\ttwo\n"

    def test_a_terminal_of_another_size(
        self, daemon: Daemon, terminal: Callable[..., Terminal]
    ) -> None:
        screen = terminal(daemon, "chat", "sizes")
        screen.wait_for("you are in sizes")
        screen.resize(30, 5)
        send(daemon, "sizes", "x" * 60)
        screen.wait_for("│")
        screen.wait_for("x" * 10)
        screen.type("/quit\r")
        assert screen.end() == 0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=str)
    def test_it_is_restored_when_we_are_ended(
        self, daemon: Daemon, number: signal.Signals, terminal: Callable[..., Terminal]
    ) -> None:
        screen = terminal(daemon, "chat", "ended")
        screen.wait_for("you are in ended")
        screen.process.send_signal(number)
        assert screen.end() == -number

    def test_a_daemon_that_is_killed_in_mid_talk(
        self, twistd: Callable[..., Twistd], state: Path, terminal: Callable[..., Terminal]
    ) -> None:
        first = Daemon(twistd("--listen", ANY_PORT, "--state", str(state)), state)
        screen = terminal(first, "chat")
        screen.wait_for("you are in lobby")
        first.twistd.process.kill()
        first.twistd.wait()
        screen.wait_for("no connection")
        screen.type("said meanwhile\r")
        screen.wait_for("said meanwhile")
        second = Daemon(twistd("--listen", ANY_PORT, "--state", str(state)), state)
        screen.wait_for("the connection is back")
        screen.type("\x04")
        assert screen.end() == 0
        result = second.run("chat", "--history", "5")
        assert result.stdout.count(b"said meanwhile") == 1


def test_a_daemon_that_stops_does_not_wait_for_those_who_chat(
    twistd: Callable[..., Twistd], state: Path, tmp_path: Path
) -> None:
    config = tmp_path / "sockserv.toml"
    # It would wait for calls that much longer than anybody here waits for its end.
    config.write_text("[limits]\ndrain_timeout_seconds = 600.0\n")
    served = twistd("--listen", ANY_PORT, "--state", str(state), "--config", str(config))
    daemon = Daemon(served, state)
    process = daemon.start("chat", "--follow", "lobby", "--history", "1")
    assert process.stdout is not None
    send(daemon, "lobby", "hello")
    process.stdout.readline()
    assert daemon.twistd.stop() == -signal.SIGTERM


def test_the_bot(twistd: Callable[..., Twistd], environ: dict[str, str]) -> None:
    path = ROOT / "examples" / "chat_bot.py"
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= 14
    state = Path(environ["XDG_STATE_HOME"]) / "sockserv"
    daemon = Daemon(twistd("--listen", ANY_PORT), state)
    follower = daemon.start("chat", "--follow", "lobby", "--history", "1")
    assert follower.stdout is not None
    start_process([sys.executable, path], env=environ)
    until(lambda: b"owner" in daemon.run("who", "lobby").stdout)
    heard = b""
    # Whoever comes into a room hears what is said from then on.
    while b"HELLO" not in heard:
        send(daemon, "lobby", "!upper hello")
        heard = follower.stdout.readline()
