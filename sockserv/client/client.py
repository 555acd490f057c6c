"""A logged-in connection, for the program that calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

import attrs
from msgspec import Raw
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from sockserv.errors import GoodbyeCode, ReplyTooLarge, SockservError
from sockserv.net.calls import OutgoingCall
from sockserv.net.peer import Peer
from sockserv.wire.messages import NOTHING, encode_value

if TYPE_CHECKING:
    from sockserv.client.chat import Chat
    from sockserv.client.execution import Execution
    from sockserv.client.files import Files

__all__ = ["Client", "Reply"]

R = TypeVar("R")

DEFAULT_MAX_REPLY_BYTES: Final = 16 * 1024 * 1024


@attrs.frozen
class Reply(Generic[R]):
    """The answer to a call: its `result`, and its `body` in one piece."""

    result: R
    body: bytes


class Client:
    """Calls a server over one connection; `sockserv.client.connect` makes it.

    All calls share the connection, as many at once as the server accepts; more wait for their turn.
    """

    def __init__(
        self,
        peer: Peer,
        identity: str | None,
        ended: Deferred[Exception],
        *,
        server_name: str,
        server_pin: str | None,
    ) -> None:
        self._peer = peer
        self._server_name = server_name
        self._server_pin = server_pin
        self._identity = identity
        self._is_ended = False
        self._holds = 0
        self._files: Files | None = None
        self._exec: Execution | None = None
        self._chat: Chat | None = None
        self._closing: list[Deferred[None]] = []
        ended.addCallback(self._on_end)

    def __repr__(self) -> str:
        return f"<client of {self._peer!r}>"

    @property
    def identity(self) -> str | None:
        """Who we are to the server; None where no login was needed."""
        return self._identity

    @property
    def server_name(self) -> str:
        """What the server is called here: its URL, or the `name` that `connect_endpoint` was given."""
        return self._server_name

    @property
    def server_pin(self) -> str | None:
        """The pin of the key by which the server was known; None where it was not known by one."""
        return self._server_pin

    @property
    def server_host(self) -> str | None:
        """The IP address of the server; None where the connection has none, as that over a Unix socket."""
        transport = self._peer.transport
        host = None if transport is None else getattr(transport.getPeer(), "host", None)
        return host if isinstance(host, str) else None

    @property
    def server_agent(self) -> str:
        """The server's name and version, in its own words."""
        hello = self._peer.hello
        return hello.agent if hello is not None else ""

    @property
    def clock(self) -> IReactorTime:
        """The clock that the connection goes by."""
        return self._peer.settings.clock

    @property
    def files(self) -> Files:
        """The files of the server."""
        if self._files is None:
            # Imported late: most programs want no files.
            from sockserv.client.files import Files

            in_thread = self._peer.settings.in_thread
            assert in_thread is not None, "a client has threads"
            self._files = Files(self, in_thread)
        return self._files

    @property
    def exec(self) -> Execution:
        """The commands that may be run at the server."""
        if self._exec is None:
            # Imported late, as above.
            from sockserv.client.execution import Execution

            self._exec = Execution(self)
        return self._exec

    @property
    def chat(self) -> Chat:
        """What is said at the server."""
        if self._chat is None:
            from sockserv.client.chat import Chat

            self._chat = Chat(self)
        return self._chat

    @overload
    def call(
        self,
        op: str,
        args: Any = ...,
        *,
        body: bytes = ...,
        timeout_seconds: float | None = ...,
        max_reply_bytes: int = ...,
    ) -> Deferred[Reply[Any]]: ...

    @overload
    def call(
        self,
        op: str,
        args: Any = ...,
        *,
        result: type[R],
        body: bytes = ...,
        timeout_seconds: float | None = ...,
        max_reply_bytes: int = ...,
    ) -> Deferred[Reply[R]]: ...

    def call(
        self,
        op: str,
        args: Any = None,
        *,
        result: Any = Any,
        body: bytes = b"",
        timeout_seconds: float | None = None,
        max_reply_bytes: int = DEFAULT_MAX_REPLY_BYTES,
    ) -> Deferred[Reply[Any]]:
        """Ask for an operation with a body at hand, and collect the whole answer.

        `args` is an attrs object or a dictionary; `result` the class that the result is decoded to.
        Fails with the `CallError` of the server, `DeadlineExceeded` after `timeout_seconds`,
        `ReplyTooLarge` beyond `max_reply_bytes`, `TooManyCalls`, or `ConnectionEnded`. Cancelling the
        Deferred cancels the call.
        """
        try:
            raw = NOTHING if args is None else encode_value(args)
            if self._can_open():
                call = self._peer.open_now(
                    op, raw, body=body, end=True, timeout_seconds=timeout_seconds
                )
                return _Collecting(call, op, result, max_reply_bytes).done
        except Exception as error:
            return fail(error)
        waiting = self._peer.open(op, raw, body=body, end=True, timeout_seconds=timeout_seconds)
        return Deferred.fromCoroutine(waiting).addCallback(
            lambda call: _Collecting(call, op, result, max_reply_bytes).done
        )

    def open(
        self,
        op: str,
        args: Any = None,
        *,
        body: bytes = b"",
        end: bool = False,
        timeout_seconds: float | None = None,
    ) -> Deferred[OutgoingCall]:
        """Open a call whose bodies stream; `body` are its first bytes, `end` says that they are all.

        Fires as soon as the server takes one more call, without waiting for it to answer.
        """
        try:
            raw = NOTHING if args is None else encode_value(args)
            if self._can_open():
                return succeed(
                    self._peer.open_now(
                        op, raw, body=body, end=end, timeout_seconds=timeout_seconds
                    )
                )
        except Exception as error:
            return fail(error)
        return Deferred.fromCoroutine(
            self._peer.open(op, raw, body=body, end=end, timeout_seconds=timeout_seconds)
        )

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is called in this block goes out together when it ends, which is cheaper. Not for awaiting in it."""
        self._peer.hold()
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._peer.release()

    def _can_open(self) -> bool:
        """Whether the server takes one more call now; raises what `open` would if it never will."""
        if self._peer.can_open():
            return True
        if not self._holds:
            return False
        # What goes out together may be all that is in the way, and so much is enough for once.
        self._peer.release()
        self._peer.hold()
        return self._peer.can_open()

    def ping(self) -> Deferred[None]:
        """A round trip to the server, past all its services; the Deferred fires when it is back."""
        try:
            return self._peer.ping()
        except SockservError as error:
            return fail(error)

    def close(self) -> Deferred[None]:
        """End all calls and the connection; fires when it is closed. May be called again."""
        done: Deferred[None] = Deferred()
        if self._is_ended:
            done.callback(None)
        else:
            self._closing.append(done)
            self._peer.close(GoodbyeCode.DONE, "the client is done")
        return done

    def _on_end(self, why: Exception) -> None:
        self._is_ended = True
        closing, self._closing = self._closing, []
        for waiting in closing:
            waiting.callback(None)


class _Collecting:
    """Collects the answer to one call; `done` fires with the `Reply`."""

    __slots__ = ("_call", "_kind", "_left", "_max_reply_bytes", "_op", "_pieces", "done")

    def __init__(self, call: OutgoingCall, op: str, kind: Any, max_reply_bytes: int) -> None:
        self._call = call
        self._op = op
        self._kind = kind
        self._pieces: list[bytes] = []
        self._max_reply_bytes = self._left = max_reply_bytes
        self.done: Deferred[Reply[Any]] = Deferred(self._cancel)
        call.collect(self._take, self._end)

    def _take(self, stream: int, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left >= 0:
            self._pieces.append(piece)
        else:
            self._pieces.clear()
            self._call.give_up(
                ReplyTooLarge(
                    f"the answer of {self._op} is larger than {self._max_reply_bytes} bytes: "
                    "raise max_reply_bytes, or open a call and read it piece by piece"
                )
            )

    def _end(self, result: Raw | None, failure: Exception | None) -> None:
        done = self.done
        if done.called:
            return
        if result is None:
            assert failure is not None
            done.errback(failure)
            return
        pieces = self._pieces
        try:
            reply = Reply(
                None if result is NOTHING else self._call.decode(result, self._kind),
                pieces[0] if len(pieces) == 1 else b"".join(pieces),
            )
        except SockservError as error:
            done.errback(error)
        else:
            done.callback(reply)

    def _cancel(self, done: Deferred[Reply[Any]]) -> None:
        # The Deferred has its own error for that, which comes first.
        done.errback(CancelledError())
        self._call.cancel()
