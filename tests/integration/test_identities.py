"""The identities of a real daemon: edited by hand, by calls, and through a death at any moment."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from sockserv import Client, connect
from sockserv.errors import AuthenticationFailed, ConnectionEnded, PermissionDenied, SockservError
from sockserv.state import StateDirectory
from tests.integration.conftest import ANY_PORT, Twistd

Start = Callable[..., Twistd]

MANY = 200
"""Turns of a tenth of a second: longer than anything here takes."""


class Lab:
    """A daemon on a state directory, started again as often as a test wants."""

    def __init__(self, start: Start, state: Path, *listen: str) -> None:
        self._start = start
        self._arguments = ["--state", str(state)]
        for endpoint in listen or (ANY_PORT,):
            self._arguments += ["--listen", endpoint]
        self.state = state
        self.file = state / "identities.toml"
        self.start()

    def start(self) -> None:
        self.daemon = self._start(*self._arguments)
        self.url = self.daemon.wait_until_listening(self.state).listening[0]

    async def connect(self, token: str | None = None) -> Client:
        token = token or StateDirectory(self.state).owner_token()
        return await connect(reactor, self.url, token=token)

    async def call(self, op: str, args: Any = None) -> Any:
        """The result of a call by the owner."""
        owner = await self.connect()
        reply = await owner.call(op, args)
        await owner.close()
        return reply.result

    async def invite(self, name: str, **grants: Any) -> str:
        token: str = (await self.call("admin.invite", {"name": name, **grants}))["token"]
        return token


@pytest.fixture
def lab(twistd: Start, state: Path) -> Lab:
    return Lab(twistd, state)


async def a_moment() -> None:
    await deferLater(reactor, 0.1)


async def is_cut_off(client: Client) -> bool:
    """Whether a connection ends within a while."""
    for _ in range(MANY):
        try:
            await client.ping()
        except ConnectionEnded:
            return True
        await a_moment()
    return False


@pytest_twisted.ensureDeferred
async def test_who_is_taken_out_of_the_file_is_cut_off(lab: Lab) -> None:
    alice = await lab.connect(await lab.invite("alice", echo=True))
    bob = await lab.connect(await lab.invite("bob", echo=True))
    call = await alice.open("echo")
    await call.send(b"hello")
    text = lab.file.read_text()
    lab.file.write_text(text.replace("[alice]", "[carol]"))
    assert await is_cut_off(alice)
    with pytest.raises(PermissionDenied, match="was revoked"):
        await call.result()
    assert (await bob.call("echo", body=b"still here")).body == b"still here"
    await bob.close()


@pytest_twisted.ensureDeferred
async def test_a_permission_that_is_taken_back(lab: Lab) -> None:
    alice = await lab.connect(await lab.invite("alice", echo=True))
    text = lab.file.read_text()
    lab.file.write_text(text.replace("echo = true\ntokens", "tokens"))
    for _ in range(MANY):
        try:
            await alice.call("echo", body=b"x")
        except PermissionDenied:
            break
        await a_moment()
    else:
        pytest.fail("she may still call echo")
    await alice.ping()
    await alice.close()


@pytest_twisted.ensureDeferred
async def test_a_mistake_is_logged_and_changes_nothing(lab: Lab) -> None:
    token = await lab.invite("alice", echo=True)
    text = lab.file.read_text()
    lab.file.write_text(f"{text}\n[bob]\necko = true\n")
    line = len(text.splitlines()) + 3
    complaint = (
        f"identities.toml line {line}: bob.ecko: there is no such setting; did you mean echo?"
    )
    for _ in range(MANY):
        if complaint in lab.daemon.output:
            break
        await a_moment()
    alice = await lab.connect(token)
    with pytest.raises(SockservError, match="did you mean echo"):
        await lab.invite("dave")
    await deferLater(reactor, 2.5)
    assert lab.daemon.output.count(complaint) == 1
    assert (await alice.call("echo", body=b"as ever")).body == b"as ever"
    await alice.close()


@pytest_twisted.ensureDeferred
async def test_a_login_that_expires_ends_a_call(lab: Lab) -> None:
    token = await lab.invite("alice", echo=True, expires_seconds=2)
    alice = await lab.connect(token)
    call = await alice.open("echo")
    assert await is_cut_off(alice)
    with pytest.raises(PermissionDenied, match="has expired"):
        await call.result()
    with pytest.raises(AuthenticationFailed, match="the token has expired"):
        await lab.connect(token)


@pytest_twisted.ensureDeferred
async def test_the_account_of_the_daemon_is_the_owner_on_a_unix_socket(
    twistd: Start, state: Path, tmp_path: Path
) -> None:
    lab = Lab(twistd, state, f"unix:{tmp_path / 'socket'}")
    client = await connect(reactor, lab.url, state=tmp_path / "no state")
    who: Any = (await client.call("identity.whoami")).result
    assert who["name"] == "owner"
    assert who["login"]["method"] == "uid"
    await client.close()


@pytest_twisted.ensureDeferred
async def test_a_death_at_any_moment_loses_nobody_who_was_told(lab: Lab) -> None:
    told: dict[str, str] = {}
    for life in range(3):
        owner = await lab.connect()

        async def invite_all(owner: Client = owner, life: int = life) -> None:
            for number in range(1000):
                name = f"guest{life}.{number}"
                reply: Any = await owner.call("admin.invite", {"name": name})
                told[name] = reply.result["token"]
                if number == 10 + 7 * life:
                    lab.daemon.process.send_signal(signal.SIGKILL)

        with pytest.raises(ConnectionEnded):
            await invite_all()
        lab.daemon.wait()
        lab.start()
    assert len(told) > 30
    for name, token in told.items():
        client = await lab.connect(token)
        assert client.identity == name
        await client.close()
