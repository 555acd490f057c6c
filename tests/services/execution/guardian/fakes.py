"""A reactor that looks at descriptors when a test says so, and a guardian that does what a test says."""

from __future__ import annotations

import os
import socket
from array import array
from typing import Any

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import Clock
from zope.interface import implementer

from sockserv.processes.messages import Answer, Decoder, Message, encode


@implementer(IReactorFDSet)
class WatchingClock(Clock):
    """A clock that is a reactor, too: whoever is watched is told on every turn that there may be something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.writers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def addWriter(self, writer: Any) -> None:
        if writer not in self.writers:
            self.writers.append(writer)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def removeWriter(self, writer: Any) -> None:
        if writer in self.writers:
            self.writers.remove(writer)

    def removeAll(self) -> list[Any]:
        removed = [*self.readers, *self.writers]
        self.readers.clear()
        self.writers.clear()
        return removed

    def getReaders(self) -> list[Any]:
        return self.readers

    def getWriters(self) -> list[Any]:
        return self.writers

    def turn(self, count: int = 1) -> None:
        for _ in range(count):
            for reader in [*self.readers]:
                if reader in self.readers:
                    reader.doRead()
            for writer in [*self.writers]:
                if writer in self.writers:
                    writer.doWrite()


class FakeSocket:
    """Our end of the guardian's socket. It takes `room` bytes (None: all), and raises `problem` if there is one."""

    def __init__(self) -> None:
        self.sent = b""
        self.descriptors: list[int] = []
        self.incoming: list[bytes] = []
        self.room: int | None = None
        self.problem: int | None = None
        self.is_closed = False

    def fileno(self) -> int:
        return -1 if self.is_closed else 1_000_000

    def recv(self, size: int) -> bytes:
        if not self.incoming:
            raise BlockingIOError
        return self.incoming.pop(0)

    def sendmsg(
        self, buffers: list[memoryview], ancillary: list[tuple[int, int, array[int]]]
    ) -> int:
        assert not self.is_closed
        if self.problem is not None:
            raise OSError(self.problem, "")
        [data] = buffers
        piece = bytes(data if self.room is None else data[: self.room])
        if not piece:
            raise BlockingIOError
        if self.room is not None:
            self.room -= len(piece)
        self.sent += piece
        for level, kind, descriptors in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            self.descriptors += [os.dup(descriptor) for descriptor in descriptors]
        return len(piece)

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True


class FakeGuardian:
    """See `GuardianProcess`; what was asked of it is in `requests`, and `answer` tells something."""

    def __init__(self, reactor: WatchingClock, open_files: int) -> None:
        self._reactor = reactor
        self._decoder = Decoder()
        self._decoded = 0
        self.open_files = open_files
        self.link: Any = FakeSocket()
        self.kills = 0
        self.is_gone = False
        """Whether a killed one has ended."""

    @property
    def requests(self) -> list[Message]:
        """What is new."""
        new = self.link.sent[self._decoded :]
        self._decoded = len(self.link.sent)
        return self._decoder.decode(new)

    def take_descriptors(self) -> list[int]:
        descriptors: list[int] = self.link.descriptors
        self.link.descriptors = []
        return descriptors

    def answer(self, kind: Answer, *fields: Any) -> None:
        self.link.incoming.append(encode(kind, *fields))
        self._reactor.turn()

    def end(self) -> None:
        self.is_gone = True
        self.link.incoming.append(b"")
        self._reactor.turn()

    def kill(self) -> None:
        self.kills += 1

    def is_over(self) -> bool:
        return self.kills > 0 and self.is_gone


class Guardians:
    """All that were started; `problem` is why no other one can be."""

    def __init__(self, reactor: WatchingClock) -> None:
        self._reactor = reactor
        self.all: list[FakeGuardian] = []
        self.problem: OSError | None = None

    def start(self, open_files: int) -> Any:
        if self.problem is not None:
            raise self.problem
        self.all.append(FakeGuardian(self._reactor, open_files))
        return self.all[-1]
