"""Named commands: what each runs, and what its caller may choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

import attrs

from sockserv.execution.arguments import MAX_ARGUMENTS, ResourceLimits
from sockserv.execution.usage import CommandUsage
from sockserv.services.execution.policy.environment import Names
from sockserv.services.execution.policy.parameters import (
    Parameter,
    PathInFolder,
    WrongValue,
)
from sockserv.services.execution.policy.templates import Word
from sockserv.services.execution.policy.terms import Latitude, Terms, refuse
from sockserv.services.files.folders import Folder

__all__ = ["NamedCommand"]


@attrs.frozen(kw_only=True)
class NamedCommand:
    """A command by its name, as `commands.toml` has it.

    `words` are what is run, the first one an absolute path without places. `parameters` come in the order in which
    their places stand there, and so do the values of a caller; only the last one may be repeated.
    """

    name: str
    words: tuple[Word, ...]
    parameters: tuple[Parameter, ...] = ()
    description: str = ""
    env: Mapping[str, str] = attrs.field(factory=dict)
    env_allowed: Names = attrs.field(factory=Names)
    cwd: str | None = None
    user: str | None = None
    timeout_seconds: float | None = None
    output_limit_bytes: int | None = None
    limits: ResourceLimits = attrs.field(factory=ResourceLimits)
    nice: int | None = None
    stdin: bool = False
    terminal: bool = False

    @property
    def program(self) -> str:
        """The path of what is run."""
        return "".join(self.words[0].filled({}))

    @property
    def usage(self) -> str:
        """How it is called: `flash PORT IMAGE [SPEED]`."""
        return " ".join((self.name, *(parameter.usage for parameter in self.parameters)))

    def as_usage(self) -> CommandUsage:
        """What its callers are told of it."""
        return CommandUsage(
            rule=self.name,
            usage=self.usage,
            description=self.description,
            parameters=tuple(parameter.as_usage() for parameter in self.parameters),
        )

    @property
    def has_paths(self) -> bool:
        """Whether some value is looked for on a disk."""
        return any(isinstance(parameter.kind, PathInFolder) for parameter in self.parameters)

    def check(self, values: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The values of each parameter, checked but for what is on a disk. Raises `Refused`."""
        given: dict[str, tuple[str, ...]] = {}
        rest = tuple(values)
        for parameter in self.parameters:
            count = len(rest) if parameter.is_repeated else 1
            taken, rest = rest[:count], rest[count:]
            if not taken and parameter.default is not None:
                taken = (parameter.default,)
            if not parameter.min_count <= len(taken) <= parameter.max_count:
                self._refuse_count(len(values), parameter)
            for value in taken:
                try:
                    parameter.check(value)
                except WrongValue as error:
                    self._refuse_value(parameter, error)
            given[parameter.name] = taken
        if rest:
            self._refuse_count(len(values), None)
        return given

    def resolve(
        self, given: Mapping[str, tuple[str, ...]], folder: Folder
    ) -> dict[str, tuple[str, ...]]:
        """The values with absolute paths in a folder for those that are paths. Blocks; raises `Refused`."""
        resolved = dict(given)
        for parameter in self.parameters:
            kind = parameter.kind
            if isinstance(kind, PathInFolder):
                try:
                    paths = tuple(kind.resolve(value, folder) for value in given[parameter.name])
                except WrongValue as error:
                    self._refuse_value(parameter, error)
                resolved[parameter.name] = paths
        return resolved

    def terms(self, given: Mapping[str, tuple[str, ...]]) -> Terms:
        """The terms of the command with these values.

        Raises `Refused` where they make an option of what is none, or too many words.
        """
        argv: list[str] = []
        for word in self.words:
            filled = word.filled(given)
            if any(each.startswith("-") for each in filled) and not self._may_be_option(word):
                refuse(self.name, f"{filled[0][:100]!r} would be an option; use another value")
            argv.extend(filled)
        if len(argv) > MAX_ARGUMENTS:
            refuse(self.name, f"that becomes {len(argv)} words, and {MAX_ARGUMENTS} is the most")
        return Terms(
            rule=self.name,
            argv=tuple(argv),
            latitude=Latitude.NOTHING,
            variables=self.env_allowed,
            fixed=self.env,
            cwd=self.cwd,
            user=self.user,
            timeout_seconds=self.timeout_seconds,
            output_limit_bytes=self.output_limit_bytes,
            limits=self.limits,
            nice=self.nice,
            takes_stdin=self.stdin,
            takes_terminal=self.terminal,
        )

    def _may_be_option(self, word: Word) -> bool:
        """Whether it was written as an option, or all that is put into it may be one."""
        if word.begins_with_dash:
            return True
        return all(each.kind.takes_options for each in self.parameters if each.name in word.places)

    def _refuse_value(self, parameter: Parameter, error: WrongValue) -> NoReturn:
        refuse(self.name, f"{parameter.name}: {error}")

    def _refuse_count(self, count: int, parameter: Parameter | None) -> NoReturn:
        if (
            parameter is not None
            and count
            and parameter.is_repeated
            and parameter.max_count < count
        ):
            refuse(
                self.name,
                f"{parameter.name}: takes at most {parameter.max_count} values; it is used so: {self.usage}",
            )
        were = "value was" if count == 1 else "values were"
        refuse(self.name, f"{count} {were} given; it is used so: {self.usage}")
