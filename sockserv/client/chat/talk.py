"""A session that finds a connection again whenever it has lost one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from sockserv.client.chat.session import Session
from sockserv.client.client import Client
from sockserv.errors import ConnectError, ConnectionEnded, DeadlineExceeded, StateError, Unavailable

__all__ = ["Talk"]

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0

_TEMPORARY: Final = (ConnectError, ConnectionEnded, DeadlineExceeded, StateError, Unavailable)
"""What may be better after a while: a network, or a server that starts again."""


class Talk:
    """Keeps `session` going: `connect` makes the connections, `on_lost` is told why there is none, and in how many
    seconds it is tried again.

    `jitter` gives a number from 0 to 1, so that not everybody comes back at the same moment.
    """

    def __init__(
        self,
        clock: IReactorTime,
        session: Session,
        connect: Callable[[], Deferred[Client]],
        *,
        on_lost: Callable[[Exception, float], None] = lambda why, seconds: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._session = session
        self._connect = connect
        self._on_lost = on_lost
        self._jitter = jitter

    def run(self) -> Deferred[None]:
        """Go on until it is cancelled. Fails with what no other try would change, such as `AuthenticationFailed`."""
        return Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        failure: Exception | None = None
        try:
            pause = _FIRST_PAUSE_SECONDS
            while True:
                try:
                    await self._run_once()
                    why: Exception = ConnectionEnded("the server has ended the chat")
                except _TEMPORARY as error:
                    why = error
                if self._session.was_joined:
                    pause = _FIRST_PAUSE_SECONDS
                seconds = pause * (0.5 + 0.5 * self._jitter())
                self._on_lost(why, seconds)
                await deferLater(self._clock, seconds)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        except CancelledError:
            raise
        except Exception as error:
            failure = error
            raise
        finally:
            self._session.close(failure)

    async def _run_once(self) -> None:
        self._session.was_joined = False
        client = await self._connect()
        try:
            await self._session.run(client)
        finally:
            # Nobody waits for it: there is a pause before the next one.
            client.close().addErrback(lambda _: None)
