"""Jobs as people name them: by a name, and whose they are."""

from __future__ import annotations

import re
from typing import Any, Final

import click

__all__ = ["JOB_NAME", "whose_option"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class _JobName(click.ParamType):  # type: ignore[type-arg]  # older versions of click take none
    """The name of a job."""

    name = "job"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, if it is one."""
        if not _NAME.fullmatch(value):
            self.fail(
                f"{value!r} is no name of a job: up to 64 letters of ASCII, digits, - and _, the first no - or _",
                param,
                ctx,
            )
        return str(value)


JOB_NAME: Final = _JobName()

whose_option: Final = click.option(
    "--identity", metavar="NAME", help="Whose job it is, if not ours; that needs `admin`."
)
