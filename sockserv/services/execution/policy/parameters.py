"""The parameters of named commands: which values each takes.

A value is checked here, and used as it is; nothing in it is interpreted by anybody but the program that gets it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from enum import StrEnum
from typing import Final, Protocol

import attrs

from sockserv.execution.usage import ParameterUsage
from sockserv.files.errors import FilesError
from sockserv.files.names import components
from sockserv.services.execution.policy.patterns import Pattern
from sockserv.services.files.folders import Folder

__all__ = [
    "MAX_INTEGER",
    "MAX_VALUE_CHARACTERS",
    "Choice",
    "Expected",
    "Integer",
    "Kind",
    "Parameter",
    "PathInFolder",
    "Text",
    "WrongValue",
]

MAX_VALUE_CHARACTERS: Final = 1024
"""The most that a pattern may be given."""
MAX_INTEGER: Final = 2**63 - 1

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_MAX_TOLD: Final = 12


class WrongValue(ValueError):
    """A parameter does not take a value; the message says what it takes."""


class Kind(Protocol):
    """What values a parameter takes."""

    @property
    def takes_options(self) -> bool:
        """Whether a value may begin with a dash."""

    @property
    def is_free(self) -> bool:
        """Whether its values are texts of the caller's own."""

    def check(self, value: str) -> None:
        """Raises `WrongValue`."""

    def __str__(self) -> str:
        """What it takes, in a few words."""


@attrs.frozen
class Choice:
    """One of some words, which may be anything: they were written down."""

    choices: tuple[str, ...]
    takes_options = True
    is_free = False

    def check(self, value: str) -> None:
        """Raises `WrongValue` for what is none of them."""
        if value not in self.choices:
            raise WrongValue(f"expected {self}, not {_shown(value)}")

    def __str__(self) -> str:
        told = " or ".join(self.choices[:_MAX_TOLD])
        return f"{told} or others" if len(self.choices) > _MAX_TOLD else told


@attrs.frozen
class Integer:
    """A whole number, both bounds included, in the one way to write it."""

    min: int
    max: int
    takes_options = True
    is_free = False

    def check(self, value: str) -> None:
        """Raises `WrongValue` for what is no number, or out of the bounds."""
        if not _INTEGER.fullmatch(value) or not self.min <= int(value) <= self.max:
            raise WrongValue(f"expected {self}, not {_shown(value)}")

    def __str__(self) -> str:
        return f"a whole number from {self.min} to {self.max}"


@attrs.frozen
class Text:
    """A text that fits a pattern."""

    pattern: Pattern
    max_length: int
    takes_options: bool = False
    is_free = True

    def check(self, value: str) -> None:
        """Raises `WrongValue` for what does not fit, is too long, or cannot be seen."""
        if len(value) > self.max_length:
            raise WrongValue(f"expected at most {self.max_length} characters, not {len(value)}")
        if not value.isprintable():
            raise WrongValue(f"expected one line without control characters, not {_shown(value)}")
        if not self.pattern.fits(value):
            raise WrongValue(f"expected {self}, not {_shown(value)}")

    def __str__(self) -> str:
        return f"a text of at most {self.max_length} characters that fits {self.pattern.text}"


class Expected(StrEnum):
    """What has to be at a path."""

    FILE = "file"
    """A regular file."""
    DIRECTORY = "directory"
    NEW = "new"
    """Nothing, in a directory that is there."""
    ANYTHING = "anything"
    """A file, a directory, or nothing in a directory that is there."""


@attrs.frozen
class PathInFolder:
    """A path in the folder that the caller has for files, by its names from there on.

    The command is given the absolute path. No part of it below the folder is a link when it is looked at, right before
    the command starts; who can put a link there meanwhile can lead the command elsewhere. By way of the files service
    nobody can: it makes none.
    """

    expected: Expected
    takes_options = True  # an absolute path begins with no dash
    is_free = False

    def check(self, value: str) -> None:
        """Raises `WrongValue` for what cannot be a path in a folder, wherever that is."""
        if any(character < " " or "\x7f" <= character <= "\x9f" for character in value):
            raise WrongValue(f"expected a path without control characters, not {_shown(value)}")
        try:
            names = components(value)
        except FilesError as error:
            raise WrongValue(f"expected a path in your folder: {error}") from None
        if not names and self.expected is Expected.NEW:
            raise WrongValue(f"expected the path of something new, not {_shown(value)}")

    def resolve(self, value: str, folder: Folder) -> str:
        """The absolute path. Blocks; raises `WrongValue` where there is not what is expected there."""
        try:
            if self.expected in (Expected.FILE, Expected.DIRECTORY):
                folder.check_reading()
            elif self.expected is Expected.NEW:
                folder.check_adding()
            else:
                folder.check_changing()
            self._check_there(value, folder)
        except FilesError as error:
            raise WrongValue(str(error)) from None
        # The command runs in another directory than we do.
        return os.path.join(os.getcwd(), *folder.place, *components(value))

    def _check_there(self, value: str, folder: Folder) -> None:
        if not components(value):
            mode: int | None = stat.S_IFDIR
            with folder.jail.directory(value):
                pass
        else:
            with folder.jail.parent(value) as (parent, name):
                mode = _mode(name, parent)
        if mode is None:
            if self.expected in (Expected.NEW, Expected.ANYTHING):
                return
            raise WrongValue(f"{value!r}: there is no such {self.expected}")
        if self.expected is Expected.NEW:
            raise WrongValue(f"{value!r}: it exists already")
        is_file, is_directory = stat.S_ISREG(mode), stat.S_ISDIR(mode)
        if self.expected is Expected.FILE and not is_file:
            raise WrongValue(f"{value!r} is not a file")
        if self.expected is Expected.DIRECTORY and not is_directory:
            raise WrongValue(f"{value!r} is not a directory")
        if not is_file and not is_directory:
            raise WrongValue(f"{value!r} is neither a file nor a directory")

    def __str__(self) -> str:
        return {
            Expected.FILE: "the path of a file in your folder",
            Expected.DIRECTORY: "the path of a directory in your folder",
            Expected.NEW: "the path of something new in your folder",
            Expected.ANYTHING: "a path in your folder",
        }[self.expected]


def _mode(name: str, parent: int) -> int | None:
    """The mode of what has a name in a directory, of a link that of the link; None where there is nothing."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


@attrs.frozen(kw_only=True)
class Parameter:
    """A parameter of a command.

    `default` is what stands for it where it is left out, None for one that has to be there. A repeated one takes
    `min_count` to `max_count` values; others one.
    """

    name: str
    kind: Choice | Integer | Text | PathInFolder
    default: str | None = None
    min_count: int = 1
    max_count: int = 1
    is_repeated: bool = False
    description: str = ""

    @property
    def usage(self) -> str:
        """How it stands in a line that tells how the command is used."""
        name = self.name.upper()
        if self.is_repeated:
            return f"[{name}]..." if self.min_count == 0 else f"{name}..."
        return name if self.default is None else f"[{name}]"

    def as_usage(self) -> ParameterUsage:
        """What callers are told of it."""
        takes = str(self.kind)
        if self.is_repeated:
            takes += f", {self.min_count} to {self.max_count} times"
        return ParameterUsage(
            name=self.name, takes=takes, default=self.default, description=self.description
        )

    def check(self, value: str) -> None:
        """Raises `WrongValue` for a value that it does not take."""
        if value.startswith("-") and not self.kind.takes_options:
            raise WrongValue(f"a value that begins with - is refused: {_shown(value)}")
        self.kind.check(value)


def _shown(value: str) -> str:
    return repr(value if len(value) <= 100 else f"{value[:99]}…")
