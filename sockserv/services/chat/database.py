"""The database of a hub: its tables, and opening it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sockserv.errors import SockservError

__all__ = ["StoreError", "explained", "open_database"]

_VERSION: Final = 2
_BUSY_SECONDS: Final = 10.0

_SCHEMA: Final = """
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation TEXT NOT NULL,
    sender TEXT NOT NULL,
    device TEXT NOT NULL,
    number INTEGER NOT NULL,
    text TEXT NOT NULL,
    at REAL NOT NULL,
    UNIQUE (sender, device, number)
);
CREATE INDEX messages_of_conversation ON messages (conversation, id);
CREATE TABLE mail (
    member TEXT NOT NULL,
    id INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    PRIMARY KEY (member, id)
) WITHOUT ROWID;
CREATE INDEX mail_of_message ON mail (id);
CREATE TABLE received (member TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE read (
    member TEXT NOT NULL,
    conversation TEXT NOT NULL,
    id INTEGER NOT NULL,
    PRIMARY KEY (member, conversation)
) WITHOUT ROWID;
CREATE TABLE seen (member TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (text, content = '');
"""

_FROM_VERSION_1: Final = "DROP TABLE numbers; DROP TABLE rooms;"
"""What these said the indexes of the messages say as well."""


class StoreError(SockservError):
    """The messages cannot be read or written; the message says why."""


def open_database(path: Path | None) -> sqlite3.Connection:
    """The database in the file `path`, which is made if it is not there; None keeps it in memory.

    Raises `StoreError`. Not to be used in two threads at once.
    """
    with explained():
        if path is not None:
            # What SQLite makes beside it has the same mode.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(
            ":memory:" if path is None else path,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _prepare(database)
        except BaseException:
            database.close()
            raise
        return database


def _prepare(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    # With less, what was told to be stored could be gone after a power failure.
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA foreign_keys = ON")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version in (0, 1):
        change = _FROM_VERSION_1 if version else _SCHEMA
        database.executescript(
            f"BEGIN IMMEDIATE; {change} PRAGMA user_version = {_VERSION}; COMMIT"
        )
    elif version != _VERSION:
        raise StoreError(
            f"the messages were written by another version of sockserv ({version}, not {_VERSION})"
        )


@contextmanager
def explained() -> Iterator[None]:
    """Raises `StoreError` for what SQLite raises."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"the messages cannot be read or written: {error}") from error
