"""The socket between the daemon and its guardian: messages both ways, and descriptors for the guardian."""

from __future__ import annotations

import errno
import socket
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from sockserv.processes.messages import Decoder, Message
from sockserv.services.execution.guardian.pipes import close_all

__all__ = ["Link"]

_RECEIVED_BYTES: Final = 64 * 1024
_RETRY_SECONDS: Final = 0.05


@implementer(IReadDescriptor, IWriteDescriptor)
class Link:
    """One end of a pair of sockets, which does not block and is closed here.

    `on_message` is called with each message, and `on_lost` once, when the other end is gone or this one was closed.
    `reactor` offers `IReactorFDSet` and `IReactorTime`.
    """

    def __init__(
        self,
        reactor: Any,
        end: socket.socket,
        *,
        on_message: Callable[[Message], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._socket = end
        self._on_message = on_message
        self._on_lost = on_lost
        self._decoder = Decoder()
        self._unsent: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._is_writing = False
        self._is_lost = False
        reactor.addReader(self)

    def send(self, message: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Send a message, and these descriptors with it, which are closed here when they have gone."""
        if self._is_lost:
            close_all(descriptors)
            return
        self._unsent.append((memoryview(message), descriptors))
        if not self._is_writing:
            self._send_unsent()

    def close(self) -> None:
        """Send nothing any more, and hear nothing."""
        if self._is_lost:
            return
        self._is_lost = True
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket.close()
        for _, descriptors in self._unsent:
            close_all(descriptors)
        self._unsent.clear()
        self._on_lost()

    def fileno(self) -> int:
        """The descriptor, -1 when it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """What the log calls this."""
        return "the guardian"

    def doRead(self) -> None:
        """There are messages, or the other end is gone."""
        try:
            data = self._socket.recv(_RECEIVED_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        for message in self._decoder.decode(data):
            self._on_message(message)
        if not data:
            self.close()

    def doWrite(self) -> None:
        """There is room again."""
        self._watch_for_room(wanted=False)
        self._send_unsent()

    def connectionLost(self, reason: Failure) -> None:
        """The other end is gone."""
        self.close()

    def _send_unsent(self) -> None:
        while self._unsent and not self._is_lost:
            data, descriptors = self._unsent[0]
            try:
                sent = self._socket.sendmsg([data], _ancillary(descriptors))
            except BlockingIOError:
                self._watch_for_room(wanted=True)
                return
            except OSError as error:
                if error.errno != errno.ETOOMANYREFS:
                    return  # the other end is gone, which is noticed by reading, after all that it has said before
                # So many descriptors of this account are under way that no more may be; and nobody tells when they are
                # not.
                self._is_writing = True
                self._reactor.callLater(_RETRY_SECONDS, self.doWrite)
                return
            close_all(descriptors)
            if sent == len(data):
                self._unsent.popleft()
            else:
                self._unsent[0] = (data[sent:], ())

    def _watch_for_room(self, *, wanted: bool) -> None:
        self._is_writing = wanted
        if wanted:
            self._reactor.addWriter(self)
        elif not self._is_lost:
            self._reactor.removeWriter(self)


def _ancillary(descriptors: tuple[int, ...]) -> list[tuple[int, int, array[int]]]:
    if not descriptors:
        return []
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))]
