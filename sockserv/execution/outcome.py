"""How a job ends: in exactly one of these ways, with what it was given and what it has written."""

from __future__ import annotations

from enum import StrEnum

import attrs

__all__ = ["Explanation", "Job", "KillReason", "Outcome", "OutcomeKind", "Started"]


class OutcomeKind(StrEnum):
    """The ways in which a job can end."""

    EXITED = "exited"
    """By itself, with an exit `code`."""
    SIGNALLED = "signalled"
    """By a `signal` that nobody here meant to end it: its own fault, or somebody else's wish."""
    KILLED = "killed"
    """By the server, for a `reason`, whatever its processes then made of it."""
    REFUSED = "refused"
    """It was never started, because of a `rule`."""
    FAILED_TO_START = "failed-to-start"
    """It could not be started: `errno` is the name of the system's error."""
    LOST = "lost"
    """Nobody knows: the connection went before the server told, or what looked after a kept job was killed before it
    ended.
    """


class KillReason(StrEnum):
    """Why the server has ended a job."""

    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    OUTPUT_LIMIT = "output-limit"
    DISCONNECT = "disconnect"
    SHUTDOWN = "shutdown"
    REVOKED = "revoked"


@attrs.frozen(kw_only=True)
class Outcome:
    """How a job has ended, and the result of the operations that wait for that.

    `message` says it in a sentence, where there is more to say than the other fields do. `job` is its name, `rule`
    what allowed it, or did not. The bytes are those that the job was given on its standard input, and that were read
    of what it has written. `seconds` is the time from its start to its end; the processor's time and the largest
    memory are those of its processes that were waited for.
    """

    kind: OutcomeKind
    code: int | None = None
    signal: str | None = None
    reason: KillReason | None = None
    errno: str | None = None
    message: str = ""
    job: str = ""
    rule: str = ""
    stdin_bytes: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    seconds: float = 0.0
    user_seconds: float = 0.0
    system_seconds: float = 0.0
    max_memory_bytes: int = 0

    @property
    def is_success(self) -> bool:
        """Whether the job has exited with 0; nothing else is a success."""
        return self.kind is OutcomeKind.EXITED and self.code == 0

    def __str__(self) -> str:
        """The outcome in the words of the documentation: `exited(0)`, `killed(timeout)`, `lost(build-7)`."""
        what = {
            OutcomeKind.EXITED: self.code,
            OutcomeKind.SIGNALLED: self.signal,
            OutcomeKind.KILLED: self.reason,
            OutcomeKind.REFUSED: self.rule,
            OutcomeKind.FAILED_TO_START: self.errno,
            OutcomeKind.LOST: self.job,
        }[self.kind]
        return f"{self.kind}({what})"


@attrs.frozen(kw_only=True)
class Started:
    """A kept job that runs now."""

    job: str
    rule: str
    pid: int


@attrs.frozen(kw_only=True)
class Job:
    """A job, in a list: one that runs, or a kept one that has ended.

    `command` is what it runs, in one line for a person's eyes; `started_at` and `expires_at` are seconds since 1970;
    `outcome` is None while it runs. The bytes are those that it was given, and has written, by now.

    `exec.jobs` sends each as a line of JSON in the body of its answer: any number of them fits there, and not into a
    result.
    """

    job: str
    identity: str
    command: str
    rule: str
    is_kept: bool
    started_at: float
    has_terminal: bool = False
    pid: int | None = None
    stdin_bytes: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    outcome: Outcome | None = None
    expires_at: float | None = None


@attrs.frozen(kw_only=True)
class Explanation:
    """What would become of a command: whether it is allowed, by which rule, and why.

    `argv` is what would be run in the end, None when nothing would. Each of the `warnings` is a sentence.
    """

    allowed: bool
    rule: str
    why: str
    argv: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()
