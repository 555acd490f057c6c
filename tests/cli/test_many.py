"""`sockserv exec --on`: one command on many servers, of which some may fail."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import click
import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.cli.exits import EndedBySignal
from sockserv.client import Client
from sockserv.errors import ConnectError
from sockserv.testing import Link, MemoryServer
from sockserv.trust import Identity
from tests.cli.fakes import Written, assert_hung_up, invoke
from tests.cli.running import Run
from tests.client.execution.fake_exec import FakeExecution, exited


@pytest.fixture
def links() -> dict[str, Link]:
    return {}


@pytest.fixture
def run(links: dict[str, Link]) -> Iterator[Run]:
    service = FakeExecution()
    with MemoryServer([service]) as memory:

        def connect(name: str) -> Deferred[Client]:
            if name == "down":
                failing: Deferred[Client] = Deferred()
                failing.errback(ConnectError("down does not answer"))
                return failing
            if name == "slow":
                return Deferred()
            who = Identity("bob") if name == "closed" else Identity(name, frozenset({"exec"}))
            links[name] = Link()
            return memory.start_connecting(who, link=links[name])

        yield Run(memory, service, servers=connect)
        assert_hung_up(memory)


def table_of(run: Run) -> list[list[str]]:
    return [line.split() for line in run.errors.content.decode().splitlines()]


def test_all_succeed(run: Run) -> None:
    assert run.status("exec", "--on", "lab1,lab2", "--on", "laboratory", "echo", "hi") == 0
    assert sorted(run.output.content.splitlines()) == [
        b"lab1       | hi",
        b"lab2       | hi",
        b"laboratory | hi",
    ]
    assert table_of(run) == [
        ["SERVER", "OUTCOME", "TIME", "OUTPUT"],
        *([name, "exited(0)", "0.0", "s", "3", "bytes"] for name in ("lab1", "lab2", "laboratory")),
    ]


def test_one_that_cannot_be_reached_stops_no_other(run: Run) -> None:
    assert run.status("exec", "--on", "lab1,down,closed", "echo") == 1
    assert run.output.content == b"lab1   | \n"
    rows = {row[0]: row[1:] for row in table_of(run)}
    assert rows["lab1"][0] == "exited(0)"
    assert rows["down"] == ["error", "down", "does", "not", "answer"]
    assert rows["closed"][0] == "refused(permission)"


@pytest.mark.parametrize(
    ("argv", "outcome"),
    [
        (["exit", "3"], "exited(3)"),
        (["missing"], "failed-to-start(ENOENT)"),
        (["lie", "1"], "error"),
    ],
)
def test_what_is_no_success(run: Run, argv: list[str], outcome: str) -> None:
    assert run.status("exec", "--on", "lab1,lab2", *argv) == 1
    assert [row[1] for row in table_of(run)[1:]] == [outcome, outcome]


def test_a_connection_that_breaks(run: Run, links: dict[str, Link]) -> None:
    running = run.start("exec", "--on", "lab1,lab2", "wait")
    links["lab1"].cut()
    run.memory.flush()
    assert run.output.content.splitlines() == [b"lab1 | ready", b"lab2 | ready"]
    (job,) = run.service.jobs.values()
    job.end(exited())
    run.memory.run(running)
    rows = table_of(run)[1:]
    assert rows[0][1].startswith("lost(")
    assert rows[1][1] == "exited(0)"


def test_streams_and_colours(run: Run) -> None:
    run.terminal.streams = {1}
    run.status("exec", "--on", "a,b", "both", "1")
    assert sorted(run.output.content.splitlines()) == [
        b"\x1b[33mb | \x1b[0mout",
        b"\x1b[36ma | \x1b[0mout",
    ]
    assert sorted(run.errors.content.splitlines()[:2]) == [b"a | error", b"b | error"]


def test_json(run: Run) -> None:
    assert run.status("--json", "exec", "--on", "lab1,down", "both", "1") == 1
    *lines, up, down = map(json.loads, run.output.content.splitlines())
    assert {"server": "lab1", "stream": "stdout", "text": "out"} in lines
    assert {"server": "lab1", "stream": "stderr", "text": "error"} in lines
    assert (up["server"], up["outcome"]["kind"], up["outcome"]["code"]) == ("lab1", "exited", 0)
    assert down == {
        "server": "down",
        "error": {"code": "connect-error", "message": "down does not answer"},
    }
    assert run.errors.content == b""


def test_interrupts(run: Run) -> None:
    running = run.start("exec", "--on", "lab1,slow,lab2", "wait")
    run.service.is_deaf = True
    run.signals.send(signal.SIGINT)
    run.memory.flush()
    run.service.is_deaf = False
    run.signals.send(signal.SIGINT)
    run.memory.flush()
    assert not running.called  # as one has not answered yet
    run.signals.send(signal.SIGINT)
    run.memory.run(running)
    rows = {row[0]: row[1] for row in table_of(run)}
    assert rows == {
        "SERVER": "OUTCOME",
        "lab1": "killed(cancelled)",
        "slow": "error",
        "lab2": "killed(cancelled)",
    }
    assert b"it was not run any more" in run.errors.content


def test_three_times_leaves(run: Run, links: dict[str, Link]) -> None:
    running = run.start("exec", "--on", "lab1,lab2", "wait")
    for link in links.values():
        link.to_client.stall()
    for _ in range(3):
        run.signals.send(signal.SIGINT)
    run.memory.run(running)
    assert [row[1][:5] for row in table_of(run)[1:]] == ["lost(", "lost("]
    for link in links.values():
        link.to_client.resume()


def test_cancelling_gives_all_up(run: Run) -> None:
    running = run.start("exec", "--on", "lab1,slow,lab2", "wait")
    running.cancel()
    with pytest.raises(CancelledError):
        run.memory.run(running)
    run.memory.flush()
    assert run.service.jobs == {}


def test_an_output_that_takes_no_more(run: Run) -> None:
    run.output = Written(EndedBySignal(signal.SIGPIPE), after_bytes=1000)
    with pytest.raises(EndedBySignal):
        run.status("exec", "--on", "lab1,lab2", "flood")
    run.memory.flush()
    assert run.service.jobs == {}


def test_no_secret_is_shown(run: Run) -> None:
    url = "sockserv://192.0.2.5:7700/?token=secret"
    assert run.status("exec", "--on", url, "echo", "x") == 0
    assert run.output.content == b"sockserv://192.0.2.5:7700 | x\n"
    assert b"secret" not in run.errors.content


def test_what_is_no_server(run: Run) -> None:
    with pytest.raises(click.UsageError, match="is not the URL of a server"):
        run.status("exec", "--on", "lab1,http://x", "echo")
    assert run.service.commands == []


def test_the_environment_names_a_server_for_other_commands() -> None:
    command = ["exec", "--on", "lab1", "echo", "hi"]
    environ = {"SOCKSERV_SERVER": "lab9"}
    asked: list[str | None] = []
    invoke(command, run=lambda options, work: asked.append(options.server), environ=environ)
    assert asked == ["lab9"]
    error = invoke(["--server", "lab2", *command], environ=environ).exception
    assert isinstance(error, click.UsageError)
