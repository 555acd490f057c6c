"""`sockserv ping`: what it measures, shows, and how it ends."""

from __future__ import annotations

import json

import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv import __version__
from sockserv.cli.session import Session
from sockserv.errors import ConnectionEnded, DeadlineExceeded
from sockserv.testing import OWNER, Link, MemoryServer
from sockserv.trust import Anonymous
from tests.cli.fakes import Written, assert_hung_up, session_with, work_of

HEAD = f"the server (sockserv/{__version__}), as owner\n"


def work(session: Session, *arguments: str) -> Deferred[None]:
    return Deferred.fromCoroutine(work_of(["ping", *arguments])[1](session))


def test_five_round_trips() -> None:
    with MemoryServer([]) as memory:
        output = Written()
        link = Link(delay_seconds=0.01)
        session = session_with(memory, output=output, link=link)
        memory.run(work(session), max_seconds=1.0)
        assert output.content.decode() == (
            f"{HEAD}"
            "1: 20.000 ms\n"
            "2: 20.000 ms\n"
            "3: 20.000 ms\n"
            "4: 20.000 ms\n"
            "5: 20.000 ms\n"
            "5 round trips: min 20.000 ms, median 20.000 ms, max 20.000 ms\n"
        )
        assert_hung_up(memory)


@pytest.mark.parametrize(("count", "median"), [(1, 2.0), (2, 4.0), (3, 6.0), (4, 7.0)])
def test_the_median(count: int, median: float) -> None:
    seconds = iter([0, 0.002, 1, 1.006, 2, 2.010, 3, 3.008])
    with MemoryServer([]) as memory:
        output = Written()
        session = session_with(memory, output=output, json=True)
        object.__setattr__(session, "now", lambda: next(seconds))
        memory.run(work(session, "--count", str(count)))
        *_, summary = map(json.loads, output.content.splitlines())
        assert summary["median_ms"] == median
        assert summary["min_ms"] == 2.0
        assert summary["max_ms"] == [2.0, 6.0, 10.0, 10.0][count - 1]


def test_for_programs() -> None:
    with MemoryServer([]) as memory:
        output = Written()
        session = session_with(memory, output=output, link=Link(delay_seconds=0.01), json=True)
        memory.run(work(session, "-c", "2"), max_seconds=1.0)
        assert [json.loads(line) for line in output.content.splitlines()] == [
            {"ping": 1, "ms": 20.0},
            {"ping": 2, "ms": 20.0},
            {"count": 2, "min_ms": 20.0, "median_ms": 20.0, "max_ms": 20.0},
        ]


@pytest.mark.parametrize(
    ("arguments", "pings"), [(["-c", "3", "-i", "5"], 2), (["-c", "0"], 10), (["-c0", "-i3"], 4)]
)
def test_the_pause_between_two(arguments: list[str], pings: int) -> None:
    with MemoryServer([]) as memory:
        output = Written()
        running = work(session_with(memory, output=output), *arguments)
        memory.advance(9.5)
        assert output.content.count(b" ms\n") == pings
        running.cancel()
        memory.run(running)


def test_ctrl_c_is_a_good_end_and_shows_the_summary() -> None:
    with MemoryServer([]) as memory:
        output = Written()
        running = work(session_with(memory, output=output), "--count", "0")
        memory.flush()
        running.cancel()
        memory.run(running)
        assert output.content.decode().endswith(
            "\n\n1 round trip: min 0.000 ms, median 0.000 ms, max 0.000 ms\n"
        )


def test_ctrl_c_before_the_first_answer_is_not() -> None:
    with MemoryServer([]) as memory:
        output = Written()
        link = Link()
        running = work(session_with(memory, output=output, link=link))
        while not output.content:
            memory.network.step()
        link.to_client.stall()
        memory.flush()
        running.cancel()
        link.to_client.resume()
        with pytest.raises(CancelledError):
            memory.run(running, max_seconds=5.0)
        assert output.content.decode() == HEAD


def test_no_answer() -> None:
    with MemoryServer([]) as memory:
        link = Link()
        output = Written()
        running = work(session_with(memory, output=output, link=link, timeout=2.0), "-c", "0")
        memory.flush()
        link.to_client.stall()
        with pytest.raises(DeadlineExceeded, match="no answer to a ping within 2 seconds"):
            memory.run(running, max_seconds=20.0)
        assert b"1 round trip: min" in output.content


def test_the_daemon_dies() -> None:
    with MemoryServer([]) as memory:
        link = Link()
        output = Written()
        running = work(session_with(memory, output=output, link=link), "-c", "0")
        memory.flush()
        link.cut()
        with pytest.raises(ConnectionEnded):
            memory.run(running, max_seconds=2.0)
        assert b"1 round trip: min" in output.content


def test_a_daemon_that_asks_for_no_login() -> None:
    with MemoryServer([], authenticator=Anonymous(OWNER)) as memory:
        output = Written()
        memory.run(work(session_with(memory, output=output), "-c", "1"))
        assert output.content.decode().startswith(HEAD.replace("as owner", "without a login"))
