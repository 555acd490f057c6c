"""Blocking work that is done step by step: a generator, each of whose steps runs in some thread.

So a caller that goes away is noticed between two steps, nobody holds a thread while waiting for a slow network, and
what the generator has open is closed by its own `with` blocks, after its last step and never under it.
"""

from __future__ import annotations

from collections.abc import Generator
from threading import Lock
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from sockserv.services.threads import InThread

__all__ = ["Steps", "run_all"]

Y = TypeVar("Y")
S = TypeVar("S")
R = TypeVar("R")


async def run_all(in_thread: InThread, generator: Generator[Any, None, R]) -> R:
    """Do all steps of a generator that is sent nothing; gives what it returns.

    Cancelling stops it after the step that runs.
    """
    async with Steps(in_thread, generator) as steps:
        while await steps.next() is not None:
            pass
        return steps.result


class Steps(Generic[Y, S, R]):
    """A generator whose steps are done in threads; `async with` closes it at the end, whatever that is.

    It yields anything but None. When the caller is cancelled while a step runs, that step is done to its end, and then
    the generator is closed.
    """

    def __init__(self, in_thread: InThread, generator: Generator[Y, S, R]) -> None:
        self._in_thread = in_thread
        self._generator = generator
        self._lock = Lock()
        self._result: R | None = None
        self.is_open = True

    async def __aenter__(self) -> Steps[Y, S, R]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_open and kind is not GeneratorExit:
            self.is_open = False
            # It is done even if nobody waits for it any more: a step may still run, and this comes after it.
            await self._in_thread(self._close)

    @property
    def result(self) -> R:
        """What the generator has returned; there is one when a step has given None."""
        return cast(R, self._result)

    async def next(self) -> Y | None:
        """Do the next step; gives what the generator yields, None at its end."""
        return cast("Y | None", await self._in_thread(self._do, None))

    async def send(self, value: S) -> Y | None:
        """Do the next step with a value."""
        return cast("Y | None", await self._in_thread(self._do, value))

    def _do(self, value: S | None) -> Y | None:
        with self._lock:
            try:
                return self._generator.send(cast(S, value))
            except StopIteration as stop:
                self.is_open = False
                self._result = stop.value
                return None
            except BaseException:
                self.is_open = False
                raise

    def _close(self) -> None:
        with self._lock:
            self._generator.close()
