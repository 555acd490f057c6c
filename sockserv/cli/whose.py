"""The option that says whose jobs a command is about."""

from __future__ import annotations

from typing import Final

import click

__all__ = ["whose_option"]

whose_option: Final = click.option(
    "--identity", metavar="NAME", help="Whose job it is, if not ours; that needs `admin`."
)
