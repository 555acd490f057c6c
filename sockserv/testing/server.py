"""A server in memory, with real clients: what most tests of a service need."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from operator import attrgetter
from types import TracebackType
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from sockserv.client import Client, OutgoingCall, connect_endpoint
from sockserv.errors import AuthenticationFailed, SockservError
from sockserv.limits import Limits
from sockserv.net.handlers import run_handler
from sockserv.server import Server
from sockserv.server.logins import Logins
from sockserv.services import Service
from sockserv.services.late import LateServices
from sockserv.testing.link import Link
from sockserv.testing.network import MemoryEndpoint, MemoryNetwork
from sockserv.testing.raw import RawPeer
from sockserv.trust import EVERYTHING, Authenticator, Identity, Origin
from sockserv.trust.audit import AuditSink

__all__ = ["OWNER", "HandlerFailed", "LeftOver", "MemoryServer"]

T = TypeVar("T")

OWNER: Final = Identity("owner", frozenset({EVERYTHING}))
"""Who a client is when a test does not say it: somebody who may do everything."""

CONNECT_TIMEOUT_SECONDS: Final = 10.0

_ENOUGH_BYTES: Final = 16 * 1024 * 1024


class HandlerFailed(SockservError, AssertionError):
    """A handler failed in a way that it did not foresee; the message has its traceback."""


class LeftOver(SockservError, AssertionError):
    """The test has ended, and something of it still runs."""


class MemoryServer:
    """A real `Server`, and real clients for it, joined in memory. Nothing moves unless it is told to.

    ::

        with MemoryServer([Ticker()]) as memory:
            client = memory.connect()
            reply = memory.run(client.call("ticker.once"))

    `authenticator` replaces one that knows the identities given to `connect`; `audit` is told who calls what. At the
    end of the `with` block every connection is cut; if a timer is still running then, `LeftOver` is raised, and
    `HandlerFailed` if a handler has failed unexpectedly and the test has not called `take_failures`.

    `network` is what moves the bytes and the clock, `server` the server.
    """

    def __init__(
        self,
        services: Iterable[Service | LateServices],
        *,
        authenticator: Authenticator | None = None,
        limits: Limits | None = None,
        network: MemoryNetwork | None = None,
        audit: AuditSink | None = None,
    ) -> None:
        self.network = network or MemoryNetwork()
        self._known = _Known()
        self.server = Server(
            self.network.clock,
            services,
            authenticator=authenticator or self._known,
            limits=limits,
            in_thread=self.network.in_thread,
            origin_of=attrgetter("origin"),
            audit=audit,
        )
        self._endpoint = MemoryEndpoint(self.network)
        self._failures = _Failures()
        self.network.run(self.server.listen(self._endpoint))
        globalLogPublisher.addObserver(self._failures)

    def __enter__(self) -> MemoryServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._end()
            if error is None:
                self._check()
            else:
                for failure in self._failures.seen:
                    error.add_note(f"A handler had failed:\n{failure.getTraceback()}")
        finally:
            globalLogPublisher.removeObserver(self._failures)

    # Connections

    def connect(
        self,
        identity: Identity = OWNER,
        *,
        token: str | None = None,
        link: Link | None = None,
        limits: Limits | None = None,
    ) -> Client:
        """A client that is logged in as `identity`, or with `token`.

        `link` is what joins it to the server, `limits` are the client's. Time passes if it must: a
        login that fails is answered after a while.
        """
        connecting = self.start_connecting(identity, token=token, link=link, limits=limits)
        return self.run(connecting, max_seconds=CONNECT_TIMEOUT_SECONDS)

    def start_connecting(
        self,
        identity: Identity = OWNER,
        *,
        token: str | None = None,
        link: Link | None = None,
        limits: Limits | None = None,
        timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
    ) -> Deferred[Client]:
        """Like `connect`, but moves nothing: for logins that are to fail, or to take their time."""
        return connect_endpoint(
            self.clock,
            self._endpoint.client(link),
            token=self._known.token_of(identity) if token is None else token,
            limits=limits,
            timeout_seconds=timeout_seconds,
            in_thread=self.network.in_thread,
        )

    def connect_raw(self, identity: Identity | None = None, *, link: Link | None = None) -> RawPeer:
        """A connection in the test's own hands; with an `identity` it is logged in already."""
        raw = RawPeer()
        self.run(connectProtocol(self._endpoint.client(link), raw))
        if identity is not None:
            raw.send_hello()
            token = self.token_of(identity)
            raw.send(
                {
                    "type": "open",
                    "call": 1,
                    "op": "auth.token",
                    "args": {"token": token},
                    "end": True,
                }
            )
            self.flush()
            *_, answer = raw.take_frames()
            if answer["type"] != "reply":
                raise AuthenticationFailed(f"the login of {identity.name} failed: {answer}")
        return raw

    def token_of(self, identity: Identity) -> str:
        """A token by which the server knows `identity`, for logins made by hand."""
        return self._known.token_of(identity)

    # Turns and time

    @property
    def clock(self) -> Clock:
        """The clock that server and clients go by."""
        return self.network.clock

    def run(self, awaitable: Awaitable[T], *, max_seconds: float = 0.0) -> T:
        """Let things happen until a result is there; see `MemoryNetwork.run`."""
        return self.network.run(awaitable, max_seconds=max_seconds)

    def flush(self) -> None:
        """Let everything happen that can happen without time passing; see `MemoryNetwork.flush`."""
        self.network.flush()

    def advance(self, seconds: float) -> None:
        """Let time pass; see `MemoryNetwork.advance`."""
        self.network.advance(seconds)

    def read(self, call: OutgoingCall, *, enough_bytes: int = _ENOUGH_BYTES) -> bytes:
        """What has come of an answer by now, and has not been read.

        Goes on while reading makes more come, until it is `enough_bytes` or a little more. Raises what the call has
        failed with, once all before that is read.
        """
        answer = bytearray()

        async def read() -> None:
            async for piece in call.body:
                answer.extend(piece)
                if len(answer) >= enough_bytes:
                    break

        reading = Deferred.fromCoroutine(read())
        self.flush()
        reading.cancel()
        try:
            self.run(reading)
        except CancelledError:
            pass  # there is more to come
        except SockservError:
            if not answer:
                raise
        return bytes(answer)

    # The end

    def take_failures(self) -> list[BaseException]:
        """What handlers and authenticators have raised that was not a `CallError`.

        The end of the test passes over it. Of an authenticator's failure only the kind is said: it may hold
        credentials.
        """
        failures, self._failures.seen = self._failures.seen, []
        return [failure.value for failure in failures if failure.value is not None]

    def _end(self) -> None:
        for link in self.network.links:
            link.cut()
        self.flush()
        self.run(self.server.stop())
        self.flush()

    def _check(self) -> None:
        if self._failures.seen:
            traces = "\n".join(failure.getTraceback() for failure in self._failures.seen)
            raise HandlerFailed(f"a handler failed unexpectedly:\n{traces}")
        timers = [str(call) for call in self.clock.getDelayedCalls() if call.active()]
        if timers:
            raise LeftOver(f"timers still run when all connections have ended: {timers}")


class _Known:
    """An authenticator that learns identities as the test goes."""

    methods = ("token",)
    anonymous = None

    def __init__(self) -> None:
        self._identities: dict[str, Identity] = {}

    def token_of(self, identity: Identity) -> str:
        token = f"token {len(self._identities)} of {identity.name}"
        self._identities[token] = identity
        return token

    def authenticate(self, method: str, credentials: Mapping[str, Any], origin: Origin) -> Identity:
        identity = self._identities.get(credentials.get("token", ""))
        if identity is None:
            raise AuthenticationFailed("the token is not valid here")
        return identity


_FAILING: Final = {run_handler.__module__, f"{Logins.__module__}.{Logins.__qualname__}"}
"""Who logs it when a handler, or an authenticator, fails."""


@implementer(ILogObserver)
class _Failures:
    """Collects what is logged of handlers and authenticators that failed; what others log has no place in this test."""

    def __init__(self) -> None:
        self.seen: list[Failure] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace") in _FAILING and "log_failure" in event:
            self.seen.append(event["log_failure"])
