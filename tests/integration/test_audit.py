"""The audit log of a real daemon: what is in it after kill -9, with a full disk, and under attack."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sockserv.state import StateDirectory
from sockserv.trust.audit.folder import AuditFolder
from sockserv.trust.audit.verify import Report, verify
from tests.integration.conftest import ANY_PORT, DEADLINE_SECONDS, Twistd, start_process, until
from tests.integration.raw_client import RawClient

IN_FLIGHT = 64


class Audited:
    """A daemon, and its audit log."""

    def __init__(self, twistd: Callable[..., Twistd], state: Path, environ: dict[str, str]) -> None:
        self._start = twistd
        self._environ = environ
        self.state = state
        self.folder = AuditFolder(state / "audit")
        self.start()

    def start(self, *options: str) -> None:
        self.twistd = self._start("--state", str(self.state), "--listen", ANY_PORT, *options)
        (self.url,) = self.twistd.wait_until_listening(self.state).listening

    def log_in(self) -> RawClient:
        client = RawClient(self.url)
        client.greet()
        client.start_login(StateDirectory(self.state).owner_token())
        assert client.receive()["result"] == {"identity": "owner"}
        return client

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sockserv", *arguments, "--state", str(self.state)],
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def verified(self) -> Report:
        report = verify(self.folder)
        assert report.faults == []
        return report

    def lines(self) -> list[Any]:
        return [
            json.loads(line.content)
            for number in self.folder.numbers()
            for line in self.folder.lines(number)
            if line.is_whole
        ]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]

    @contextmanager
    def full_disk(self, *, room_bytes: int) -> Iterator[None]:
        """No file of the daemon grows by more than that, from where its audit log is now."""
        size = self.folder.file(self.folder.numbers()[-1]).stat().st_size + room_bytes
        pid = self.twistd.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            with suppress(ProcessLookupError):  # it may have ended
                resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@pytest.fixture
def audited(twistd: Callable[..., Twistd], state: Path, environ: dict[str, str]) -> Audited:
    return Audited(twistd, state, environ)


def open_change(client: RawClient) -> int:
    """Open a call that is to change something.

    It is refused, for the owner's token is not one that can be replaced so; but it is written down.
    """
    return client.open("identity.replace-token", args={"sha256": "0" * 64}, end=True)


def change(client: RawClient) -> str:
    """The code of the error that a change is answered with."""
    code: str = client.receive_answer(open_change(client))["code"]
    return code


def test_an_invitation_is_written_down_and_its_token_is_not(audited: Audited) -> None:
    url = audited.command("invite", "alice").stdout.strip()
    token = url.rpartition("token=")[2]
    assert len(token) == 43
    begin, end = [line for line in audited.lines() if line.get("op") == "admin.invite"]
    assert (begin["event"], begin["identity"], begin["credential"]) == (
        "begin",
        "owner",
        "owner-token",
    )
    assert begin["args"]["name"] == "alice"
    assert (end["event"], end["outcome"], end["rule"]) == ("end", "ok", "*")
    assert token not in "".join(
        audited.folder.file(number).read_text() for number in audited.folder.numbers()
    )
    assert audited.twistd.stop() == -signal.SIGTERM
    assert audited.events()[-1] == "stop"


def test_every_change_that_was_answered_is_there_after_kill_9(audited: Audited) -> None:
    """Four times, at whatever moment; each time on what the time before has left."""
    for _ in range(4):
        answered = 0
        before = audited.events().count("end")
        with audited.log_in() as client:
            for _ in range(IN_FLIGHT):
                open_change(client)
            killer = threading.Timer(0.3, audited.twistd.process.kill)
            while (frame := client.receive_or_end()) is not None:
                assert frame["code"] == "permission-denied"
                answered += 1
                if answered == IN_FLIGHT + 1:
                    killer.start()
                try:
                    open_change(client)
                except ConnectionError:
                    break
            while client.receive_or_end() is not None:
                answered += 1
            killer.join()
        audited.twistd.wait()
        audited.verified()
        assert answered > IN_FLIGHT
        assert audited.events().count("end") - before >= answered
        audited.start()
    # The daemon that runs now may be about to write one more record.
    until(lambda: audited.verified().last == audited.folder.head())
    assert audited.events().count("start") == 5


class TestAFullDisk:
    def test_changes_are_refused_and_all_else_goes_on(self, audited: Audited) -> None:
        with audited.log_in() as client:
            for _ in range(50):
                assert change(client) == "permission-denied"
            with audited.full_disk(room_bytes=100):
                for _ in range(3):
                    assert change(client) == "audit-unavailable"
                client.echo(b"still here")
                with audited.log_in() as other:
                    other.echo(b"and let in")
            assert change(client) == "permission-denied"
        notes = [note.what for note in audited.verified().notes]
        assert len(notes) == 1
        assert notes[0].endswith("records could not be written")
        assert "the audit log cannot be written: file too large" in audited.twistd.output
        assert "the audit log can be written again" in audited.twistd.output

    def test_where_it_is_to_be_passed_over(self, audited: Audited, tmp_path: Path) -> None:
        audited.twistd.stop()
        settings = tmp_path / "settings.toml"
        settings.write_text('[audit]\non_failure = "continue"')
        audited.start("--config", str(settings))
        with audited.log_in() as client:
            for _ in range(50):
                assert change(client) == "permission-denied"
            with audited.full_disk(room_bytes=0):
                assert change(client) == "permission-denied"
        audited.verified()

    def test_the_daemon_ends_and_starts_all_the_same(self, audited: Audited) -> None:
        with audited.log_in() as client:
            for _ in range(50):
                change(client)
            with audited.full_disk(room_bytes=10):
                assert change(client) == "audit-unavailable"
                assert audited.twistd.stop() == -signal.SIGTERM
        audited.start()
        until(lambda: audited.events()[-1] == "start")
        audited.verified()


def test_a_small_log_rotates_under_load(audited: Audited, tmp_path: Path) -> None:
    audited.twistd.stop()
    settings = tmp_path / "settings.toml"
    settings.write_text("[audit]\nmax_file_bytes = 20_000\nkeep_files = 5")
    audited.start("--config", str(settings))
    with audited.log_in() as client:
        for _ in range(IN_FLIGHT):
            open_change(client)
        for _ in range(1000):
            client.receive()
            open_change(client)
    # Changes that were under way may rotate it once more: then there is one too many for a moment.
    until(lambda: audited.verified().files == 5)
    assert audited.folder.numbers()[0] > 1
    assert audited.command("audit", "verify").returncode == 0


def test_following_it(audited: Audited) -> None:
    following = start_process(
        [sys.executable, "-m", "sockserv", "audit", "show", "--follow", "--event", "login"],
        stdout=subprocess.PIPE,
        text=True,
        env=audited._environ | {"SOCKSERV_STATE": str(audited.state)},
    )
    assert following.stdout is not None
    with following.stdout:
        for _ in range(2):
            audited.log_in().close()
            assert " owner       login  " in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        assert following.wait(DEADLINE_SECONDS) == -signal.SIGINT


def test_tampering_is_found_by_the_command(audited: Audited) -> None:
    with audited.log_in() as client:
        for _ in range(5):
            change(client)
    audited.twistd.stop()
    path = audited.folder.file(1)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], *lines[5:]]))
    result = audited.command("audit", "verify")
    assert result.returncode == 1
    assert result.stdout.startswith("00000001.jsonl line 5: record 5 is missing before this line\n")
    assert result.stderr == ""
