"""What is fuzzed, and what must hold whatever comes.

Each target takes a `random.Random` and tries one case: it raises for a case that breaks a promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from sockserv.client import Client, connect_endpoint
from sockserv.errors import (
    CallCancelled,
    InternalError,
    ProtocolError,
    SockservError,
)
from sockserv.limits import Limits
from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo
from sockserv.testing import MemoryEndpoint, MemoryNetwork, MemoryServer, RawPeer
from sockserv.trust import EVERYTHING, Identity, TokenAuthenticator, hash_token
from sockserv.wire import events
from sockserv.wire.calls import CallState
from sockserv.wire.connection import Connection, Role
from sockserv.wire.framing import FrameReader
from sockserv.wire.messages import (
    Data,
    Goodbye,
    Message,
    Open,
    Reply,
    Window,
    decode_header,
    encode_value,
)
from tests.fuzz.conversations import Conversation, cut, spoiled
from tests.fuzz.datagrams import datagrams, hostile_peer
from tests.wire.sides import Side, in_one_piece, joined

__all__ = ["TARGETS", "Target"]

WINDOW_BYTES: Final = 2000
LIMITS: Final = Limits(
    window_bytes=WINDOW_BYTES, max_body_bytes=6000, max_calls=5, max_unsent_bytes=100_000
)
TOKEN: Final = "the fuzzer's token"
OWNER: Final = Identity("owner", frozenset({EVERYTHING}))

Target = Callable[[Random], None]


def _stream(random: Random, conversation: Conversation) -> bytes:
    if random.random() < 0.02:
        return random.randbytes(random.randrange(300))
    frames = conversation.frames(random.randrange(random.choice([5, 60])))
    return spoiled(random, frames, random.choice([0, 0, 1, 1, 1, 3]))


# The connection by itself


def connection(random: Random) -> None:
    """Any bytes give events or a `ProtocolError`; credit, numbers and what is sent stay in order."""
    role = random.choice(list(Role))
    asks_for_login = role is Role.SERVER and random.random() < 0.4
    driver = _Driver(random, role, asks_for_login=asks_for_login)
    stream = _stream(
        random,
        Conversation(
            random,
            role,
            WINDOW_BYTES,
            token=TOKEN if asks_for_login and random.random() < 0.9 else None,
            opened=(2, 4) if role is Role.SERVER else (1, 3),
        ),
    )
    for delivery in cut(random, stream):
        if not driver.deliver(delivery):
            break
    driver.check_sent(stream)


class _Driver:
    """A program that uses a connection, and does what comes to its mind."""

    def __init__(self, random: Random, role: Role, *, asks_for_login: bool) -> None:
        self._random = random
        self._connection = Connection(role, LIMITS, auth=("token",) if asks_for_login else ())
        self._received: dict[CallState, int] = {}
        self._consumed: dict[CallState, int] = {}
        self._sent = bytearray()
        self._is_over = False
        self._connection.start("fuzz")

    def deliver(self, delivery: bytes) -> bool:
        """Whether the connection takes more."""
        connection = self._connection
        try:
            for event in connection.receive(delivery):
                self._on_event(event)
                assert len(connection.calls.incoming) <= LIMITS.max_calls
        except ProtocolError as error:
            self._end(error, delivery)
            return False
        if self._random.random() < 0.7:
            self._take()
        return True

    def _end(self, error: ProtocolError, delivery: bytes) -> None:
        connection = self._connection
        assert str(error).isprintable()
        assert len(str(error)) < 500
        assert list(connection.receive(delivery)) == []
        connection.goodbye(error.code, str(error))
        connection.end_calls()
        self._take()
        assert not connection.has_data_to_send

    def _take(self) -> None:
        while buffers := self._connection.data_to_send():
            self._sent += in_one_piece(buffers)
        self._connection.take_drained()

    def _on_event(self, event: Any) -> None:
        connection, random = self._connection, self._random
        assert not self._is_over, "something was read after a goodbye"
        match event:
            case events.HelloReceived():
                for _ in range(2):
                    if connection.can_open():
                        body = bytes(random.choice([0, 10, 20_000]))
                        connection.open("x", timeout_seconds=None, body=body, end=False)
            case CallState():
                self._count(event, event.first_body)
                if event.request.op == "auth.token" and random.random() < 0.9:
                    connection.accept_login()
                self._act(event)
            case events.BodyReceived():
                assert not event.call.is_ended
                self._count(event.call, event.body)
                self._act(event.call)
            case events.CallReplied():
                self._count(event.call, event.body)
                assert event.call.is_ended
            case events.CallFailed():
                assert isinstance(event.error.details, dict)
                assert event.call.is_ended
            case events.CallCancelled():
                assert event.call.is_cancelled
                if random.random() < 0.8:
                    connection.fail(event.call, CallCancelled("cancelled"))
            case events.GoodbyeReceived():
                self._is_over = event.goodbye.code not in ("done", "shutting-down")
            case events.PongReceived():
                pass
            case _:
                raise AssertionError(f"not an event: {event!r}")

    def _count(self, call: CallState, body: bytes | memoryview) -> None:
        received = self._received[call] = self._received.get(call, 0) + len(body)
        assert received <= WINDOW_BYTES + self._consumed.get(call, 0)
        assert call.receive_credit >= 0

    def _act(self, call: CallState) -> None:
        connection, random = self._connection, self._random
        match random.randrange(8):
            case 0:
                connection.send(
                    call, bytes(random.choice([0, 10, 5000])), stream=random.choice([0, 7])
                )
            case 1 if not call.is_ours:
                result = encode_value(random.choice([None, 1, {"a": []}]))
                connection.reply(call, result, bytes(random.choice([0, 10, 5000])))
            case 2 if not call.is_ours:
                connection.fail(call, InternalError("failed", details={"a": 1}))
            case 3 if call.is_ours:
                connection.cancel(call)
            case 4 | 5 | 6:
                waiting = self._received.get(call, 0) - self._consumed.get(call, 0)
                count = random.randint(0, waiting)
                self._consumed[call] = self._consumed.get(call, 0) + count
                if not call.is_ended:
                    connection.consume(call, count)
            case _:
                pass

    def check_sent(self, received: bytes) -> None:
        """What was sent is version 1, and never more of a body than there was credit for."""
        self._take()
        frames = list(_messages(bytes(self._sent)))
        credit: dict[int, int] = {}
        window = self._connection.peer_limits.window_bytes
        for message in _messages(received):
            if isinstance(message, Window):
                credit[message.call] = credit.get(message.call, 0) + message.bytes
        sent: dict[int, int] = {}
        for message in frames:
            if isinstance(message, Open | Data | Reply):
                sent[message.call] = sent.get(message.call, 0) + message.size
                assert sent[message.call] <= window + credit.get(message.call, 0)
        said_goodbye = [isinstance(message, Goodbye) for message in frames]
        assert True not in said_goodbye[:-1], "something follows a goodbye"


def _messages(stream: bytes) -> Iterator[Message]:
    """The headers of a stream, as far as it is right."""
    reader = FrameReader(decode_header, max_header_bytes=65_536, max_body_bytes=2**53)
    try:
        for part in reader.feed(stream):
            if part.header is not None:
                yield part.header
    except ProtocolError:
        pass


def fragments(random: Random) -> None:
    """However the bytes are cut, the same comes of them."""
    role = random.choice(list(Role))
    stream = _stream(random, Conversation(random, role, WINDOW_BYTES))
    assert _outcome(role, [stream]) == _outcome(role, cut(random, stream))


def _outcome(role: Role, deliveries: list[bytes]) -> tuple[list[Any], str | None, list[Any]]:
    side = Side(role, LIMITS, hello=None)
    happened: list[Any] = []
    code = None
    try:
        for delivery in deliveries:
            happened.extend(side.receive_some(delivery))
    except ProtocolError as error:
        code = error.code
    return joined(happened), code, [frame.header for frame in side.sent()]


# A server and a client on a network in memory


class Odd(Service):
    """Handlers that wait, flood, linger and fail."""

    @operation("odd.wait", permission=None)
    async def wait(self, call: Call[Any]) -> None:
        """Read a little, then wait."""
        async for _ in call.body:
            break
        await Deferred()

    @operation("odd.flood", permission=None)
    async def flood(self, call: Call[Any]) -> None:
        """Send without end."""
        while True:
            await call.send(bytes(1000), stream=1)
            await deferLater(call.clock, 0.5)

    @operation("odd.answer", permission=None)
    async def answer(self, call: Call[Any]) -> dict[str, int]:
        """Read all, then answer at length."""
        count = 0
        while (piece := await call.body.take()) is not None:
            count += len(piece[1])
        await call.send(bytes(5000))
        return {"count": count}

    @operation("odd.linger", permission=None)
    async def linger(self, call: Call[Any]) -> None:
        """Take a while to clean up."""
        try:
            await call.body.read(max_bytes=1000)
            await Deferred()
        finally:
            await deferLater(call.clock, 1)

    @operation("odd.fail", permission=None)
    def fail(self, call: Call[Any]) -> None:
        """Refuse."""
        raise InternalError("failed", details={"a": [1]})


def server(random: Random) -> None:
    """Whatever a peer sends, the server serves others, and the connection leaves nothing behind."""
    known = TokenAuthenticator({hash_token(TOKEN): OWNER})
    with MemoryServer([Echo(), Odd()], authenticator=known, limits=LIMITS) as memory:
        raw = memory.connect_raw()
        if random.random() < 0.1:
            raw.pause_reading()
        token = random.choice([*[TOKEN] * 8, "wrong", None])
        stream = _stream(random, Conversation(random, Role.SERVER, WINDOW_BYTES, token=token))
        for delivery in cut(random, stream):
            if raw.is_closed:
                break
            raw.send_bytes(delivery)
            memory.flush()
            if random.random() < 0.1:
                memory.advance(random.choice([0.01, 1, 5]))
        if random.random() < 0.1:
            bystander = memory.connect(token=TOKEN)
            assert memory.run(bystander.call("echo", body=b"here")).body == b"here"
            memory.run(bystander.close())
        random.choice([raw.close, raw.abort, raw.close_writing])()
        # A handler may take a second to clean up, and a peer two to read its goodbye.
        memory.advance(3)
        assert memory.server.connections == 0


def client(random: Random) -> None:
    """Whatever a server sends, each call of a client ends, with a `SockservError` if it fails."""
    network = MemoryNetwork()
    endpoint = MemoryEndpoint(network)
    servers: list[RawPeer] = []

    def serve() -> RawPeer:
        servers.append(RawPeer())
        return servers[-1]

    factory = Factory.forProtocol(serve)
    factory.noisy = False
    network.run(endpoint.listen(factory))
    outcomes: list[Any] = []
    connecting = connect_endpoint(network.clock, endpoint.client(), token=TOKEN, limits=LIMITS)
    connecting.addCallback(_use, outcomes, random)
    pending = [connecting.addErrback(outcomes.append)]
    network.flush()
    conversation = Conversation(random, Role.CLIENT, WINDOW_BYTES, opened=(3, 5, 7, 9))
    hello, *frames = conversation.frames(random.randrange(random.choice([5, 60])))
    if random.random() < 0.9:
        hello.header["auth"] = ["token"]
        servers[0].send(hello.header)
        servers[0].send({"type": "reply", "call": 1, "result": {"identity": "fuzz"}})
        network.flush()
    stream = spoiled(random, [hello] * (random.random() < 0.1) + frames, random.choice([0, 1, 3]))
    for delivery in cut(random, stream):
        if servers[0].is_closed:
            break
        servers[0].send_bytes(delivery)
        network.flush()
        if random.random() < 0.1:
            network.advance(1)
    servers[0].close()
    network.advance(100)
    assert all(deferred.called for deferred in pending)
    for outcome in outcomes:
        if isinstance(outcome, Deferred):
            assert outcome.called, "a call has no end"
        elif isinstance(outcome, Failure):
            assert outcome.check(SockservError, CancelledError), outcome.getTraceback()
    assert not network.clock.getDelayedCalls()
    assert network.links == []


def _use(client: Client, outcomes: list[Any], random: Random) -> None:
    """Have some calls under way."""
    for count in range(4):
        body = bytes(random.choice([0, 10, 5000]))
        timeout = random.choice([None, 2, 50])
        call = client.call("echo", body=body, timeout_seconds=timeout, max_reply_bytes=4000)
        outcomes.append(call.addErrback(outcomes.append))
        if count == 3:
            call.cancel()
    outcomes.append(client.ping().addErrback(outcomes.append))


TARGETS: Final[dict[str, Target]] = {
    "connection": connection,
    "fragments": fragments,
    "server": server,
    "client": client,
    "datagrams": datagrams,
    "hostile-peer": hostile_peer,
}
"""By name: what `python -m tests.fuzz.connection --target` takes."""
