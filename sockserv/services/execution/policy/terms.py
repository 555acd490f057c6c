"""What a rule lets somebody choose about a command, and what becomes of what they have chosen."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, NoReturn, TypeVar

import attrs

from sockserv.execution.arguments import Command, ResourceLimits
from sockserv.execution.errors import Refused
from sockserv.services.execution.policy.environment import OURS, RISKY, Names

__all__ = ["NO_RULE", "Latitude", "Terms", "refuse", "smaller"]

NO_RULE: Final = "none"
"""Stands for the rule where none fits."""

_MAX_WHY_CHARACTERS: Final = 2000
"""An answer has to fit into one header."""

_Number = TypeVar("_Number", int, float)


def refuse(rule: str, why: str) -> NoReturn:
    """Raises `Refused` for a reason, which is a sentence without its full stop, and cut where it is too long."""
    why = why if len(why) <= _MAX_WHY_CHARACTERS else f"{why[: _MAX_WHY_CHARACTERS - 1]}…"
    raise Refused(f"{rule}: {why}" if rule != NO_RULE else why, details={"rule": rule})


class Latitude(Enum):
    """How much of how a command is run is left to its caller."""

    EVERYTHING = "everything"
    """The account, too, any priority, and all variables but those that change what a program does."""
    CIRCUMSTANCES = "circumstances"
    """The directory, the limits of its processes, and a lower priority."""
    NOTHING = "nothing"
    """Only less time, less output, a lower priority. With too little memory, a program may do half of its work."""


@attrs.frozen(kw_only=True)
class Terms:
    """How a command is run by the rule `rule`: what the rule says, and what is left to its caller.

    `argv` is what is run. `variables` may come from outside, `fixed` are variables that the rule sets. `cwd` and `user`
    are the directory and the account where its caller has chosen no others, None for the home and for the daemon's. The
    numbers are bounds, and `nice` the best priority.
    """

    rule: str
    argv: tuple[str, ...]
    latitude: Latitude
    variables: Names = attrs.field(factory=Names)
    fixed: Mapping[str, str] = attrs.field(factory=dict)
    cwd: str | None = None
    user: str | None = None
    timeout_seconds: float | None = None
    output_limit_bytes: int | None = None
    limits: ResourceLimits = attrs.field(factory=ResourceLimits)
    nice: int | None = None
    takes_stdin: bool = True
    takes_terminal: bool = True

    def environment(self, own: dict[str, str], command: Command) -> dict[str, str]:
        """The environment of a command: what every job has, what the rule sets, what comes from outside."""
        for name in command.env:
            self._check_variable(name)
        return {**own, **self.fixed, **command.env}

    def directory(self, command: Command, home: str) -> str:
        """The directory that it runs in."""
        if command.cwd is None:
            return self.cwd or home
        if self.latitude is Latitude.NOTHING:
            refuse(self.rule, "the directory is the rule's: leave it out")
        return command.cwd if command.cwd.startswith("/") else f"{home.rstrip('/')}/{command.cwd}"

    def account(self, command: Command) -> str | None:
        """The name of the account that it runs as; None for the daemon's."""
        if command.user is None or self.latitude is Latitude.EVERYTHING:
            return command.user or self.user
        if command.user != self.user:
            refuse(self.rule, "as which account it runs, is the rule's to say: leave the user out")
        return self.user

    def bounds(self, command: Command) -> ResourceLimits:
        """The limits of each process."""
        if self.latitude is not Latitude.NOTHING:
            return command.limits
        if command.limits != ResourceLimits():
            refuse(self.rule, "the limits of its processes are the rule's: leave them out")
        return self.limits

    def priority(self, command: Command) -> int | None:
        """What is added to its priority."""
        if self.latitude is Latitude.EVERYTHING or command.nice is None:
            return self.nice if command.nice is None else command.nice
        if command.nice < (self.nice or 0):
            refuse(self.rule, f"a nice of {command.nice} is more than the rule gives; leave it out")
        return command.nice

    def check_streams(self, command: Command) -> None:
        """Raises `Refused` for a terminal that the rule does not give."""
        if command.terminal is not None and not self.takes_terminal:
            refuse(self.rule, "runs without a terminal: ask for none")

    def _check_variable(self, name: str) -> None:
        if name in OURS:
            refuse(self.rule, f"the variable {name} is the server's own: leave it out")
        if name in self.variables:
            return
        if self.latitude is not Latitude.EVERYTHING:
            refuse(
                self.rule,
                f"the variable {name} is none of those that may come from outside: leave it out, or have it "
                "allowed in commands.toml",
            )
        if name in RISKY:
            refuse(
                self.rule,
                f"the variable {name} can change what a program does, and does not come from outside: leave it out, "
                "or have it allowed in commands.toml ([environment] allow)",
            )


def smaller(asked: _Number | None, given: _Number | None) -> _Number | None:
    """The smaller one of two bounds, None for none."""
    if asked is None or given is None:
        return given if asked is None else asked
    return min(asked, given)
