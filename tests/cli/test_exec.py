"""`sockserv exec` and `shell`, against the service that the tests of the client have."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import attrs
import click
import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.cli.exits import EndedBySignal
from sockserv.cli.stdio import StreamClosed, StreamError
from sockserv.client import Client
from sockserv.errors import ConnectError
from sockserv.testing import MemoryServer
from sockserv.trust import Identity
from tests.cli.fakes import Pieces, Written, assert_hung_up, invoke, work_of
from tests.cli.running import Run, never
from tests.client.execution.fake_exec import FakeExecution, exited


@pytest.fixture
def run() -> Iterator[Run]:
    service = FakeExecution()
    with MemoryServer([service]) as memory:
        yield Run(memory, service)
        assert_hung_up(memory)


class TestExec:
    def test_streams_apart(self, run: Run) -> None:
        assert run.status("exec", "both", "200") == 0
        assert run.output.content == b"out\n" * 200
        assert run.errors.content == b"error\n" * 200

    def test_any_bytes(self, run: Run) -> None:
        pieces = [bytes(range(256)) * 700, b"", b"\0\xff\n" * 50_000]
        assert run.status("exec", "--", "cat", pieces=Pieces([p for p in pieces if p])) == 0
        assert run.output.content == b"".join(pieces)
        assert run.errors.content == b""

    @pytest.mark.parametrize(
        ("argv", "status", "said"),
        [
            (["exit", "0"], 0, ""),
            (["exit", "7"], 7, ""),
            (["exit", "255"], 255, ""),
            (["crash"], 139, "sockserv: signalled(SEGV)\n"),
            (["slow"], 124, "sockserv: killed(timeout)\n"),
            (["limited"], 137, "sockserv: killed(output-limit)\n"),
            (["refuse"], 126, "sockserv: refused(none): nobody may run that\n"),
            (["refuse-by-rule"], 126, "sockserv: refused(flash): port: expected a number\n"),
            (["unaudited"], 125, "sockserv: no audit log\n"),
            (["unaudited", "afterwards"], 255, "sockserv: no audit log\n"),
            (["too-many"], 126, "sockserv: refused(max_jobs): too many jobs run already\n"),
            (["missing"], 127, "sockserv: failed-to-start(ENOENT): there is no missing\n"),
            (["exists"], 125, "sockserv: there is such a job already\n"),
        ],
    )
    def test_how_it_ends(self, run: Run, argv: list[str], status: int, said: str) -> None:
        assert run.status("exec", "--output-limit", "1k", "--", *argv) == status
        assert run.errors.content.decode() == said

    @pytest.mark.parametrize(
        "argv", [["lie", "1"], ["stray", "9"], ["strange", '{"kind": "exited"}']]
    )
    def test_what_is_not_true_is_no_success(self, run: Run, argv: list[str]) -> None:
        assert run.status("exec", *argv) == 255
        assert run.errors.content.startswith(b"sockserv: ")

    def test_text_that_was_meant_for_a_shell(self, run: Run) -> None:
        assert run.status("exec", "no such thing") == 127
        assert run.errors.content.endswith(
            b"\nIs that text for a shell? Then say so with --shell.\n"
        )

    def test_what_cannot_be_run_here(self, run: Run) -> None:
        assert run.status("exec", "caf\udce9") == 125
        assert b"UTF-8" in run.errors.content
        assert run.status("exec", "x" * 100_000) == 125
        assert b"too long" in run.errors.content
        assert run.service.commands == []

    def test_nobody_there(self, run: Run) -> None:
        def fail() -> Deferred[Client]:
            raise ConnectError("nobody answers")

        run.connect = fail
        assert run.status("exec", "echo") == 125
        assert run.errors.content == b"sockserv: nobody answers\n"

    def test_who_may_not(self, run: Run) -> None:
        run.connect = lambda: run.memory.start_connecting(Identity("bob"))
        assert run.status("exec", "echo") == 126
        assert run.errors.content.startswith(b"sockserv: refused(permission): bob may not call")

    def test_options(self, run: Run) -> None:
        run.status(
            *("exec", "-e", "A=1", "--env", "B=x=y", "--cwd", "src", "-u", "www", "--nice", "5"),
            *("--timeout", "2.5", "--output-limit", "20M", "--limit", "cpu=10"),
            *("--limit", "memory=1G", "--limit", "file-size=0", "--job", "build-7", "-n"),
            *("echo", "-n", "--json", "--", "x"),
        )
        (asked,) = run.service.commands
        assert asked.argv == ("echo", "-n", "--json", "--", "x")
        assert (asked.env, asked.cwd, asked.user) == ({"A": "1", "B": "x=y"}, "src", "www")
        assert (asked.nice, asked.timeout_seconds, asked.output_limit_bytes) == (5, 2.5, 20_000_000)
        limits = asked.limits
        assert (limits.cpu_seconds, limits.memory_bytes, limits.file_bytes) == (10, 10**9, 0)
        assert (asked.terminal, asked.shell) == (None, False)
        assert run.output.content == b"-n --json -- x\n"

    def test_a_variable_from_here(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLOUR", "blue")
        run.status("exec", "-e", "COLOUR", "echo")
        assert run.service.commands[0].env == {"COLOUR": "blue"}

    def test_timeout_before_the_command_is_about_connecting(self, run: Run) -> None:
        options, _ = work_of(["--timeout", "3", "exec", "--timeout", "9", "echo"])
        assert options.timeout == 3

    def test_a_shell(self, run: Run) -> None:
        running = run.start("exec", "-s", "ls -l;", "abcd")
        (asked,) = run.service.commands
        assert (asked.shell, asked.argv) == (True, ("ls -l; abcd",))
        (job,) = run.service.jobs.values()
        job.end(exited())
        run.memory.run(running)

    @pytest.mark.parametrize("arguments", [[], ["-n"]])
    def test_no_input(self, run: Run, arguments: list[str]) -> None:
        assert (
            run.status("exec", *arguments, "cat", pieces=Pieces([b"x"] if arguments else [])) == 0
        )
        assert run.output.content == b""

    def test_what_it_does_not_read(self, run: Run) -> None:
        assert run.status("exec", "exit", "3", pieces=Pieces([b"x" * 100_000] * 100)) == 3

    def test_json(self, run: Run) -> None:
        assert run.status("exec", "--json", "--job", "a", "exit", "3") == 3
        outcome = json.loads(run.errors.content)["outcome"]
        assert (outcome["kind"], outcome["code"], outcome["job"]) == ("exited", 3, "a")
        assert "signal" not in outcome
        assert run.output.content == b""

    @pytest.mark.parametrize(
        "arguments",
        [
            ["exec"],
            ["exec", "--"],
            ["exec", "--limit", "cpu", "x"],
            ["exec", "--limit", "speed=1", "x"],
            ["exec", "--output-limit", "-1", "x"],
            ["exec", "--output-limit", "1m", "x"],
            ["exec", "-e", "=x", "x"],
            ["exec", "-e", "NO_SUCH_NAME_HERE", "x"],
            ["exec", "--on", "a,,b", "x"],
            ["exec", "--on", "a,a", "x"],
            ["exec", "--on", "a", "--pty", "x"],
            ["exec", "--server", "b", "--on", "a", "x"],
            ["attach", "--new", "--stdout-offset", "1", "x"],
            ["exec", "--job", "a b", "x"],
            ["wait", "x" * 65],
            ["kill", "-x"],
            ["jobs", "--remove", ""],
            ["kill", "-f", "-s", "INT", "x"],
            ["shell"],
        ],
    )
    def test_a_wrong_command_line(self, arguments: list[str]) -> None:
        assert isinstance(invoke(arguments).exception, click.UsageError)


class TestBrokenOff:
    def test_a_lost_connection(self, run: Run) -> None:
        run.link.to_client.cut_after(1_000_000)
        assert run.status("exec", "--job", "build-7", "flood", pieces=never()) == 255
        assert 900_000 < len(run.output.content) < 1_000_000
        assert run.errors.content.startswith(b"sockserv: lost(build-7): the connection ")

    @pytest.mark.parametrize(
        "failure", [StreamError("disk full"), EndedBySignal(signal.SIGPIPE)], ids=str
    )
    def test_an_output_that_takes_no_more(self, run: Run, failure: Exception) -> None:
        run.output = Written(failure, after_bytes=100_000)
        if isinstance(failure, EndedBySignal):
            with pytest.raises(EndedBySignal):
                run.status("exec", "flood", pieces=never())
        else:
            assert run.status("exec", "flood", pieces=never()) == 255
            assert run.errors.content == b"sockserv: disk full\n"
        run.memory.flush()
        assert run.service.ends == ["cancelled"]

    def test_errors_that_nobody_takes(self, run: Run) -> None:
        run.errors = Written(EndedBySignal(signal.SIGPIPE))
        with pytest.raises(EndedBySignal):
            run.status("exec", "flood", "2")

    def test_an_output_that_fails_at_the_end(self, run: Run) -> None:
        run.output = Written(EndedBySignal(signal.SIGPIPE))
        with pytest.raises(EndedBySignal):
            run.status("exec", "echo")

    def test_an_input_that_cannot_be_read(self, run: Run) -> None:
        broken = Pieces([b"x"], end=StreamError("cannot read standard input"))
        assert run.status("exec", "cat", pieces=broken) == 255
        assert run.errors.content == b"sockserv: cannot read standard input\n"
        run.memory.flush()
        assert run.service.jobs == {}

    def test_an_input_that_was_closed_is_empty(self, run: Run) -> None:
        closed = Pieces([], end=StreamClosed("cannot read standard input: it is closed"))
        assert run.status("exec", "cat", pieces=closed) == 0

    def test_a_signal_for_us_ends_it(self, run: Run) -> None:
        running = run.start("exec", "wait", pieces=never())
        assert run.output.content == b"ready\n"
        running.cancel()
        with pytest.raises(CancelledError):
            run.memory.run(running)
        run.memory.flush()
        assert run.service.ends == ["cancelled"]


class TestInterrupts:
    def test_once(self, run: Run) -> None:
        running = run.start("exec", "wait", pieces=never())
        run.signals.send(signal.SIGINT)
        run.memory.run(running)
        assert run.service.ends == ["signalled(INT)"]
        assert run.errors.content == b""
        assert run.signals.handlers == {}

    def test_twice(self, run: Run) -> None:
        run.service.is_deaf = True
        running = run.start("exec", "wait", pieces=never())
        (job,) = run.service.jobs.values()
        run.signals.send(signal.SIGINT)
        run.memory.flush()
        run.service.is_deaf = False
        run.signals.send(signal.SIGINT)
        run.memory.run(running)
        assert job.signals == ["INT", "kill by force"]
        assert run.errors.content == b"sockserv: killed(cancelled)\n"

    def test_three_times_leaves_where_nobody_answers(self, run: Run) -> None:
        running = run.start("exec", "--job", "a", "wait", pieces=never())
        run.link.to_client.stall()
        for _ in range(3):
            run.signals.send(signal.SIGINT)
            run.memory.flush()
        run.memory.run(running)
        assert run.errors.content.startswith(b"sockserv: lost(a): its end was not waited for")
        run.link.to_client.resume()

    def test_three_times_leaves_where_nobody_takes_the_output(self, run: Run) -> None:
        class Stuck(Written):
            async def write(self, data: bytes) -> None:
                await Deferred()

        run.output = Stuck()
        running = run.start("exec", "flood", pieces=never())
        for _ in range(3):
            run.signals.send(signal.SIGINT)
        run.memory.run(running)
        assert b"lost(" in run.errors.content


class TestTerminal:
    @pytest.fixture(autouse=True)
    def terminal(self, run: Run) -> None:
        run.terminal.streams = {0, 1, 2}

    def test_a_shell(self, run: Run) -> None:
        running = run.start("shell", "-e", "LANG=C", pieces=Pieces([b"\x03", b"exit\r"], end=None))
        (asked,) = run.service.commands
        assert (asked.shell, asked.argv, asked.env) == (True, (), {"LANG": "C"})
        assert asked.terminal is not None
        assert attrs.astuple(asked.terminal) == (100, 30, "vt220")
        assert run.terminal.modes == ["raw"]
        run.terminal.size = (120, 40)
        run.signals.send(signal.SIGWINCH)
        run.memory.flush()
        (job,) = run.service.jobs.values()
        assert job.sizes == [(120, 40)]
        job.end(exited(4))
        run.memory.run(running)
        assert run.terminal.modes == ["raw", "restored"]
        assert run.signals.handlers == {}

    @pytest.mark.parametrize("kind", ["", "x" * 65, "bad name", "vt\n220"])
    def test_a_terminal_of_no_known_type(self, run: Run, kind: str) -> None:
        run.terminal.type = kind
        run.status("exec", "-t", "echo")
        assert run.service.commands[0].terminal is not None
        assert run.service.commands[0].terminal.type == "dumb"

    def test_keys_go_there_but_for_the_way_out(self, run: Run) -> None:
        typed = Pieces([b"ls\r", b"~", b"~x\r", b"~q\r~.", b"not this"])
        assert run.status("exec", "--pty", "--", "cat", pieces=typed) == 255
        assert b"lost(" in run.errors.content
        assert run.terminal.modes == ["raw", "restored"]

    def test_what_is_sent(self, run: Run) -> None:
        typed = Pieces([b"ls ~/x\r", b"~", b"~x\r", b"~q\r~"])
        assert run.status("exec", "--pty", "--", "cat", pieces=typed) == 0
        assert run.output.content == b"ls ~/x\r~x\r~q\r~"

    @pytest.mark.parametrize("argv", [["refuse"], ["lie", "1"], ["exit", "3"]])
    def test_it_is_restored(self, run: Run, argv: list[str]) -> None:
        run.status("exec", "--pty", *argv, pieces=never())
        assert run.terminal.modes == ["raw", "restored"]

    def test_it_is_restored_when_we_are_ended(self, run: Run) -> None:
        running = run.start("shell", pieces=never())
        running.cancel()
        with pytest.raises(CancelledError):
            run.memory.run(running)
        assert run.terminal.modes == ["raw", "restored"]

    def test_without_a_terminal_here(self, run: Run) -> None:
        run.terminal.streams = {1}
        assert run.status("exec", "--pty", "cat", pieces=Pieces([b"~."])) == 0
        assert run.output.content == b"~."
        assert run.terminal.modes == []
