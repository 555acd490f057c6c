"""Kept jobs at real daemons: whose they are, what they may take, and when they are ended."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sockserv.keeping.folder import find_folders
from sockserv.keeping.record import read_record
from sockserv.processes.table import Machine
from tests.integration.conftest import ANY_PORT, Twistd, until
from tests.integration.test_people import Account


def jobs_of(account: Account) -> dict[str, Any]:
    """The jobs that somebody sees, by name."""
    lines = account.succeed("jobs", "--json").splitlines()
    return {job["job"]: job for job in map(json.loads, lines)}


def how(account: Account, job: str) -> str:
    """How a job has ended; nothing while it runs."""
    outcome = jobs_of(account)[job].get("outcome")
    return "" if outcome is None else f"{outcome['kind']} {outcome.get('reason', '')}".strip()


def marked(state: Path) -> list[int]:
    """All processes of all kept jobs."""
    machine = Machine(adopts=False)
    records = [read_record(folder) for folder in find_folders(state / "jobs")]
    marks = {record.mark for record in records if record is not None}
    return [pid for pid in machine.all() if machine.mark(pid) in marks]


@pytest.fixture(autouse=True)
def _nothing_is_left(state: Path) -> Iterator[None]:
    yield
    for pid in marked(state):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def start_daemon(
    twistd: Callable[..., Twistd], tmp_path: Path, state: Path
) -> Callable[..., Twistd]:
    """Starts a daemon on `state`, with these settings."""

    def start(settings: str = "") -> Twistd:
        config = tmp_path / "sockserv.toml"
        config.write_text(settings)
        daemon = twistd("--listen", ANY_PORT, "--state", str(state), "--config", str(config))
        daemon.wait_until_listening(state)
        return daemon

    return start


@pytest.fixture
def owner(tmp_path: Path, state: Path) -> Account:
    return Account(tmp_path / "owner", state)


@pytest.fixture
def invited(tmp_path: Path, owner: Account) -> Callable[..., Account]:
    """Somebody whom the owner lets in."""

    def invite(name: str, *permissions: str) -> Account:
        # Which warns of what it does.
        url = owner.run("invite", name, *permissions).stdout.strip()
        account = Account(tmp_path / name, tmp_path / f"{name} has no daemon")
        account.succeed("login", "--name", "lab", input=url)
        account.environ["SOCKSERV_SERVER"] = "lab"
        return account

    return invite


def start_job(account: Account, job: str, *arguments: str) -> None:
    account.succeed("exec", "--detach", "--job", job, "--", *arguments)


class TestWhoseTheyAre:
    def test_two_may_have_the_same_name_for_theirs(
        self, start_daemon: Callable[..., Twistd], owner: Account, invited: Callable[..., Account]
    ) -> None:
        start_daemon()
        alice, bob = (invited(name, "--exec", "any") for name in ("alice", "Alice.B"))
        for account in (owner, alice, bob):
            start_job(account, "build", "sh", "-c", "echo $SOCKSERV_IDENTITY $SOCKSERV_JOB")
            assert account.run("wait", "build").returncode == 0
        for account, name in ((alice, "alice"), (bob, "Alice.B")):
            assert account.succeed("attach", "build") == f"{name} build\n"
        assert alice.run("attach", "--identity", "Alice.B", "build").returncode != 0
        assert owner.succeed("attach", "--identity", "Alice.B", "build") == "Alice.B build\n"
        alice.succeed("jobs", "--remove", "build")
        assert jobs_of(alice) == {}
        assert len(jobs_of(bob)) == 1

    def test_they_end_when_it_is_taken_back_what_allowed_them(
        self,
        start_daemon: Callable[..., Twistd],
        owner: Account,
        invited: Callable[..., Account],
        state: Path,
    ) -> None:
        daemon = start_daemon()
        alice = invited("alice", "--exec", "any")
        start_job(alice, "sleeps", "sleep", "300")
        start_job(owner, "stays", "sleep", "300")
        owner.succeed("revoke", "alice")
        until(lambda: how_of(owner, "alice") == ["killed revoked"])
        assert how(owner, "stays") == ""
        # Nor does it help to be revoked while nobody looks.
        bob = invited("bob", "--exec", "any")
        start_job(bob, "sleeps", "sleep", "300")
        daemon.stop(signal.SIGKILL)
        (state / "identities.toml").write_text("")
        start_daemon()
        until(lambda: how_of(owner, "bob") == ["killed revoked"])
        owner.succeed("kill", "stays")
        until(lambda: marked(state) == [])


def how_of(account: Account, identity: str) -> list[str]:
    lines = account.succeed("jobs", "--json").splitlines()
    jobs = [json.loads(line) for line in lines]
    outcomes = [job.get("outcome") or {} for job in jobs if job["identity"] == identity]
    return [f"{outcome.get('kind')} {outcome.get('reason')}" for outcome in outcomes]


class TestTheDaemon:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_it_ends_and_they_go_on(
        self,
        start_daemon: Callable[..., Twistd],
        owner: Account,
        state: Path,
        number: signal.Signals,
    ) -> None:
        # Who is attached keeps it from nothing: it would wait for calls that much longer than anybody here waits for
        # it.
        daemon = start_daemon("limits.drain_timeout_seconds = 600.0")
        script = "echo before; while [ ! -e $0 ]; do sleep 0.05; done; echo after; exit 5"
        go = state / "go"
        start_job(owner, "build", "sh", "-c", script, str(go))
        attached = owner.start("attach", "build")
        assert attached.stdout is not None
        assert attached.stdout.readline() == b"before\n"
        daemon.stop(number)
        output, errors = attached.communicate()
        assert (attached.returncode, output) == (255, b"")
        assert b"attach build" in errors
        start_daemon()
        again = owner.start("attach", "build")
        go.touch()
        output, _ = again.communicate()
        assert (again.returncode, output) == (5, b"before\nafter\n")

    def test_its_bounds(self, start_daemon: Callable[..., Twistd], owner: Account) -> None:
        bounds = "[kept]\nmax_identity_jobs = 2\nspool_bytes = 1000\n"
        daemon = start_daemon(bounds)
        start_job(owner, "writes", "head", "-c", "2000", "/dev/zero")
        start_job(owner, "sleeps", "sleep", "300")
        refused = owner.run("exec", "--detach", "--", "true")
        assert refused.returncode == 126
        assert "max_identity_jobs" in refused.stderr
        until(lambda: how(owner, "writes") == "killed output-limit")
        assert jobs_of(owner)["writes"]["stdout_bytes"] == 1000
        owner.succeed("jobs", "--remove", "writes")
        # Each has the time that was set when it started.
        daemon.stop()
        start_daemon(f"{bounds}expiry_seconds = 0.1\n")
        start_job(owner, "brief", "true")
        until(lambda: "brief" not in jobs_of(owner))
        start_job(owner, "third", "true")
        owner.succeed("kill", "--force", "sleeps")
