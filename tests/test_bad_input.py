"""Every row of "What happens on bad input" in docs/protocol.md, tried on a server.

A test does what a row says. What it expects of the answer, the connection and the log stands in the
row. A client that shares the server must not notice. More bytes for many rows are in
docs/vectors/bad-input.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from sockserv.limits import Limits
from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo
from sockserv.testing import Frame, MemoryServer, RawPeer
from sockserv.trust import Identity, TokenAuthenticator, hash_token
from sockserv.wire.messages import MAX_INTEGER
from tests.protocol_document import Row, bad_input

ROWS = bad_input()
TOKEN = "a guest's token"
GUEST = Identity("guest", frozenset({"echo", "odd"}))

Act = Callable[["Scene"], None]
ACTS: list[tuple[str, Act, Limits]] = []


def row(row_id: str, **limits: Any) -> Callable[[Act], Act]:
    """The function does what a row of the table says, to a server with these limits."""

    def register(act: Act) -> Act:
        ACTS.append((row_id, act, Limits(**limits)))
        return act

    return register


class Odd(Service):
    """What a test needs a handler to do."""

    @operation("odd.wait", permission="odd")
    async def wait(self, call: Call[Any]) -> None:
        """Take whatever comes, for ever."""
        async for _ in call.body:
            pass
        await deferLater(call.clock, 1e6)

    @operation("odd.ignore", permission="odd")
    async def ignore(self, call: Call[Any]) -> None:
        """Read nothing, answer nothing."""
        await Deferred()

    @operation("odd.flood", permission="odd")
    async def flood(self, call: Call[Any]) -> None:
        """Send more than any window."""
        while True:
            await call.send(b"x" * 10_000)

    @operation("odd.answer", permission="odd")
    async def answer(self, call: Call[Any]) -> None:
        """Have the whole answer at hand at once."""
        await call.send(b"x" * 10_000)

    @operation("odd.fail", permission="odd")
    def fail(self, call: Call[Any]) -> None:
        """Fail."""
        raise RuntimeError("a secret")

    @operation("odd.linger", permission="odd")
    async def linger(self, call: Call[Any]) -> None:
        """Take a second to clean up when cancelled."""
        try:
            await Deferred()
        finally:
            await deferLater(call.clock, 1)

    @operation("odd.forbidden", permission="nobody has this")
    def forbidden(self, call: Call[Any]) -> None:
        """Never entered."""


class Scene:
    """A server, a well-behaved client that must not notice anything, and a peer in the test's hands."""

    def __init__(self, limits: Limits) -> None:
        self.memory = MemoryServer(
            [Echo(), Odd()],
            authenticator=TokenAuthenticator({hash_token(TOKEN): GUEST}),
            limits=limits,
        )
        self.raw = RawPeer()
        self.log: list[LogEvent] = []
        self.is_stopping = False
        self._bystander = self.memory.connect(token=TOKEN)

    def connect(self) -> None:
        """Connect without a word."""
        self.clear()
        self.raw = self.memory.connect_raw()

    def greet(self) -> None:
        """Connect and say hello."""
        self.connect()
        self.raw.send_hello(window_bytes=1000)
        self.clear()

    def log_in(self) -> None:
        """Connect, say hello and log in."""
        self.greet()
        self.open(1, "auth.token", args={"token": TOKEN}, end=True)
        self.clear()

    def clear(self) -> None:
        """What follows is what is looked at."""
        self.memory.flush()
        self.raw.take_frames()
        self.log.clear()

    def send(self, kind: str, body: bytes = b"", /, **fields: Any) -> None:
        self.raw.send({"type": kind, **fields}, body)
        self.memory.flush()

    def send_header(self, header: str | bytes) -> None:
        data = header.encode() if isinstance(header, str) else header
        self.send_bytes(len(data).to_bytes(4, "big") + data)

    def send_bytes(self, data: bytes) -> None:
        self.raw.send_bytes(data)
        self.memory.flush()

    def open(self, call: int, op: str = "odd.wait", **fields: Any) -> None:
        self.send("open", call=call, op=op, **fields)

    def check_bystander(self) -> None:
        """Another connection works as before."""
        if self.is_stopping:
            return
        reply = self.memory.run(self._bystander.call("echo", body=b"still here"))
        assert reply.body == b"still here"

    @property
    def is_connected(self) -> bool:
        """Whether the server has a connection besides the bystander's."""
        return self.memory.server.connections > (0 if self.is_stopping else 1)


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    scene = Scene(request.param)
    seen = scene.log

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_namespace"].startswith("sockserv."):
            seen.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        with scene.memory:
            yield scene
    finally:
        globalLogPublisher.removeObserver(observe)


def params() -> list[Any]:
    return [
        pytest.param(limits, row_id, act, id=f"{row_id}-{act.__name__}")
        for row_id, act, limits in ACTS
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "act" in metafunc.fixturenames:
        metafunc.parametrize(("scene", "row_id", "act"), params(), indirect=["scene"])


def test_a_row(scene: Scene, row_id: str, act: Act) -> None:
    expected = ROWS[row_id]
    act(scene)
    scene.memory.flush()
    log = [*scene.log]
    frames = scene.raw.take_frames()
    check_answer(expected, frames)
    check_log(expected, log, frames)
    check_connection(expected, scene)
    scene.check_bystander()
    scene.memory.take_failures()


def test_each_row_is_tried() -> None:
    assert {row_id for row_id, _, _ in ACTS} == ROWS.keys()


def check_answer(expected: Row, frames: list[Frame]) -> None:
    codes = re.findall(r"(error|goodbye) `([a-z-]+)`", expected.answer)
    answers = [
        (frame["type"], frame.header.get("code"))
        for frame in frames
        if frame["type"] in ("reply", "error", "goodbye")
    ]
    if expected.answer in ("ignored", "nothing", "none, it is not read"):
        assert answers == []
    elif expected.answer == "their answers":
        assert answers == [("reply", None)]
    elif expected.answer.startswith("error, goodbye"):
        assert answers == [("error", "authentication-failed")] * 3 + codes
    else:
        assert answers == codes
        assert codes
    for frame in frames:
        assert "secret" not in str(frame.header)


def check_connection(expected: Row, scene: Scene) -> None:
    if expected.connection == "lives":
        assert scene.is_connected
        scene.send("open", call=MAX_INTEGER, op="auth.token", end=True)
        scene.memory.advance(0.5)
        (answer,) = [f for f in scene.raw.take_frames() if f["type"] == "error"]
        assert answer["call"] == MAX_INTEGER
    else:
        assert expected.connection.startswith("closed")
        assert not scene.is_connected


def check_log(expected: Row, log: list[LogEvent], frames: list[Frame]) -> None:
    levels = [event["log_level"] for event in log if event["log_level"] > LogLevel.info]
    texts = [formatEvent(event) for event in log]
    match expected.log:
        case "nothing":
            assert not texts
        case "one line":
            assert len(texts) == 1
            assert levels == []
        case "one warning":
            assert len(texts) == 1
            assert levels == [LogLevel.warn]
            for frame in frames:
                if frame["type"] == "goodbye":
                    assert f": {frame['code']}: " in texts[0]
        case "a warning for each":
            assert levels == [LogLevel.warn] * 3
        case "one failure with its traceback":
            assert levels == [LogLevel.critical]
            assert "a secret" in log[0]["log_failure"].getTraceback()
        case "a warning at the 1st, 2nd, 4th, 8th ... in a row":
            assert levels == [LogLevel.warn]
        case _:
            raise AssertionError(f"unknown: {expected.log}")
    for text in texts:
        assert "\n" not in text
        assert "127.0.0.1" in text
        assert len(text) < 600


# Frames


@row("length-zero")
def at_once(scene: Scene) -> None:
    scene.connect()
    scene.send_bytes(b"\0\0\0\0")


@row("length-too-long")
def one_byte_more(scene: Scene) -> None:
    scene.log_in()
    scene.send_bytes((65537).to_bytes(4, "big"))


@row("length-too-long")
def a_browser(scene: Scene) -> None:
    scene.connect()
    scene.send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


@row("length-too-long-before-login")
def before_the_hello(scene: Scene) -> None:
    scene.connect()
    scene.send_bytes((4097).to_bytes(4, "big"))


@row("length-too-long-before-login")
def after_the_hello(scene: Scene) -> None:
    scene.greet()
    scene.send_bytes((4097).to_bytes(4, "big"))


@row("body-too-long")
def in_an_open_call(scene: Scene) -> None:
    scene.log_in()
    scene.open(3)
    scene.send_header('{"type":"data","call":3,"size":1048577}')


# Headers


def header(row_id: str, name: str, text: str | bytes) -> None:
    def act(scene: Scene) -> None:
        scene.log_in()
        scene.send_header(text)

    act.__name__ = name
    row(row_id)(act)


header("not-utf8", "in a string", b'{"type":"goodbye","code":"\xff"}')
header("not-utf8", "in an argument", b'{"type":"open","call":3,"op":"echo","args":"\xff"}')
header("not-json", "words", "hello, world")
header("not-json", "two values", '{"type":"ping","token":1} {}')
header("not-json", "control characters", '{"type":"ping","token":\x1b[31m\n}')
header("not-object", "an array", '["ping",1]')
header("not-object", "null", "null")
header(
    "too-deep",
    "one too many",
    '{"type":"open","call":3,"op":"echo","args":' + "[" * 32 + "]" * 32 + "}",
)
header(
    "too-deep",
    "very",
    '{"type":"open","call":3,"op":"echo","args":' + "[" * 30_000 + "]" * 30_000 + "}",
)
header("duplicate-key", "at the top", '{"type":"ping","token":1,"token":2}')
header(
    "duplicate-key", "within", '{"type":"open","call":3,"op":"echo","args":[{"a":1,"\\u0061":1}]}'
)
header("unknown-key", "one", '{"type":"ping","token":1,"colour":"red"}')
header("unknown-key", "long", '{"type":"ping","token":1,"' + "k" * 60_000 + '":1}')
header("unknown-key", "with escapes", '{"type":"ping","token":1,"\\n\\u001b[31m":1}')
header("unknown-type", "another", '{"type":"pang","token":1}')
header("unknown-type", "long", '{"type":"' + "p" * 60_000 + '"}')
header("unknown-type", "none", '{"token":1}')
header("missing-field", "one", '{"type":"ping"}')
header("wrong-field", "call of 0", '{"type":"cancel","call":0}')
header("wrong-field", "call beyond", '{"type":"cancel","call":9007199254740992}')
header("wrong-field", "negative size", '{"type":"data","call":3,"size":-1}')
header("wrong-field", "end of 1", '{"type":"data","call":3,"end":1}')
header("wrong-field", "infinite timeout", '{"type":"open","call":3,"op":"echo","timeout":1e400}')
header("details-not-object", "array", '{"type":"error","call":2,"code":"internal","details":[]}')
header("window-of-nothing", "zero", '{"type":"window","call":1,"bytes":0}')


@row("small-limits")
def a_header_limit_of_100(scene: Scene) -> None:
    scene.connect()
    scene.raw.send_hello(max_header_bytes=100)


# Hello and login


@row("first-not-hello")
def a_login_at_once(scene: Scene) -> None:
    scene.connect()
    scene.open(1, "auth.token", end=True)


@row("second-hello")
def after_the_login(scene: Scene) -> None:
    scene.log_in()
    scene.raw.send_hello()


@row("other-version")
def version_2(scene: Scene) -> None:
    scene.connect()
    scene.send("hello", version=2, limits={"x": 1}, tracks=[{}])


@row("operation-before-login")
def an_echo(scene: Scene) -> None:
    scene.greet()
    scene.open(1, "echo", end=True)


@row("message-before-login")
def a_ping(scene: Scene) -> None:
    scene.greet()
    scene.send("ping", token=1)


@row("message-before-login")
def another_hello(scene: Scene) -> None:
    scene.greet()
    scene.raw.send_hello()


@row("login-with-body")
def a_byte(scene: Scene) -> None:
    scene.greet()
    scene.send("open", b"x", call=1, op="auth.token", end=True)


@row("login-with-body")
def no_end(scene: Scene) -> None:
    scene.greet()
    scene.open(1, "auth.token")


def attempt(scene: Scene, call: int, method: str = "token", **fields: Any) -> None:
    """Try to log in, and wait for the answer."""
    fields = {"args": {"token": "wrong"}, **fields}
    scene.open(call, f"auth.{method}", end=True, **fields)
    scene.memory.advance(0.5)


@row("wrong-token")
def once(scene: Scene) -> None:
    scene.greet()
    attempt(scene, 1)


@row("unknown-login-method")
def magic(scene: Scene) -> None:
    scene.greet()
    attempt(scene, 1, "\nmagic\x1b")


@row("incomplete-login")
def no_arguments(scene: Scene) -> None:
    scene.greet()
    attempt(scene, 1, args={})


@row("incomplete-login")
def arguments_in_an_array(scene: Scene) -> None:
    scene.greet()
    attempt(scene, 1, args=["token"])


@row("too-many-logins")
def three_times(scene: Scene) -> None:
    scene.greet()
    for call in (1, 3, 5):
        attempt(scene, call)


@row("logins-held", max_held_logins=1)
def while_another_waits(scene: Scene) -> None:
    scene.greet()
    scene.open(1, "auth.token", args={"token": "wrong"}, end=True)
    scene.raw.abort()
    scene.greet()
    scene.open(1, "auth.token", args={"token": "another"}, end=True)


@row("login-again")
def with_a_wrong_token(scene: Scene) -> None:
    scene.log_in()
    attempt(scene, 3)


# Silence


@row("silent-before-login")
def not_a_word(scene: Scene) -> None:
    scene.connect()
    scene.memory.advance(9)
    assert not scene.log
    scene.memory.advance(4)


@row("silent-before-login")
def a_hello_only(scene: Scene) -> None:
    scene.greet()
    scene.memory.advance(13)


@row("slow-before-login")
def a_byte_a_second(scene: Scene) -> None:
    scene.connect()
    for byte in b"\0\0\1\0" + b"{" * 9:
        scene.send_bytes(bytes([byte]))
        scene.memory.advance(1)


@row("silent")
def after_login(scene: Scene) -> None:
    scene.log_in()
    scene.memory.advance(29)
    assert not scene.raw.take_frames()
    scene.memory.advance(4)
    assert [frame["type"] for frame in scene.raw.take_frames()] == ["ping"]
    scene.memory.advance(20)


@row("byte-a-minute")
def of_a_header(scene: Scene) -> None:
    scene.log_in()
    for byte in b"\0\0":
        scene.send_bytes(bytes([byte]))
        scene.memory.advance(60)


# Calls


@row("number-reused")
def again(scene: Scene) -> None:
    scene.log_in()
    scene.open(3)
    scene.open(3)


@row("number-reused")
def after_its_end(scene: Scene) -> None:
    scene.log_in()
    scene.open(1)


@row("number-parity")
def an_even_one(scene: Scene) -> None:
    scene.log_in()
    scene.open(4)


def unopened(kind: str, call: int, **fields: Any) -> None:
    def act(scene: Scene) -> None:
        scene.log_in()
        scene.send(kind, call=call, **fields)

    act.__name__ = f"{kind} for {call}"
    row("unopened-call")(act)


unopened("data", 3)
unopened("data", 2)
unopened("window", 3, bytes=1)
unopened("window", 2, bytes=1)
unopened("cancel", 3)
unopened("reply", 2)
unopened("error", 2, code="internal")


@row("ended-call")
def bodies_credit_and_cancels(scene: Scene) -> None:
    scene.log_in()
    scene.send("data", bytes(1_000_000), call=1)
    scene.send("data", bytes(1_000_000), call=1, end=True)
    scene.send("data", b"x", call=1, stream=3)
    scene.send("window", call=1, bytes=MAX_INTEGER)
    scene.send("window", call=1, bytes=MAX_INTEGER)
    scene.send("cancel", call=1)


@row("ended-call", max_calls=1)
def the_body_of_a_call_that_was_refused(scene: Scene) -> None:
    scene.log_in()
    scene.open(3)
    scene.send("open", b"x" * 10, call=5, op="echo")
    scene.clear()
    scene.send("data", b"x" * 10, call=5, end=True)


@row("answer-to-own-call")
def a_reply(scene: Scene) -> None:
    scene.log_in()
    scene.open(3)
    scene.send("reply", call=3)


@row("cancel-by-callee")
def of_the_servers_call(scene: Scene) -> None:
    scene.log_in()
    scene.send("cancel", call=2)


@row("body-after-end")
def a_byte_after_the_open(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, end=True)
    scene.send("data", b"x", call=3)


@row("body-after-end")
def an_end_after_the_end(scene: Scene) -> None:
    scene.log_in()
    scene.open(3)
    scene.send("data", call=3, end=True)
    scene.send("data", call=3, end=True)


@row("window-exceeded", window_bytes=1000)
def in_one_frame(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "odd.ignore")
    scene.send("data", bytes(1001), call=3)


@row("window-exceeded", window_bytes=1000)
def in_many_frames_and_streams(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "odd.ignore")
    for count in range(101):
        assert scene.is_connected
        scene.send("data", bytes(10), call=3, stream=count)


@row("window-exceeded-at-open", window_bytes=1000)
def one_byte_too_many(scene: Scene) -> None:
    scene.log_in()
    scene.send("open", bytes(1001), call=3, op="odd.ignore")


@row("credit-overflow")
def the_greatest_credit(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "odd.ignore")
    scene.send("window", call=3, bytes=MAX_INTEGER - 1000)
    assert scene.is_connected
    scene.send("window", call=3, bytes=1)


@row("too-many-calls", max_calls=2)
def the_third_of_two(scene: Scene) -> None:
    scene.log_in()
    for call in (3, 5, 7):
        scene.open(call)


@row("open-while-ending")
def while_a_call_runs(scene: Scene) -> None:
    scene.log_in()
    scene.open(3)
    scene.is_stopping = True
    scene.memory.server.stop()
    scene.memory.flush()
    assert [frame["code"] for frame in scene.raw.take_frames()] == ["shutting-down"]
    scene.clear()
    scene.open(5)


@row("unknown-operation")
def nope(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "nope\n" * 1000)


@row("not-permitted")
def forbidden(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "odd.forbidden")


def arguments(name: str, value: Any) -> None:
    def act(scene: Scene) -> None:
        scene.log_in()
        scene.open(3, "echo", args=value)

    act.__name__ = name
    row("bad-arguments")(act)


arguments("an array", [])
arguments("null", None)
arguments("an unknown key", {"lower": True})
arguments("a wrong type", {"upper": "yes"})
arguments("a long unknown key", {"k" * 60_000: True})


@row("late")
def after_two_seconds(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, timeout=2)
    scene.memory.advance(1.9)
    assert not scene.raw.take_frames()
    scene.memory.advance(0.2)


@row("handler-fails")
def with_a_secret(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "odd.fail")


@row("cancel-twice")
def at_once_again(scene: Scene) -> None:
    scene.log_in()
    scene.open(3)
    scene.send("cancel", call=3)
    scene.send("cancel", call=3)


@row("cancel-twice")
def while_the_handler_cleans_up(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "odd.linger")
    scene.send("cancel", call=3)
    scene.send("cancel", call=3)
    assert not scene.raw.take_frames()
    scene.memory.advance(1)


@row("cancel-without-credit")
def of_an_answer_without_end(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "odd.flood")
    scene.send("cancel", call=3)


@row("cancel-without-credit")
def of_a_whole_answer(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "odd.answer")
    scene.send("cancel", call=3)


# The rest


@row("unasked-pong")
def some(scene: Scene) -> None:
    scene.log_in()
    scene.send("pong", token=0)
    scene.send("pong", token=MAX_INTEGER)


@row("empty-data")
def a_thousand(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "odd.ignore")
    for count in range(1000):
        scene.send("data", call=3, stream=count % 256)


def graceful(code: str) -> None:
    def act(scene: Scene) -> None:
        scene.log_in()
        scene.open(3, "echo")
        scene.send("goodbye", code=code)
        assert scene.is_connected
        scene.send("data", b"x" * 50_000, call=3, end=True)
        scene.send("window", call=3, bytes=50_000)

    act.__name__ = code
    row("graceful-goodbye", window_bytes=60_000)(act)


graceful("done")
graceful("shutting-down")


@row("open-after-goodbye")
def a_call_too_late(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "echo")
    scene.send("goodbye", code="done")
    scene.open(5, "echo", end=True)


@row("unknown-goodbye")
def followed_by_more(scene: Scene) -> None:
    scene.log_in()
    scene.open(3)
    scene.raw.send({"type": "goodbye", "code": "out-of-\ncheese", "message": "m" * 9000})
    scene.raw.send({"type": "open", "call": 5, "op": "echo", "end": True})
    scene.send_bytes(b"\0\0\0\0")


@row("end-of-input")
def between_frames(scene: Scene) -> None:
    scene.log_in()
    scene.open(3)
    scene.raw.close()


@row("end-of-input")
def of_one_direction(scene: Scene) -> None:
    scene.log_in()
    scene.open(3)
    scene.raw.close_writing()


@row("end-of-input")
def within_a_header(scene: Scene) -> None:
    scene.log_in()
    scene.send_bytes(b"\0\0\0\7{")
    scene.raw.close()


@row("end-of-input")
def within_a_body(scene: Scene) -> None:
    scene.log_in()
    scene.send_header('{"type":"open","call":3,"op":"echo","size":10,"end":true}')
    scene.raw.close()


@row("end-of-input")
def a_reset(scene: Scene) -> None:
    scene.log_in()
    scene.open(3)
    scene.raw.abort()


@row("no-reading", max_unsent_bytes=20_000)
def pings(scene: Scene) -> None:
    scene.log_in()
    scene.raw.pause_reading()
    for _ in range(10_000):
        scene.raw.send({"type": "ping", "token": 1})
    scene.memory.flush()


@row("too-much-held", max_held_bytes=10_000)
def not_consumed(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "odd.ignore")
    scene.send("data", b"x" * 10_001, call=3)
    scene.memory.advance(2.0)


@row("too-much-held", max_held_bytes=10_000)
def not_read(scene: Scene) -> None:
    scene.log_in()
    scene.open(3, "odd.flood")
    scene.memory.advance(2.0)


@row("no-room", max_connections=1)
def one_more(scene: Scene) -> None:
    scene.connect()


@row("no-room-for-logins", max_unauthenticated_connections=2)
def the_third(scene: Scene) -> None:
    scene.connect()
    waiting = [scene.raw, scene.memory.connect_raw()]
    scene.connect()
    for raw in waiting:
        raw.abort()
