"""A client of blocking sockets that does whatever a test wants, and a daemon that is watched meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import struct
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sockserv.state import StateDirectory
from sockserv.testing.raw import Frame, frame
from tests.integration.conftest import ANY_PORT, DEADLINE_SECONDS, Twistd, until

LARGE: dict[str, int] = {
    "max_header_bytes": 65_536,
    "max_body_bytes": 1_048_576,
    "window_bytes": 1_048_576,
    "max_calls": 128,
}
"""The limits of a client that takes a lot."""

LIVING = {"type": "ping", "token": 7}
ALIVE = {"type": "pong", "token": 7}


class RawClient:
    """A connection in the test's own hands."""

    def __init__(
        self,
        url: str,
        *,
        receive_buffer_bytes: int | None = None,
        timeout_seconds: float = DEADLINE_SECONDS,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """`certificate` is shown to a server with TLS, and the file of its key; what that shows is not looked at."""
        parts = urlsplit(url)
        is_local = parts.scheme == "unix"
        self.socket = socket.socket(socket.AF_UNIX if is_local else socket.AF_INET)
        if receive_buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(timeout_seconds)
        self.socket.connect(parts.path if is_local else (parts.hostname, parts.port))
        if parts.scheme == "sockserv":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            if certificate is not None:
                context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket)
        self._last_call = -1

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port of this end, by which the daemon's log names it."""
        port: int = self.socket.getsockname()[1]
        return port

    def next_call(self) -> int:
        """A number for a new call."""
        self._last_call += 2
        return self._last_call

    # Sending

    def send_bytes(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.socket.sendall(frame(header, body))

    def greet(self, **limits: int) -> None:
        """Say hello, after the server has."""
        assert self.receive()["type"] == "hello"
        self.send({"type": "hello", "version": 1, "agent": "test", "limits": LARGE | limits})

    def start_login(self, token: str) -> None:
        self.open("auth.token", args={"token": token}, end=True)

    def log_in_by(self, method: str, **arguments: str) -> Frame:
        """Try to log in; gives the answer."""
        return self.receive_answer(self.open(f"auth.{method}", args=arguments, end=True))

    def open(self, op: str, body: bytes = b"", **fields: Any) -> int:
        call = self.next_call()
        self.send({"type": "open", "call": call, "op": op, **fields}, body)
        return call

    # Receiving

    def receive(self) -> Frame:
        """The next frame; fails at the end of the connection."""
        found = self.receive_or_end()
        assert found is not None, "the connection has ended"
        return found

    def receive_or_end(self) -> Frame | None:
        """The next frame; None when the connection has ended, one way or the other."""
        try:
            prefix = self._exactly(4)
            if not prefix:
                return None
            header = msgspec.json.decode(self._exactly(*struct.unpack(">I", prefix)))
            return Frame(header, self._exactly(header.get("size", 0)))
        except (ConnectionError, ssl.SSLError):
            return None

    def receive_answer(self, call: int) -> Frame:
        """The end of a call, with all of its body; passes over what belongs to others."""
        body = b""
        while True:
            one = self.receive()
            if one.header.get("call") == call:
                body += one.body
                if one["type"] in ("reply", "error"):
                    return Frame(one.header, body)

    def receive_goodbye(self) -> str:
        """The code of the goodbye; all before it is passed over. Waits for the end after it."""
        code = "none"
        while (one := self.receive_or_end()) is not None:
            if one["type"] == "goodbye":
                code = one["code"]
        return code

    def echo(self, text: bytes) -> float:
        """How many seconds a small echo takes; fails when it is not the same."""
        began = monotonic()
        call = self.open("echo", text, end=True)
        assert self.receive_answer(call).body == text
        return monotonic() - began

    def is_alive(self) -> bool:
        """Whether the daemon answers a ping; what comes before it is passed over."""
        self.send(LIVING)
        while (one := self.receive_or_end()) is not None:
            if one.header == ALIVE:
                return True
        return False

    # The end

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close so that the daemon sees a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _exactly(self, size: int) -> bytes:
        # Sockets with TLS know no such flag.
        flags = 0 if isinstance(self.socket, ssl.SSLSocket) else socket.MSG_WAITALL
        data = self.socket.recv(size, flags) if size else b""
        while 0 < len(data) < size:
            more = self.socket.recv(size - len(data), flags)
            if not more:
                raise ConnectionResetError("the connection ended within a frame")
            data += more
        return data


class WatchedDaemon:
    """A daemon, what it has logged, and what it takes of the machine."""

    def __init__(self, folder: Path, environ: dict[str, str], config: str) -> None:
        (folder / "settings.toml").write_text(config)
        self._state = StateDirectory(folder / "state")
        self.twistd = Twistd(
            folder,
            *("--config", str(folder / "settings.toml"), "--state", str(self._state.path)),
            *("--listen", ANY_PORT),
            environ=environ,
        )
        (self.url,) = self.twistd.wait_until_listening(self._state.path).listening
        # The note is found a moment before the daemon has closed what it took to write it.
        until(lambda: "to try it, type" in self.twistd.output)
        self.token = self._state.owner_token()
        self.pid = self.twistd.process.pid
        self._clients: list[RawClient] = []

    def connect(self, **options: Any) -> RawClient:
        """A connection on which nothing has been said; closed in the end, like all of them."""
        client = RawClient(self.url, **options)
        self._clients.append(client)
        return client

    def log_in(self, *, receive_buffer_bytes: int | None = None, **limits: int) -> RawClient:
        """A connection that is logged in."""
        client = self.connect(receive_buffer_bytes=receive_buffer_bytes)
        client.greet(**limits)
        client.start_login(self.token)
        assert client.receive()["result"] == {"identity": "owner"}
        return client

    def lines_about(self, client_port: int, *, beside: str = " logged in by token") -> list[str]:
        """What the log says of the connection from this port, but for its login."""
        lines = self.twistd.output.splitlines()
        return [line for line in lines if f"port {client_port}>" in line and beside not in line]

    @property
    def rss_bytes(self) -> int:
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def peak_rss_bytes(self) -> int:
        """The most that `rss_bytes` ever was."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the process has ended")

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def pause(self) -> None:
        """Let the process do nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wait_for_line(self, client_port: int) -> str:
        """The one line of the log about the connection from this port."""
        until(lambda: self.lines_about(client_port))
        (line,) = self.lines_about(client_port)
        return line

    def check_log(self) -> None:
        """Whatever has happened, nothing was unforeseen."""
        log = self.twistd.output + self.twistd.errors
        assert "Traceback" not in log
        assert "Unhandled" not in log

    def end(self) -> None:
        for client in self._clients:
            client.close()
        self.twistd.process.send_signal(signal.SIGKILL)
        self.twistd.process.wait()
