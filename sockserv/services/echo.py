"""The echo service: the body comes back as it comes."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable

import attrs

from sockserv.services.api import Audit, Call, Service, operation

__all__ = ["Echo", "EchoArguments"]


@attrs.frozen
class EchoArguments:
    """`upper`: answer with the text in upper case, like the tutorial's server."""

    upper: bool = False


class Echo(Service):
    """Sends every byte back."""

    @operation("echo", args=EchoArguments, permission="echo", audit=Audit.NEVER)
    def echo(self, call: Call[EchoArguments]) -> Awaitable[None] | None:
        """The body, of any size, in the order and at the pace of its coming."""
        if call.args.upper:
            return self._echo_upper(call)
        body = call.whole_body
        if body is None:
            return self._echo(call)
        call.send_last(body)
        return None

    async def _echo(self, call: Call[EchoArguments]) -> None:
        async for piece in call.body:
            await call.send(piece)

    async def _echo_upper(self, call: Call[EchoArguments]) -> None:
        # A character may be cut by the border of two pieces; what is not UTF-8 passes unchanged.
        decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        async for piece in call.body:
            text = decoder.decode(piece)
            if text:
                await call.send(text.upper().encode("utf-8", "surrogateescape"))
        rest = decoder.decode(b"", final=True)
        if rest:
            await call.send(rest.encode("utf-8", "surrogateescape"))
