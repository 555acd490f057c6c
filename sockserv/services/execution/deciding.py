"""What the service asks before it runs anything: whether somebody may, and what exactly would be run then."""

from __future__ import annotations

from typing import Protocol

import attrs

from sockserv.execution.arguments import Command
from sockserv.execution.outcome import Explanation
from sockserv.services.execution.child import Program
from sockserv.services.threads import InThread
from sockserv.trust.identities import Identity

__all__ = ["Decision", "Policy"]


@attrs.frozen(kw_only=True)
class Decision:
    """What was decided about a command that is allowed.

    `rule` is what allows it: `any`, `shell`, the absolute path of a program, or the name of a command. `command` is
    how it looks to a person, in one line. The bounds are the smaller ones of what was asked and what the rule gives;
    None for no bound. Without `takes_stdin` the standard input of the program ends at once, whatever its caller sends.

    The environment of the program is whole but for `SOCKSERV_JOB`, which comes with the job.
    """

    rule: str
    program: Program
    command: str
    timeout_seconds: float | None = None
    output_limit_bytes: int | None = None
    takes_stdin: bool = True


class Policy(Protocol):
    """Decides what identities may run."""

    async def decide(self, identity: Identity, command: Command, in_thread: InThread) -> Decision:
        """What is to be run for this command.

        Raises `Refused`, whose details name the rule, and `InvalidArgument` for what nobody could run, such as a NUL.
        Waits only where it has to look at a disk.
        """

    async def explain(
        self, identity: Identity, command: Command, in_thread: InThread
    ) -> Explanation:
        """What `decide` would say, and why; raises `InvalidArgument` only."""
