"""The supervisor's end of a connection to a daemon."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from sockserv.keeping.messages import Decoder, Message, Progress, Watch, encode

__all__ = ["Conversation"]

_RECEIVED_BYTES = 64 * 1024
_MAX_UNSENT_BYTES = 1024 * 1024
"""Who asks so much without listening is no daemon."""


class Conversation:
    """One daemon that is connected. `is_over` says that it is gone, or makes no sense."""

    def __init__(self, connection: socket.socket, decoder: Decoder | None = None) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.is_over = False
        self._decoder = decoder or Decoder()
        self._unsent = bytearray()
        self._watch: Watch | None = None

    @property
    def has_unsent(self) -> bool:
        """Whether there is something that the daemon has not taken yet."""
        return bool(self._unsent)

    def receive(self) -> Iterator[Message]:
        """What the daemon says. Raises `BadMessage`."""
        try:
            data = self.connection.recv(_RECEIVED_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.is_over = True
        yield from self._decoder.feed(data)

    def send(self, message: Message) -> None:
        """Say something; a daemon that takes nothing makes nobody wait, and one that is gone hears nothing."""
        if self.is_over:
            return
        self._unsent += encode(message)
        self.flush()
        if len(self._unsent) > _MAX_UNSENT_BYTES:
            self._unsent.clear()
            self.is_over = True

    def flush(self) -> None:
        """Send what the socket takes."""
        try:
            while self._unsent:
                del self._unsent[: self.connection.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()
            self.is_over = True

    def watch(self, watch: Watch, progress: Progress) -> None:
        """The daemon wants to be told when there is more output than it knows of."""
        self._watch = watch
        self.tell(progress)

    def tell(self, progress: Progress) -> None:
        """Tell of the output, if that was asked for and there is more."""
        watch = self._watch
        if watch is not None and (
            progress.stdout_bytes > watch.stdout_bytes or progress.stderr_bytes > watch.stderr_bytes
        ):
            self._watch = None
            self.send(progress)

    def close(self) -> None:
        """Let go of it."""
        self.connection.close()
