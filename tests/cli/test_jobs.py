"""`sockserv exec --keep`, `jobs`, `attach`, `wait` and `kill`, against the service that the client's tests have."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from sockserv.errors import ConnectionEnded
from sockserv.testing import MemoryServer
from tests.cli.fakes import Pieces, assert_hung_up
from tests.cli.running import Run, never
from tests.client.execution.fake_exec import FakeExecution, exited


@pytest.fixture
def run() -> Iterator[Run]:
    service = FakeExecution()
    with MemoryServer([service]) as memory:
        yield Run(memory, service)
        assert_hung_up(memory)


class TestKept:
    def test_it_is_followed(self, run: Run) -> None:
        running = run.start("exec", "--keep", "--job", "a", "make", pieces=Pieces([b"in", b"put"]))
        kept = run.service.kept["a"]
        assert kept.stdin == b"input"
        run.signals.send(signal.SIGINT)
        run.memory.flush()
        assert kept.signals == ["INT"]
        kept.end(exited())
        run.memory.run(running)

    def test_it_goes_on_without_us(self, run: Run) -> None:
        running = run.start("exec", "--keep", "--job", "a", "make", pieces=never())
        run.link.cut()
        run.memory.run(running)
        assert run.errors.content.startswith(b"sockserv: lost(a): ")
        assert run.errors.content.endswith(b"\nIf it goes on: sockserv attach a\n")

    @pytest.mark.parametrize("options", [["--keep"], ["--detach"], ["--keep", "--json"]])
    def test_whether_it_was_started_is_not_known(self, run: Run, options: list[str]) -> None:
        run.service.is_deaf = True
        running = run.start("exec", *options, "make", pieces=never())
        run.link.cut()
        with pytest.raises(ConnectionEnded):
            run.memory.run(running)
        (name,) = run.service.kept
        said = f"If it was started: sockserv attach {name}\n"
        if "--json" in options:
            said = f'{{"job":"{name}"}}\n'
        assert run.errors.content.decode() == said

    def test_detached(self, run: Run) -> None:
        assert run.status("exec", "-d", "--job", "a", "make", pieces=never()) == 0
        assert run.output.content == b"a\n"
        started = run.service.commands[0]
        assert started.stdin is False  # type: ignore[attr-defined]
        assert run.status("exec", "-d", "--job", "a", "make") == 125
        assert run.status("exec", "-d", "missing") == 127
        assert run.status("exec", "-d", "refuse") == 126

    def test_attach(self, run: Run) -> None:
        run.status("exec", "-d", "--job", "a", "make")
        kept = run.service.kept["a"]
        kept.stdout, kept.stderr = b"0123456789", b"abc"
        run.output.content = b""
        running = run.start("attach", "a")
        assert (run.output.content, run.errors.content) == (b"0123456789", b"abc")
        assert run.signals.handlers == {}  # Ctrl-C is for us
        kept.end(exited(7))
        run.memory.run(running)
        assert run.status("attach", "--stdout-offset", "8", "--stderr-offset", "3", "a") == 7
        assert run.output.content == b"012345678989"
        assert run.status("attach", "--new", "a") == 7
        assert run.output.content == b"012345678989"
        assert run.status("wait", "a") == 7
        assert run.status("attach", "nothing") == 125
        assert run.status("attach", "--stdout-offset", "11", "a") == 125

    def test_attach_to_write(self, run: Run) -> None:
        run.status("exec", "-d", "--job", "a", "make")
        kept = run.service.kept["a"]
        kept.stdin = b"before "
        running = run.start("attach", "--stdin", "a", pieces=Pieces([b"and after"], end=None))
        assert kept.stdin == b"before and after"
        run.signals.send(signal.SIGINT)
        run.memory.flush()
        assert kept.signals == ["INT"]
        kept.end(exited())
        run.memory.run(running)

    def test_attach_in_a_terminal(self, run: Run) -> None:
        run.terminal.streams = {0, 1, 2}
        run.status("exec", "-d", "--pty", "--job", "a", "make")
        kept = run.service.kept["a"]
        running = run.start("attach", "--stdin", "a", pieces=never())
        assert kept.sizes == [(100, 30)]
        assert run.terminal.modes == ["raw"]
        kept.end(exited())
        run.memory.run(running)
        assert run.terminal.modes == ["raw", "restored"]

    def test_list(self, run: Run) -> None:
        assert run.status("jobs") == 0
        assert run.output.content == b""
        run.status("exec", "-d", "--job", "a", "make", "\x1b[2J")
        run.status("exec", "-d", "--job", "b", "false")
        run.service.kept["b"].end(exited(1))
        run.output.content = b""
        assert run.status("jobs") == 0
        lines = run.output.content.decode().splitlines()
        assert lines[0].split() == ["JOB", "OF", "STATE", "STARTED", "OUTPUT", "COMMAND"]
        assert lines[1].split()[:4] == ["a", "owner", "runs,", "kept"]
        assert lines[1].endswith("0 bytes  make \\x1b[2J")
        assert "exited(1)" in lines[2]
        run.output.content = b""
        run.status("jobs", "--json")
        first, second = map(json.loads, run.output.content.splitlines())
        assert (first["job"], "outcome" in first) == ("a", False)
        assert second["outcome"]["code"] == 1
        run.output.content = b""
        run.terminal.streams = {2}
        run.status("jobs", "--identity", "bob")
        assert run.output.content == b""
        assert run.errors.content == b"There are none of bob that we may see.\n"
        run.status("jobs", "--identity", "owner")
        assert run.output.content.count(b"owner") == 2

    def test_remove(self, run: Run) -> None:
        run.status("exec", "-d", "--job", "a", "make")
        with pytest.raises(Exception, match="runs"):
            run.status("jobs", "--remove", "a")
        run.service.kept["a"].end(exited())
        assert run.status("jobs", "--remove", "a") == 0
        assert run.service.kept == {}

    def test_kill(self, run: Run) -> None:
        running = run.start("exec", "--job", "a", "wait", pieces=never())
        run.output.content = b""
        assert run.status("kill", "-s", "sighup", "a") == 0
        run.memory.run(running)
        assert run.service.ends == ["signalled(HUP)"]
        running = run.start("exec", "--job", "a", "wait", pieces=never())
        run.output.content = b""
        assert run.status("kill", "--force", "a") == 0
        assert run.output.content == b"a: killed(cancelled)\n"
        run.memory.run(running)
        with pytest.raises(Exception, match="no job a"):
            run.status("kill", "a")
