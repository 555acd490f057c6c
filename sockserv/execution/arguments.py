"""What the operations of the execution service are asked with, one class each; and the streams of their bodies."""

from __future__ import annotations

from typing import Annotated, Final

import attrs
from msgspec import Meta

__all__ = [
    "MAX_ARGUMENTS",
    "STANDARD_ERROR",
    "STANDARD_OUTPUT",
    "AttachArguments",
    "Command",
    "ExplainArguments",
    "JobArguments",
    "KillArguments",
    "ResizeArguments",
    "ResourceLimits",
    "RunArguments",
    "SignalArguments",
    "StartArguments",
    "Terminal",
]

STANDARD_OUTPUT: Final = 1
"""The stream of an answer that carries what the job writes to its standard output, and to its terminal."""
STANDARD_ERROR: Final = 2
"""The stream of an answer that carries what the job writes to its standard error."""

MAX_ARGUMENTS: Final = 4096
"""More words than this are no command line; what they may hold is bounded by the size of a header."""

_MAX_BYTES: Final = 2**53 - 1

_Bytes = Annotated[int, Meta(ge=0, le=_MAX_BYTES)]
_PositiveBytes = Annotated[int, Meta(ge=1, le=_MAX_BYTES)]
_Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_Seconds = Annotated[float, Meta(gt=0, le=1e9)]
_Nice = Annotated[int, Meta(ge=-20, le=19)]
_Cells = Annotated[int, Meta(ge=1, le=65_535)]
_Signal = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9+-]{1,15}\Z")]
_TerminalType = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z")]
_User = Annotated[str, Meta(min_length=1, max_length=64)]
_Words = Annotated[tuple[str, ...], Meta(max_length=MAX_ARGUMENTS)]
_JobId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
_NewJobId = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]{0,63})?\Z")]


@attrs.frozen(kw_only=True)
class ResourceLimits:
    """What a process of the job may use at most (setrlimit(2)); None: as the server has it."""

    cpu_seconds: _Count | None = None
    memory_bytes: _PositiveBytes | None = None
    processes: _Count | None = None
    open_files: _Count | None = None
    file_bytes: _Bytes | None = None


@attrs.frozen(kw_only=True)
class Terminal:
    """A terminal for the job: its size in characters, and its type as terminfo(5) calls it."""

    columns: _Cells = 80
    rows: _Cells = 24
    type: _TerminalType = "xterm-256color"


@attrs.frozen(kw_only=True)
class Command:
    """What is to be run, and how.

    `argv` is the program and its arguments. With `shell` it is one text for the shell, or nothing for a shell that
    reads its standard input, or its terminal. `env` is added to the environment that every job has. `cwd` is the
    directory to run in, `user` the account to run as. `timeout_seconds` is how long it may run; `output_limit_bytes`
    how much it may write to both streams together. `nice` is added to its priority. With a `terminal` its standard
    error is that terminal, too.
    """

    argv: _Words = ()
    shell: bool = False
    env: dict[str, str] = attrs.field(factory=dict, metadata={"secret": True})
    cwd: str | None = None
    user: _User | None = None
    timeout_seconds: _Seconds | None = None
    output_limit_bytes: _Bytes | None = None
    limits: ResourceLimits = ResourceLimits()
    nice: _Nice | None = None
    terminal: Terminal | None = None


@attrs.frozen(kw_only=True)
class RunArguments(Command):
    """A command to run while its caller waits. The request's body is its standard input.

    `job` is the caller's name for it, by which it can be signalled as soon as it was asked for; without one, the
    server finds one.
    """

    job: _NewJobId = ""


@attrs.frozen(kw_only=True)
class StartArguments(RunArguments):
    """A command to start, and to keep running whatever becomes of the caller.

    `spool_bytes` is how much of its output is kept, both streams together; a job that writes more is killed for it.
    `expiry_seconds` is how long that is kept after its end. None: as the server has it. Without `stdin` its standard
    input is at its end from the start; with it, that waits for somebody to attach.
    """

    stdin: bool = True
    spool_bytes: _PositiveBytes | None = None
    expiry_seconds: _Seconds | None = None


@attrs.frozen(kw_only=True)
class JobArguments:
    """`job` is the job that it is about, `identity` whose it is: None for the caller's; that of somebody else needs
    `admin`.
    """

    job: _JobId
    identity: str | None = None


@attrs.frozen(kw_only=True)
class AttachArguments(JobArguments):
    """A kept job whose output is wanted from these offsets on, up to its end.

    With `stdin` the request's body is its standard input, from the byte `stdin_offset` on, which has to be the next
    one that it has not been given yet. The bytes in the outcome are those of the whole job: an offset and what came
    from there on make up the number of its stream.
    """

    stdout_offset: _Bytes = 0
    stderr_offset: _Bytes = 0
    stdin: bool = False
    stdin_offset: _Bytes = 0


@attrs.frozen(kw_only=True)
class SignalArguments(JobArguments):
    """A signal for all processes of a job, by its name without `SIG`."""

    signal: _Signal


@attrs.frozen(kw_only=True)
class KillArguments(JobArguments):
    """A job to stop: gently at first, and by force if it does not; with `force` at once."""

    force: bool = False


@attrs.frozen(kw_only=True)
class ResizeArguments(JobArguments):
    """The size that a job's terminal has now."""

    columns: _Cells
    rows: _Cells


@attrs.frozen(kw_only=True)
class ExplainArguments(Command):
    """A command, and the identity (None: the caller) for which it is asked what would become of it."""

    identity: str | None = None
