"""The tutorial's echo: the text comes back in upper case, without any framing."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from sockserv.classic.conversation import Conversation
from sockserv.classic.inside import Connect

__all__ = ["echo"]


async def echo(conversation: Conversation, connect: Connect) -> None:
    """Answer until the other side sends no more. Raises what the call of the echo service raises."""
    client = await connect()
    call = await client.open("echo", {"upper": True})

    async def answer() -> None:
        async for piece in call.body:
            await conversation.send(piece)
        await call.result()

    answering = Deferred.fromCoroutine(answer())
    try:
        while text := await conversation.receive():
            await call.send(text)
        call.end()
        await answering
    finally:
        answering.addErrback(lambda _: None)  # who has hung up wants no answer
        answering.cancel()
        await client.close()
