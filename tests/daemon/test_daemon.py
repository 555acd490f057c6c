"""The daemon, on a reactor that only notes what it is asked to listen on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.application.service import IService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from sockserv.daemon import Daemon, ListenError, make_service
from sockserv.errors import StateError
from sockserv.net.threads import OneThread
from sockserv.settings import Settings, load
from sockserv.trust.edited_file import EditedFileError

TCP = "tcp:7700:interface=127.0.0.1"
TAKEN = "tcp:9:interface=127.0.0.1"


class Reactor(MemoryReactorClock):
    """Somebody else has port 9, and closing a port is noted as well."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[int] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if port == 9:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        listening = super().listenTCP(port, factory, backlog, interface)
        listening.stopListening = lambda: self.closed.append(port)
        return listening


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


class AtOnce(OneThread):
    """No thread at all."""

    def __call__(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return maybeDeferred(function, *args)


def daemon_on(reactor: Reactor, settings: Settings, **more: Any) -> Daemon:
    at_once = AtOnce(cast(Any, None))
    return Daemon(reactor, settings, audit_thread=at_once, identities_thread=at_once, **more)


def settings_for(tmp_path: Path, *listen: str) -> Settings:
    return load(listen=listen or [TCP], state=str(tmp_path / "state"), environ={})


def test_it_is_a_service(reactor: Reactor, tmp_path: Path) -> None:
    service = make_service(reactor, settings_for(tmp_path))
    verifyObject(IService, service)


def test_making_one_touches_nothing(reactor: Reactor, tmp_path: Path) -> None:
    daemon_on(reactor, settings_for(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert reactor.tcpServers == []


def test_it_listens_on_everything(reactor: Reactor, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    settings = settings_for(tmp_path, TCP, r"tcp6:1:interface=\:\:1", f"unix:{path}")
    daemon = daemon_on(reactor, settings)
    daemon.startService()
    assert [(port, interface) for port, _, _, interface in reactor.tcpServers] == [
        (7700, "127.0.0.1"),
        (1, "::1"),
    ]
    assert [(name, mode) for name, _, _, mode, _ in reactor.unixServers] == [(str(path), 0o600)]
    assert settings.state.running().pid == os.getpid()
    assert settings.state.running().listening == (
        "tcp://127.0.0.1:7700",
        "tcp://[::1]:1",
        f"unix://{path}",
    )
    daemon.stopService()


def test_stopping_leaves_no_note_and_lets_the_directory_go(
    reactor: Reactor, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path)
    daemon = daemon_on(reactor, settings)
    daemon.startService()
    ended: list[None] = []
    daemon.stopService().addCallback(ended.append)
    assert ended == [None]
    assert reactor.closed == [7700]
    with pytest.raises(StateError, match="no daemon is running"):
        settings.state.running()
    settings.state.open_for_daemon().close()


def test_it_starts_again(reactor: Reactor, tmp_path: Path) -> None:
    daemon = daemon_on(reactor, settings_for(tmp_path))
    for _ in range(2):
        daemon.startService()
        daemon.stopService()
    assert reactor.closed == [7700, 7700]


def test_stopping_one_that_did_not_start(reactor: Reactor, tmp_path: Path) -> None:
    daemon_on(reactor, settings_for(tmp_path)).stopService()


def audited_events(settings: Settings) -> list[str]:
    log = settings.state.path / "audit" / "00000001.jsonl"
    return [json.loads(line)["event"] for line in log.read_text().splitlines()]


def test_it_keeps_an_audit_log(reactor: Reactor, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    daemon = daemon_on(reactor, settings)
    for _ in range(2):
        daemon.startService()
        reactor.advance(0)
        daemon.stopService()
    assert audited_events(settings) == ["start", "stop"] * 2


def test_it_says_what_to_try(reactor: Reactor, tmp_path: Path) -> None:
    with capturedLogs() as events:
        daemon = daemon_on(reactor, settings_for(tmp_path), command="bin/sockserv")
        daemon.startService()
    said = [formatEvent(event) for event in events if event["log_namespace"].endswith(".Daemon")]
    assert said == [
        "sockserv listens on tcp://127.0.0.1:7700",
        f"its state is in {tmp_path}/state",
        f"to try it, type in another terminal: bin/sockserv ping --state {tmp_path}/state",
    ]
    daemon.stopService()


def test_the_usual_directory_needs_no_option(
    reactor: Reactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with capturedLogs() as events:
        daemon = daemon_on(reactor, load(environ={}))
        daemon.startService()
    assert formatEvent(events[-1]).endswith(": sockserv ping")
    daemon.stopService()


def test_identities_are_read_again_though_all_threads_are_busy(
    reactor: Reactor, tmp_path: Path
) -> None:
    """This reactor has no pool of threads at all."""
    daemon = daemon_on(reactor, settings_for(tmp_path))
    daemon.startService()
    file = tmp_path / "state" / "identities.toml"
    file.write_text("[alice\n")
    os.utime(file, (0, 0))
    with capturedLogs() as events:
        reactor.advance(1.0)
    said = [formatEvent(event) or "" for event in events]
    assert any(each.startswith("identities.toml line ") for each in said)
    daemon.stopService()


class TestItDoesNotStart:
    def test_a_port_is_taken(self, reactor: Reactor, tmp_path: Path) -> None:
        settings = settings_for(tmp_path, TCP, TAKEN)
        daemon = daemon_on(reactor, settings)
        with pytest.raises(ListenError) as caught:
            daemon.startService()
        assert str(caught.value) == (
            "cannot listen on tcp://127.0.0.1:9: address already in use; "
            "choose another address with --listen"
        )
        assert reactor.closed == [7700]
        assert not daemon.running
        settings.state.open_for_daemon().close()

    def test_a_file_is_in_the_way_of_a_socket(self, reactor: Reactor, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("precious")
        daemon = daemon_on(reactor, settings_for(tmp_path, f"unix:{path}"))
        with pytest.raises(ListenError, match="a file of that name, and it is not a socket"):
            daemon.startService()
        assert path.read_text() == "precious"

    def test_the_directory_is_taken(self, reactor: Reactor, tmp_path: Path) -> None:
        settings = settings_for(tmp_path)
        held = settings.state.open_for_daemon()
        with pytest.raises(StateError, match="already uses the state directory"):
            daemon_on(reactor, settings).startService()
        assert reactor.tcpServers == []
        held.close()

    @pytest.mark.parametrize(
        ("name", "text", "mode", "message"),
        [
            ("identities", "[alice]\necko = true\n", 0o600, "line 2: alice.ecko: there is no"),
            ("identities", "", 0o640, r"others can read /.* \(mode 0640\): close it with `chmod"),
            ("commands", "[commands.x]\n", 0o600, "line 1: commands.x.argv: is missing"),
            ("commands", "", 0o640, r"others can read /.* \(mode 0640\): close it with `chmod"),
        ],
    )
    def test_a_file_that_is_edited_cannot_be_used(
        self, reactor: Reactor, tmp_path: Path, name: str, text: str, mode: int, message: str
    ) -> None:
        settings = settings_for(tmp_path)
        (tmp_path / "state").mkdir(mode=0o700)
        file = tmp_path / "state" / f"{name}.toml"
        file.write_text(text)
        file.chmod(mode)
        with pytest.raises(EditedFileError, match=message):
            daemon_on(reactor, settings).startService()
        assert reactor.tcpServers == []
        assert file.read_text() == text
        settings.state.open_for_daemon().close()

    def test_the_audit_log_cannot_be_used(self, reactor: Reactor, tmp_path: Path) -> None:
        settings = settings_for(tmp_path)
        (tmp_path / "state" / "audit").mkdir(parents=True)
        (tmp_path / "state").chmod(0o700)
        (tmp_path / "state" / "audit").chmod(0o755)
        with pytest.raises(StateError, match="others can enter the folder of the audit log"):
            daemon_on(reactor, settings).startService()
        assert reactor.tcpServers == []
        settings.state.open_for_daemon().close()

    def test_the_jobs_that_were_kept_cannot_be_read(self, reactor: Reactor, tmp_path: Path) -> None:
        settings = settings_for(tmp_path)
        (tmp_path / "state").mkdir(mode=0o700)
        (tmp_path / "state" / "jobs").write_text("")
        with pytest.raises(StateError, match=r"the jobs in .*/state/jobs cannot be read: not a"):
            daemon_on(reactor, settings).startService()
        assert reactor.tcpServers == []
        settings.state.open_for_daemon().close()

    def test_nothing_is_audited_then(self, reactor: Reactor, tmp_path: Path) -> None:
        settings = settings_for(tmp_path, TAKEN)
        with pytest.raises(ListenError):
            daemon_on(reactor, settings).startService()
        reactor.advance(60)
        assert audited_events(settings) == []
        assert reactor.getDelayedCalls() == []

    def test_the_note_cannot_be_written(self, reactor: Reactor, tmp_path: Path) -> None:
        settings = settings_for(tmp_path)
        (tmp_path / "state" / "listening.json").mkdir(parents=True)
        (tmp_path / "state").chmod(0o700)
        with pytest.raises(StateError, match="cannot write"):
            daemon_on(reactor, settings).startService()
        assert reactor.closed == [7700]
        settings.state.open_for_daemon().close()
