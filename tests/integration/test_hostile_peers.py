"""Peers that mean ill, that are broken or that die, against a daemon that has others to serve.

What each of them gets, and what the log says of it, is written in docs/protocol.md, section 13.
"""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from sockserv.testing.raw import frame
from tests.integration.conftest import DEADLINE_SECONDS, ROOT, start_process, until
from tests.integration.raw_client import LIVING, RawClient, WatchedDaemon

Watch = Callable[..., WatchedDaemon]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="what a process takes is read from /proc"
)

MIB = 1024 * 1024
FEW = 10
"""As many echoes as others get at the least while somebody does harm, however busy the machine is with other things."""

IMPATIENT = """
[limits]
login_timeout_seconds = 1.5
keepalive_interval_seconds = 0.5
keepalive_timeout_seconds = 0.5
"""
DRAINS_SOON = "limits.drain_timeout_seconds = 3.0"


def tls_client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


class Other:
    """Echoes all the time on a connection of its own; `echoes` is how often."""

    def __init__(self, daemon: WatchedDaemon) -> None:
        self.client = daemon.log_in()
        self.echoes = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self._thread.start()

    def _go_on(self) -> None:
        while not self._is_over.wait(0.01):
            self.client.echo(b"me too")
            self.echoes += 1

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()


@contextmanager
def others_are_served(daemon: WatchedDaemon) -> Iterator[Other]:
    """Somebody else goes on to be served by the end of what is done meanwhile."""
    other = Other(daemon)
    try:
        yield other
        until(lambda: other.echoes >= FEW)
    finally:
        other.end()


def send_without_reading(client: RawClient, pieces: Iterator[bytes], *, beside: Other) -> bool:
    """Send as much as the daemon takes, for two seconds and until it has served somebody beside it.

    Whether it has ended the connection before.
    """
    client.socket.setblocking(False)
    began, rest = monotonic(), b""
    while monotonic() < began + 2.0 or beside.echoes < FEW:
        assert monotonic() < began + DEADLINE_SECONDS, "nobody else is served"
        rest = rest or next(pieces)
        try:
            rest = rest[client.socket.send(rest) :]
        except BlockingIOError:
            sleep(0.001)
        except OSError:
            return True
    return False


def pings(client: RawClient) -> Iterator[bytes]:
    while True:
        yield frame({"type": "ping", "token": 1}) * 1000


def refused_calls(client: RawClient) -> Iterator[bytes]:
    while True:
        calls = [client.next_call() for _ in range(1000)]
        yield b"".join(frame({"type": "open", "call": n, "op": "nothing"}) for n in calls)


def cancelled_calls(client: RawClient) -> Iterator[bytes]:
    while True:
        call = client.next_call()
        request = {"type": "open", "call": call, "op": "echo", "end": True}
        yield frame(request, bytes(100_000)) + frame({"type": "cancel", "call": call})


class TestNoSockserv:
    """Something else than a client."""

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "have 1195725856 bytes"),
            (tls_client_hello(), "these are the first bytes of TLS"),
            (b"\x00\x00\x00\x00", "have 0 bytes"),
            (b"\x00\x00\x00\x05hello and so on", "is not valid"),
            (b"\xff" * 100_000, "have 4294967295 bytes"),
            (frame({"type": "ping", "token": 1}), "it has to be hello"),
        ],
        ids=["http", "tls", "zeros", "no JSON", "0xff", "a ping"],
    )
    def test_its_first_bytes(self, watch: Watch, data: bytes, why: str) -> None:
        daemon = watch()
        stranger = daemon.connect()
        stranger.send_bytes(data)
        code = stranger.receive_goodbye()
        assert code in {"bad-frame", "bad-header", "unexpected-message"}
        line = daemon.wait_for_line(stranger.port)
        assert f"cut off: {code}: " in line
        assert why in line
        assert daemon.log_in().is_alive()

    def test_silence_and_bytes_now_and_then(self, watch: Watch) -> None:
        daemon = watch(IMPATIENT)
        silent, half, slow, endless = (daemon.connect() for _ in range(4))
        half.send_bytes(b"\x00\x00\x00\x80{")
        endless.greet()
        for byte in frame({"type": "hello", "version": 1})[:4]:
            slow.send_bytes(bytes([byte]))
            sleep(0.1)
        for client in (silent, half, slow, endless):
            assert client.receive_goodbye() == "login-timeout"
            assert "cut off: login-timeout: no login within" in daemon.wait_for_line(client.port)

    def test_wrong_tokens(self, watch: Watch) -> None:
        daemon = watch()
        guesser = daemon.connect()
        guesser.greet()
        for _ in range(3):
            guesser.start_login("guess")
            assert guesser.receive()["code"] == "authentication-failed"
        assert guesser.receive_goodbye() == "login-failed"
        lines = daemon.lines_about(guesser.port)
        assert ["attempt" in line for line in lines] == [True, True, True]
        assert daemon.token not in daemon.twistd.output
        assert "guess" not in daemon.twistd.output


class TestLoggedIn:
    """A client that has the token, and does harm."""

    def test_one_byte_of_a_header_now_and_then(self, watch: Watch) -> None:
        daemon = watch(IMPATIENT)
        client = daemon.log_in()
        data = iter(frame({"type": "ping", "token": 1}))
        while not daemon.lines_about(client.port):
            client.send_bytes(bytes([next(data)]))
            sleep(0.1)
        assert client.receive_goodbye() == "idle-timeout"
        assert "cut off: idle-timeout" in daemon.wait_for_line(client.port)

    def test_it_asks_for_echoes_and_never_reads(self, watch: Watch) -> None:
        daemon = watch("limits.max_calls = 64")
        before, descriptors = daemon.rss_bytes, daemon.descriptors
        grown = []
        for _ in range(3):
            client = daemon.log_in(receive_buffer_bytes=4096)
            port = client.port
            with others_are_served(daemon) as other:
                for _ in range(64):
                    client.open("echo", bytes(MIB), end=True)
                client.send(LIVING)
            other.client.close()
            grown.append(daemon.rss_bytes - before)
            client.reset()
            until(lambda: daemon.descriptors == descriptors)
            assert daemon.lines_about(port) == []
        # max_calls * 2 * (window_bytes + max_header_bytes) + max_unsent_bytes
        assert grown[0] < 64 * 2 * (MIB + 65_536) + MIB
        # The system need not get it back, but the next one must not need more.
        assert grown[2] < grown[0] + 16 * MIB

    @pytest.mark.parametrize("flood", [pings, refused_calls, cancelled_calls])
    def test_it_floods_and_never_reads(
        self, watch: Watch, flood: Callable[[RawClient], Iterator[bytes]]
    ) -> None:
        daemon = watch()
        client = daemon.log_in(receive_buffer_bytes=4096)
        with others_are_served(daemon) as other:
            before = daemon.rss_bytes
            is_over = send_without_reading(client, flood(client), beside=other)
            assert daemon.peak_rss_bytes - before < 32 * MIB
        # Of what is cancelled, there is not that much to read.
        if is_over or flood is not cancelled_calls:
            line = daemon.wait_for_line(client.port)
            assert "cut off: it does not read what it asked for" in line

    def test_it_floods_and_reads(self, watch: Watch) -> None:
        daemon = watch()
        client = daemon.log_in()
        many = 150_000
        ping = frame({"type": "ping", "token": 1})
        sending = threading.Thread(target=lambda: client.send_bytes(ping * many))
        sending.start()
        # Each turn brings the daemon thousands of them.
        pong_bytes = len(frame({"type": "pong", "token": 1}))
        received = 0
        while received < many * pong_bytes and (data := client.socket.recv(MIB)):
            received += len(data)
        sending.join()
        assert received == many * pong_bytes
        assert daemon.lines_about(client.port) == []

    def test_both_flood_each_other(self, watch: Watch) -> None:
        daemon = watch()
        client = daemon.log_in()
        piece = bytes(65_536)
        pieces = 64
        calls = [client.next_call() for _ in range(4)]

        def flood() -> None:
            for call in calls:
                client.send({"type": "open", "call": call, "op": "echo"})
            credit_left = dict.fromkeys(calls, MIB)
            for _ in range(pieces):
                for call in calls:
                    while credit_left[call] < len(piece):
                        assert not has_ended.is_set()
                        credit_left[call] += credits[call].pop() if credits[call] else 0
                        sleep(0)
                    credit_left[call] -= len(piece)
                    client.send({"type": "data", "call": call}, piece)
            for call in calls:
                client.send({"type": "data", "call": call, "end": True})

        credits: dict[int, list[int]] = {call: [] for call in calls}
        has_ended = threading.Event()
        flooding = threading.Thread(target=flood)
        flooding.start()
        try:
            received = dict.fromkeys(calls, 0)
            replies = 0
            while replies < len(calls):
                one = client.receive()
                if one["type"] == "window":
                    credits[one["call"]].append(one["bytes"])
                elif one["type"] == "reply":
                    replies += 1
                received[one["call"]] += len(one.body)
                if one["type"] == "data" and one.body:
                    client.send({"type": "window", "call": one["call"], "bytes": len(one.body)})
        finally:
            has_ended.set()
            flooding.join()
        assert set(received.values()) == {pieces * len(piece)}
        assert daemon.lines_about(client.port) == []


class TestEnds:
    """The end of a connection comes at any time."""

    def test_half_a_close_in_mid_call(self, watch: Watch) -> None:
        daemon = watch()
        client = daemon.log_in()
        client.open("echo", b"the beginning")
        client.receive()
        descriptors = daemon.descriptors
        client.socket.shutdown(1)
        # No answer: a request is complete when it says `end`, and not before.
        assert client.receive_or_end() is None
        until(lambda: daemon.descriptors == descriptors - 1)
        assert daemon.lines_about(client.port) == []

    def test_a_reset_in_mid_call(self, watch: Watch) -> None:
        daemon = watch()
        descriptors = daemon.descriptors
        client = daemon.log_in()
        port = client.port
        client.open("echo", bytes(100_000))
        client.receive()
        client.reset()
        until(lambda: daemon.descriptors == descriptors)
        assert daemon.lines_about(port) == []

    def test_a_client_is_killed_in_mid_stream(self, watch: Watch) -> None:
        daemon = watch()
        descriptors, rss = daemon.descriptors, daemon.rss_bytes
        client = start_client(daemon)
        until(lambda: daemon.descriptors > descriptors)
        sleep(0.3)
        client.kill()
        client.communicate()
        until(lambda: daemon.descriptors == descriptors)
        assert daemon.rss_bytes - rss < 16 * MIB
        assert daemon.log_in().is_alive()

    def test_a_client_is_stopped_and_goes_on(self, watch: Watch) -> None:
        daemon = watch()
        client = start_client(daemon)
        sleep(0.3)
        rss = daemon.rss_bytes
        client.send_signal(signal.SIGSTOP)
        with others_are_served(daemon):
            for _ in range(10):
                sleep(0.2)
                assert daemon.rss_bytes - rss < 16 * MIB
        client.send_signal(signal.SIGCONT)
        passed = count_until(client, more_bytes=32 * MIB)
        assert passed >= 32 * MIB
        client.kill()
        client.communicate()

    def test_the_daemon_is_killed_in_mid_stream(self, watch: Watch) -> None:
        daemon = watch()
        client = start_client(daemon)
        assert count_until(client, more_bytes=8 * MIB) >= 8 * MIB
        daemon.twistd.process.kill()
        _, errors = client.communicate(timeout=DEADLINE_SECONDS)
        assert client.returncode == 3
        assert errors.decode().startswith("ConnectionEnded: ")

    def test_connections_that_come_and_go(self, watch: Watch) -> None:
        daemon = watch()
        daemon.log_in().close()
        until(lambda: daemon.log_in().is_alive())
        descriptors, rss = daemon.descriptors, daemon.rss_bytes
        for number in range(1500):
            with RawClient(daemon.url) as client:
                if number % 3 == 1:
                    client.send_bytes(b"\x00\x00\x00\x40{")
                elif number % 3 == 2:
                    client.reset()
        until(lambda: daemon.descriptors <= descriptors)
        assert daemon.log_in().is_alive()
        assert daemon.rss_bytes - rss < 16 * MIB


class TestShutdown:
    def test_running_calls_end_before_the_deadline_or_are_cut(self, watch: Watch) -> None:
        daemon = watch(DRAINS_SOON)
        ends, stays, idle, silent = (daemon.log_in() for _ in range(4))
        stranger = daemon.connect()
        assert stranger.receive()["type"] == "hello"
        ending = ends.open("echo", b"one ")
        stays.open("echo", b"...")
        assert ends.is_alive()
        assert stays.is_alive()
        began = monotonic()
        daemon.twistd.process.send_signal(signal.SIGTERM)
        for client in (idle, silent, stranger):
            assert client.receive_goodbye() == "shutting-down"
        assert ends.receive()["code"] == "shutting-down"
        refused = ends.open("echo", b"new", end=True)
        assert ends.receive_answer(refused)["code"] == "unavailable"
        ends.send({"type": "data", "call": ending, "end": True}, b"two")
        # The first piece came before.
        assert ends.receive_answer(ending).body == b"two"
        assert ends.receive_or_end() is None
        assert stays.receive_goodbye() == "shutting-down"
        assert daemon.twistd.wait() == -signal.SIGTERM
        assert monotonic() - began > 2.9


def start_client(daemon: WatchedDaemon) -> subprocess.Popen[bytes]:
    """A process that echoes without end, and says how many bytes have come back."""
    return start_process(
        [sys.executable, "-c", ENDLESS_CLIENT, daemon.url, daemon.token],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )


def count_until(client: subprocess.Popen[bytes], *, more_bytes: int) -> int:
    assert client.stdout is not None
    first = int(client.stdout.readline())
    while (now := int(client.stdout.readline())) < first + more_bytes:
        pass
    return now - first


ENDLESS_CLIENT = """
import sys
from twisted.internet.task import react
from twisted.internet.defer import Deferred
from sockserv import connect
from sockserv.errors import SockservError

async def send(call):
    try:
        while True:
            await call.send(bytes(65536))
    except SockservError:
        pass

async def main(reactor, url, token):
    client = await connect(reactor, url, token=token)
    call = await client.open("echo")
    sending = Deferred.fromCoroutine(send(call))
    count = told = 0
    try:
        async for piece in call.body:
            count += len(piece)
            if count - told >= 2**20:
                told = count
                print(count, flush=True)
    except SockservError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(3)
    print("the echo has ended as if it were complete", file=sys.stderr)

react(main, sys.argv[1:])
"""
