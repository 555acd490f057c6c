"""The tutorial's remote commands: bare text for a shell, and an answer that says its size before it comes.

The text has no end of its own: a command is what has arrived when the other side waits. That this cannot be known for
sure is the very problem that the tutorial goes on to cure; see `docs/classic.md`.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final

import attrs
from twisted.internet.defer import Deferred

from sockserv.classic.conversation import Conversation, Hangup, Silence
from sockserv.classic.headers import INT, framed
from sockserv.classic.inside import Connect
from sockserv.classic.spool import Spool
from sockserv.client import Client
from sockserv.client.execution import Command, JobOutput, KillReason, OutcomeKind, RemoteJob
from sockserv.errors import SockservError
from sockserv.net.threads import InThread

__all__ = [
    "MAX_ANSWER_BYTES",
    "MAX_COMMAND_BYTES",
    "Answer",
    "Commands",
    "json_heading",
    "low_heading",
]

MAX_COMMAND_BYTES: Final = 64 * 1024
MAX_ANSWER_BYTES: Final = 2**31 - 1
"""More than this the signed number before an answer cannot say."""

_WHOLE_BELOW_BYTES: Final = 536
"""No network cuts anything that is smaller (RFC 9293, section 3.7.1): it is all of a command."""
_PAUSE_SECONDS: Final = 0.05
"""Of anything larger, the next part comes sooner than this."""

_MAX_ARGUMENT_CHARACTERS: Final = 8 * 1024
"""In JSON, none takes more than six bytes, and a header has 64 KiB."""

_HTTP: Final = re.compile(rb"(CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE) ")
"""How requests of browsers begin."""


@attrs.frozen
class Answer:
    """What a command has written, the one stream after the other."""

    stdout: Spool
    stderr: Spool

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.stdout.size + self.stderr.size

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it. Raises `OSError` where it cannot be read again."""
        for spool in (self.stdout, self.stderr):
            async for piece in spool.pieces():
                yield piece

    async def replace(self, why: str) -> None:
        """Say why there is no answer, in its place."""
        self.clear()
        await self.stderr.add(_said(why))

    def clear(self) -> None:
        """Forget it."""
        self.stdout.clear()
        self.stderr.clear()


async def low_heading(answer: Answer) -> bytes:
    """The size alone."""
    return INT.pack(answer.size)


async def json_heading(answer: Answer) -> bytes:
    """The length of a header in JSON, and that. Raises `OSError` where the answer cannot be read again."""
    digest = hashlib.md5(usedforsecurity=False)
    async for piece in answer.pieces():
        digest.update(piece)
    return framed({"filename": "output", "md5": digest.hexdigest(), "total_size": answer.size})


@attrs.frozen(kw_only=True)
class Commands:
    """Runs commands through the shell, one after the other, for as long as the other side has some.

    `heading` makes what comes before an answer. Commands are text in `encoding`; with `transcode` what they write is
    translated from UTF-8 to that. `in_thread` is where what is too large for the memory is written and read.
    """

    heading: Callable[[Answer], Awaitable[bytes]]
    encoding: str
    transcode: bool
    in_thread: InThread

    async def __call__(self, conversation: Conversation, connect: Connect) -> None:
        """Answer until the other side sends no more. Raises what the calls to the daemon raise."""
        client = await connect()
        try:
            while command := await _next_command(conversation):
                answer = Answer(Spool(self.in_thread), Spool(self.in_thread))
                try:
                    # A command ends with the one who wants it.
                    running = Deferred.fromCoroutine(self._run(client, command, answer))
                    await conversation.while_listening(running)
                    await conversation.send(await self.heading(answer))
                    async for piece in answer.pieces():
                        await conversation.send(piece)
                finally:
                    answer.clear()
        finally:
            await client.close()

    async def _run(self, client: Client, command: bytes, answer: Answer) -> None:
        """Fill the answer, with a word of ours behind it, or in its place, where there is no whole one."""
        try:
            text = command.decode(self.encoding)
        except UnicodeDecodeError:
            await answer.replace(f"the command is no text in {self.encoding}")
            return
        if "\0" in text:
            # No client types one, but what begins a TLS connection has some, around bytes that a web page may choose.
            await answer.replace("the command has a NUL in it, and is no text")
            return
        argv, stdin = _for_shell(text)
        job = await client.exec.run(
            Command(argv=argv, shell=True, output_limit_bytes=MAX_ANSWER_BYTES), stdin=stdin
        )
        try:
            await self._collect(job, answer)
        except OSError as error:
            await answer.replace(f"there is no room for what the command writes: {error.strerror}")
            return
        finally:
            job.cancel()  # which means nothing to one that has ended
        outcome = await job.outcome()
        if outcome.reason is KillReason.OUTPUT_LIMIT:
            await answer.replace("the command has written too much")
        elif outcome.kind is not OutcomeKind.EXITED:
            await answer.stderr.add(_said(outcome.message or str(outcome)))

    async def _collect(self, job: RemoteJob, answer: Answer) -> None:
        errors = Deferred.fromCoroutine(self._fill(answer.stderr, job.stderr))
        try:
            await self._fill(answer.stdout, job.stdout)
            await errors
        finally:
            errors.addErrback(lambda _: None)  # the other one has failed first
            errors.cancel()

    async def _fill(self, spool: Spool, output: JobOutput) -> None:
        decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        with suppress(SockservError):  # the outcome tells it as well
            async for piece in output:
                if self.transcode:
                    piece = decode(piece).encode(self.encoding, "replace")
                if piece:
                    await spool.add(piece)


def _for_shell(text: str) -> tuple[tuple[str, ...], bytes]:
    """A command as the arguments of the shell, or, where it is too long for that, as its standard input."""
    if len(text) <= _MAX_ARGUMENT_CHARACTERS:
        return (text,), b""
    # In braces it is read to its end before any of it runs, so that no part of it reads the rest.
    return (), f"{{\n{text}\n}} </dev/null\n".encode()


def _said(why: str) -> bytes:
    """A line of ours, in the place where a shell would complain."""
    return f"sockserv: {why}\n".encode()


async def _next_command(conversation: Conversation) -> bytes:
    """What the other side has sent before it began to wait; `b""` when it will send no more.

    Raises `Hangup` for more than a command can be.
    """
    command = piece = await conversation.receive()
    while len(piece) >= _WHOLE_BELOW_BYTES and len(command) <= MAX_COMMAND_BYTES:
        try:
            piece = await conversation.receive(timeout_seconds=_PAUSE_SECONDS)
        except Silence:
            break
        command += piece
    if len(command) > MAX_COMMAND_BYTES:
        raise Hangup(f"a command has more than {MAX_COMMAND_BYTES} bytes")
    if _HTTP.match(command):
        # A page in a browser of this machine can send such a thing, with any commands in the lines that follow.
        raise Hangup("a browser has sent a request of HTTP, which is no command")
    return command
