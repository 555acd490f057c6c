"""Paths at the server, as people type them."""

from __future__ import annotations

from typing import Any

import attrs
import click

from sockserv.files.errors import FilesError
from sockserv.files.names import components

__all__ = ["REMOTE", "Remote"]


@attrs.frozen
class Remote:
    """A path at the server; `is_folder` says that it was written as that of a folder to put things into."""

    path: str
    is_folder: bool

    @property
    def name(self) -> str:
        """The last name in it; none for the root."""
        return self.path.rpartition("/")[2]

    def below(self, name: str) -> str:
        """The path of something in it."""
        return f"{self.path}/{name}" if self.path else name


class RemoteType(click.ParamType):  # type: ignore[type-arg]  # older versions of click take none
    """A path at the server.

    It counts from the folder of the identity on, with a "/" before it, too; what means nothing is left out.
    """

    name = "remote"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Remote:
        """The path that was meant."""
        if isinstance(value, Remote):
            return value
        if value == "-":
            self.fail("- stands for a standard stream; a file of that name is ./-", param, ctx)
        names = [name for name in value.split("/") if name not in ("", ".")]
        path = "/".join(names)
        try:
            components(path)
        except FilesError as error:
            self.fail(f"not a path at the server: {error}", param, ctx)
        return Remote(path, not path or value.endswith(("/", "/.")))


REMOTE = RemoteType()
