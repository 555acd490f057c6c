"""One guardian, from its start to its end: what was asked of it, and what it has told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from sockserv.processes.messages import Answer, Message, Request, encode
from sockserv.processes.starting import Launch
from sockserv.services.execution.child import Ending, StartFailed
from sockserv.services.execution.guardian.child import GuardedChild
from sockserv.services.execution.guardian.link import Link
from sockserv.services.execution.guardian.pipes import Streams
from sockserv.services.execution.guardian.process import GuardianProcess

__all__ = ["GuardianSession", "Left"]

_STOP_SECONDS: Final = 10.0
_REAP_SECONDS: Final = 0.02


@attrs.frozen
class Left:
    """What may be left of the trees of a guardian that was lost: by the first process of each, where known, and by its
    mark.
    """

    pids: tuple[int, ...]
    marks: tuple[int, ...]


@attrs.define(eq=False)
class _Tree:
    """A program that the guardian was asked to start; `child` is None before it has."""

    mark: int
    streams: Streams
    on_answer: Callable[[GuardedChild | StartFailed], None]
    child: GuardedChild | None = None
    has_ended: bool = False


class GuardianSession:
    """All that goes on with one guardian, `process`.

    `on_lost` is called once, when it has ended without being asked to. `reactor` offers `IReactorFDSet` and
    `IReactorTime`.
    """

    def __init__(
        self, reactor: Any, process: GuardianProcess, *, on_lost: Callable[[Left], None]
    ) -> None:
        self._reactor = reactor
        self._process = process
        self._on_lost = on_lost
        self._trees: dict[int, _Tree] = {}
        self._last_key = 0
        self._stopped: Deferred[None] | None = None
        self._link = Link(
            reactor, process.link, on_message=self._on_message, on_lost=self._on_link_lost
        )

    def start(
        self,
        launch: Launch,
        mark: int,
        streams: Streams,
        on_answer: Callable[[GuardedChild | StartFailed], None],
    ) -> None:
        """Ask for a program with these streams, marked so that its tree is known again.

        `on_answer` is given its child, or why there is none; then the streams are closed.
        """
        self._last_key += 1
        self._trees[self._last_key] = _Tree(mark, streams, on_answer)
        descriptors = streams.for_child
        self._link.send(
            encode(Request.START, self._last_key, mark, len(descriptors), *launch), descriptors
        )

    def kill_strangers(self, left: Left) -> None:
        """Kill what another guardian has left."""
        self._link.send(encode(Request.KILL_STRANGERS, left.pids, left.marks))

    def stop(self) -> Deferred[None]:
        """Kill all trees, and end; fires when the guardian has. To be called once."""
        self._stopped = Deferred()
        self._link.send(encode(Request.STOP))
        last_resort = self._reactor.callLater(_STOP_SECONDS, self._link.close)

        def cancel(result: None) -> None:
            if last_resort.active():
                last_resort.cancel()

        return self._stopped.addCallback(cancel)

    def _on_message(self, message: Message) -> None:
        kind, key, *fields = message
        if kind == Answer.STARTED:
            self._on_started(key, *fields)
        elif kind == Answer.FAILED:
            tree = self._trees.pop(key)
            tree.streams.close()
            tree.on_answer(StartFailed(*fields))
        elif kind == Answer.ENDED:
            self._on_ended(self._trees[key], *fields)
        elif kind == Answer.GONE:
            child = self._trees.pop(key).child
            assert child is not None
            child.on_gone()

    def _on_started(self, key: int, pid: int) -> None:
        tree = self._trees[key]

        def signal(number: int) -> None:
            self._link.send(encode(Request.SIGNAL, key, int(number)))

        tree.child = GuardedChild(pid, tree.streams, send_signal=signal)
        tree.on_answer(tree.child)

    def _on_ended(
        self, tree: _Tree, code: int, user_seconds: float, system_seconds: float, memory_bytes: int
    ) -> None:
        assert tree.child is not None
        tree.has_ended = True
        tree.child.on_ended(
            Ending(
                code=None if code < 0 else code,
                signal=-code if code < 0 else None,
                user_seconds=user_seconds,
                system_seconds=system_seconds,
                max_memory_bytes=memory_bytes,
            )
        )

    def _on_link_lost(self) -> None:
        self._process.kill()
        trees, self._trees = self._trees, {}
        left = Left(
            tuple(tree.child.pid for tree in trees.values() if tree.child is not None),
            tuple(tree.mark for tree in trees.values()),
        )
        if self._stopped is None:
            self._on_lost(left)  # first, since those who are told may ask for more
        for tree in trees.values():
            _give_up(tree)
        self._reap()

    def _reap(self) -> None:
        """Wait for the process, which was killed, or has ended before."""
        if not self._process.is_over():
            self._reactor.callLater(_REAP_SECONDS, self._reap)
        elif self._stopped is not None:
            self._stopped.callback(None)


def _give_up(tree: _Tree) -> None:
    """Nobody will ever tell what became of this one, which may have been started."""
    child = tree.child
    if child is None:
        child = GuardedChild(0, tree.streams, send_signal=lambda number: None)
        tree.on_answer(child)
    if not tree.has_ended:
        child.on_ended(Ending())
    child.on_gone()
