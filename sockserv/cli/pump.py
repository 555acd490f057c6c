"""Standard input into a call, and its answer to standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sockserv.errors import CallCancelled, SockservError

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client import OutgoingCall

__all__ = ["Pump", "WrongAnswer"]


class WrongAnswer(SockservError):
    """The daemon called the answer complete, and it was not."""


class Pump:
    """Sends the input and writes the answer, at the same time: the one may wait for the other."""

    def __init__(self, session: Session, call: OutgoingCall, *, is_exact: bool) -> None:
        self._session = session
        self._call = call
        self._is_exact = is_exact
        self._is_sent = False
        self._sent_bytes = 0
        self._received_bytes = 0
        self._failure: Failure | None = None

    async def run(self) -> None:
        """Echo until the end of the input. Raises what goes wrong on either way."""
        sending = Deferred.fromCoroutine(self._send()).addErrback(self._stop)
        try:
            await self._receive()
        except CallCancelled:
            if self._failure is not None:
                self._failure.raiseException()
            raise
        finally:
            # Where all went well there is nothing left to give up.
            sending.cancel()
            self._call.cancel()
        self._check()

    async def _send(self) -> None:
        while piece := await self._session.input.read():
            await self._call.send(piece)
            self._sent_bytes += len(piece)
        self._is_sent = True
        self._call.end()

    def _stop(self, failure: Failure) -> None:
        self._failure = failure
        self._call.cancel()

    async def _receive(self) -> None:
        async for piece in self._call.body:
            self._received_bytes += len(piece)
            await self._session.output.write(piece)
        await self._call.raw_result()

    def _check(self) -> None:
        if not self._is_sent:
            raise WrongAnswer("the daemon ended the echo before the end of the input")
        if self._is_exact and self._received_bytes != self._sent_bytes:
            raise WrongAnswer(
                f"{self._sent_bytes} bytes were sent, and {self._received_bytes} came back"
            )
