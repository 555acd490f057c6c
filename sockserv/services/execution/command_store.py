"""The file `commands.toml`, which the owner edits while the daemon runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockserv.trust.edited_file import EditedFile
from sockserv.trust.toml_text import toml_document

if TYPE_CHECKING:
    from sockserv.services.execution.policy.configuration import Configuration

__all__ = ["CommandStore"]

_FIRST_CONTENT: Final = """\
# Commands that others may run by their names. Changes take effect within seconds; the daemon's log says what is wrong
# with one. Who may run which stands in identities.toml: exec = ["backup"]. docs/exec.md has all that can be said here.
#
# [commands.backup]
# description = "Save a database"
# argv = ["/usr/bin/pg_dump", "--no-password", "{database}"]
#
# [commands.backup.parameters.database]
# type = "choice"
# choices = ["lab", "archive"]
"""


class CommandStore:
    """What the file of a path says. Making one reads the file, and makes it if there is none.

    Raises `EditedFileError` when it cannot be used. `file_clock` is the clock that times of files go by, in seconds
    since 1970.
    """

    def __init__(self, path: Path, *, file_clock: Callable[[], float] = time.time) -> None:
        self._file = EditedFile(path, clock=file_clock)
        self._configuration = self._parse(self._file.first_text(_FIRST_CONTENT))

    @property
    def configuration(self) -> Configuration:
        """What the file said when it was read last, and could be used. Never waits for the file."""
        if self._configuration is None:
            from sockserv.services.execution.policy.configuration import Configuration

            return Configuration()
        return self._configuration

    def refresh(self) -> bool:
        """Read the file again if it has changed; returns whether it had. Blocks, in one thread at a time.

        Raises `EditedFileError`; what was said before stays in force then.
        """
        text = self._file.changed_text()
        if text is None:
            return False
        self._configuration = self._parse(text)
        return True

    def _parse(self, text: str) -> Configuration | None:
        """What the text says; None for nothing. Raises `EditedFileError`."""
        file = self._file.path.name
        if not toml_document(text, file=file):
            return None
        # Imported late: many daemons have no commands, and start sooner without what knows all that can be said of
        # them.
        from sockserv.services.execution.policy.configuration import parse_configuration

        return parse_configuration(text, file=file)
