"""Running a handler: the first step by hand, a Deferred only if it waits for something.

Most calls are answered without waiting for anything, and a Deferred around a coroutine costs several
times what such a handler does itself.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

__all__ = ["resume"]

T = TypeVar("T")


def resume(
    coroutine: Coroutine[Any, Any, T],
    awaited: Any,
    *,
    before_step: Callable[[], None],
    after_step: Callable[[], None],
) -> Deferred[T]:
    """Drive a coroutine on whose first step yielded `awaited`.

    `before_step` and `after_step` enclose each step that the coroutine makes from now on. Cancelling
    the Deferred cancels what the coroutine is waiting for.
    """
    return Deferred.fromCoroutine(_steps(coroutine, awaited, before_step, after_step))


def _steps(
    coroutine: Coroutine[Any, Any, T],
    awaited: Any,
    before_step: Callable[[], None],
    after_step: Callable[[], None],
) -> Generator[Any, Any, T]:
    while True:
        try:
            value = None if _has_fired(awaited) else (yield awaited)
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            before_step()
            try:
                awaited = coroutine.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                after_step()
        else:
            before_step()
            try:
                awaited = coroutine.send(value)
            except StopIteration as stop:
                result = stop.value
                return result
            finally:
                after_step()


def _has_fired(awaited: Any) -> bool:
    """Whether a Deferred has its result already, as when `after_step` has brought it.

    To wait for it then would take that result away from the coroutine, which asks the Deferred itself.
    """
    return isinstance(awaited, Deferred) and bool(awaited.called) and not awaited.paused
