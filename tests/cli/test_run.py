"""Running work: its result, its error, and signals while it runs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from sockserv.cli.exits import EndedBySignal
from sockserv.cli.run import Runner, checked_server
from sockserv.client.profiles import Profile, Profiles
from sockserv.errors import ConnectError
from sockserv.urls import ServerUrl


class Reactor(Clock):
    """Runs until it is crashed; when nothing moves any more, the next of the `events` happens."""

    def __init__(self, *events: Callable[[], object]) -> None:
        super().__init__()
        self._events = iter(events)
        self._soon: list[Callable[[], object]] = []
        self._is_running = False

    def callWhenRunning(self, callable: Callable[..., object], *args: object) -> None:
        self._soon.append(lambda: callable(*args))

    def callFromThread(self, callable: Callable[..., object], *args: object) -> None:
        self._soon.append(lambda: callable(*args))

    def run(self, *, installSignalHandlers: bool) -> None:
        assert not installSignalHandlers
        self._is_running = True
        while self._is_running:
            if self._soon:
                self._soon.pop(0)()
            else:
                next(self._events)()

    def crash(self) -> None:
        self._is_running = False


class Signals:
    """Remembers who catches which signal, and raises them."""

    def __init__(self) -> None:
        self.handlers: dict[int, Callable[[int, Any], object]] = {}

    def catch(self, number: int, handler: Any) -> None:
        self.handlers[number] = handler

    def send(self, number: int) -> Callable[[], object]:
        return lambda: self.handlers[number](number, None)


@pytest.fixture
def signals() -> Signals:
    return Signals()


async def forever() -> None:
    await Deferred()


def test_what_is_done_is_done(signals: Signals) -> None:
    seen = []

    async def work() -> None:
        seen.append("done")

    Runner(Reactor(), catch=signals.catch).run(work())
    assert seen == ["done"]


def test_it_waits(signals: Signals) -> None:
    waiting: Deferred[None] = Deferred()

    async def work() -> None:
        await waiting

    Runner(Reactor(lambda: waiting.callback(None)), catch=signals.catch).run(work())


def test_an_error(signals: Signals) -> None:
    async def work() -> None:
        raise ConnectError("nobody there")

    with pytest.raises(ConnectError, match="nobody there"):
        Runner(Reactor(), catch=signals.catch).run(work())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it(signals: Signals, number: int) -> None:
    cleaned = []

    async def work() -> None:
        try:
            await forever()
        finally:
            cleaned.append(True)

    with pytest.raises(EndedBySignal) as caught:
        Runner(Reactor(signals.send(number)), catch=signals.catch).run(work())
    assert caught.value.number == number
    assert cleaned


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_only_ctrl_c_can_be_a_good_end(signals: Signals, number: int) -> None:
    async def work() -> None:
        try:
            await forever()
        except CancelledError:
            return

    runner = Runner(Reactor(signals.send(number)), catch=signals.catch)
    if number == signal.SIGINT:
        runner.run(work())
    else:
        with pytest.raises(EndedBySignal):
            runner.run(work())


def test_an_error_after_a_signal_comes_of_it(signals: Signals) -> None:
    async def work() -> None:
        try:
            await forever()
        finally:
            raise ConnectError("too late")

    with pytest.raises(EndedBySignal):
        Runner(Reactor(signals.send(signal.SIGINT)), catch=signals.catch).run(work())


@pytest.mark.parametrize("is_done", [False, True])
def test_cleaning_up_may_take_half_a_second(signals: Signals, is_done: bool) -> None:
    cleaning: Deferred[None] = Deferred()

    async def work() -> None:
        try:
            await forever()
        except CancelledError:
            await cleaning

    reactor = Reactor(
        signals.send(signal.SIGINT),
        lambda: reactor.advance(0.49),
        lambda: cleaning.callback(None) if is_done else reactor.advance(0.02),
    )
    if is_done:
        Runner(reactor, catch=signals.catch).run(work())
    else:
        with pytest.raises(EndedBySignal):
            Runner(reactor, catch=signals.catch).run(work())


def test_the_work_may_take_care_of_a_signal(signals: Signals) -> None:
    seen = []
    waiting: Deferred[None] = Deferred()
    reactor = Reactor(
        signals.send(signal.SIGINT),
        signals.send(signal.SIGINT),
        lambda: runner.on_signal(signal.SIGINT, None),
        signals.send(signal.SIGINT),
    )
    runner = Runner(reactor, catch=signals.catch)

    async def work() -> None:
        runner.on_signal(signal.SIGINT, lambda: seen.append("INT"))
        await waiting

    with pytest.raises(EndedBySignal):
        runner.run(work())
    assert seen == ["INT", "INT"]


def test_a_signal_that_ends_nothing(signals: Signals) -> None:
    seen = []
    waiting: Deferred[None] = Deferred()
    reactor = Reactor(
        signals.send(signal.SIGWINCH),
        lambda: runner.on_signal(signal.SIGWINCH, None),
        signals.send(signal.SIGWINCH),
        lambda: waiting.callback(None),
    )
    runner = Runner(reactor, catch=signals.catch)

    async def work() -> None:
        runner.on_signal(signal.SIGWINCH, lambda: seen.append("WINCH"))
        await waiting

    runner.run(work())
    assert seen == ["WINCH"]


class TestServer:
    @pytest.fixture
    def profiles(self, tmp_path: Path) -> Profiles:
        profiles = Profiles(tmp_path)
        profiles.save(Profile(name="lab1", url=ServerUrl.parse("tcp://127.0.0.1:7700")))
        return profiles

    @pytest.mark.parametrize("server", ["lab1", "tcp://a:1", "sockserv://lab", "unix:///s"])
    def test_what_may_be_one(self, profiles: Profiles, server: str) -> None:
        assert checked_server(server, profiles) == server

    def test_the_daemon_of_this_account(self, profiles: Profiles) -> None:
        assert checked_server(None, profiles) is None

    @pytest.mark.parametrize("server", ["http://a:1", "lab2", "", "a b", "tcp://a"])
    def test_what_is_none_is_a_mistake_of_the_command_line(
        self, profiles: Profiles, server: str
    ) -> None:
        with pytest.raises(click.UsageError):
            checked_server(server, profiles)

    def test_a_broken_profile_is_for_the_command_to_complain_about(
        self, profiles: Profiles
    ) -> None:
        (profiles.path / "lab1.toml").chmod(0o644)
        assert checked_server("lab1", profiles) == "lab1"
