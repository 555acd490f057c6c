"""The `sockserv` command: parse, call the client, show.

This module is the console script; it is all that is imported before Ctrl-C ends the process without
a traceback. Everything else is imported when it is needed, so that a command starts quickly.
"""

from __future__ import annotations

from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line of this process, and end it with an exit status of docs/cli.md."""
    from sockserv.cli import process

    process.prepare()
    from sockserv.cli.app import execute

    execute(process.arguments())
