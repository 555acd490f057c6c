"""On which line of a TOML text something stands, which no reader of TOML tells.

The text has been read as TOML before, so that nothing here looks for mistakes: only for where keys, elements of
arrays and headers of tables begin (TOML 1.0, https://toml.io/en/v1.0.0).
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

import attrs

__all__ = ["Header", "Place", "Places"]

Place = tuple[str | int, ...]
"""A way through a document: `("alice", "tokens", 0, "expires")`."""

_TOKEN: Final = re.compile(
    r"""
      (?P<space>[ \t\r]+|\#[^\n]*)
    | (?P<newline>\n)
    | (?P<string>\"{3}(?:[^\\]|\\.)*?\"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\]|\\.)*"|'[^']*')
    | (?P<mark>[\[\]{},=.])
    | (?P<bare>[^\s\[\]{},=."'\#]+)
    """,
    re.VERBOSE | re.DOTALL,
)


@attrs.frozen
class Header:
    """The header of a table: the offset in the text where it begins, with comments right above it, and the table's
    name.
    """

    offset: int
    table: Place


class Places:
    """The places of everything in a TOML text."""

    def __init__(self, text: str) -> None:
        self.headers: list[Header] = []
        """All headers of tables, in their order."""
        self._lines: dict[Place, int] = {}
        self._text = text
        self._tokens = _TOKEN.finditer(text)
        self._line = 1
        self._kind = ""
        self._token = ""
        self._offset = 0
        self._lengths: dict[Place, int] = {}
        self._statement_end = 0
        self._advance()
        self._read_document()

    def line_of(self, place: Place) -> int:
        """The line, counted from 1, on which it stands; where it does not stand, that of what would hold it."""
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 1)

    def _advance(self) -> None:
        """Go to the next token that is not blank; in the end its kind is empty."""
        self._line += self._token.count("\n")
        for token in self._tokens:
            if token.lastgroup != "space":
                self._kind = token.lastgroup or ""
                self._token = token.group()
                self._offset = token.start()
                return
        self._kind = self._token = ""

    def _skip(self, *tokens: str) -> bool:
        """Pass over the token if it is one of these; whether it was."""
        if self._token in tokens:
            self._advance()
            return True
        return False

    def _read_document(self) -> None:
        table: Place = ()
        while self._kind:
            if self._kind == "newline":
                self._advance()
                continue
            if self._token == "[":
                table = self._read_header()
            else:
                self._read_pair(table)
            self._statement_end = self._offset

    def _read_header(self) -> Place:
        line = self._line
        offset = self._begin_of_comments(self._text.rfind("\n", 0, self._offset) + 1)
        self._advance()
        is_element = self._skip("[")
        table: Place = ()
        *parents, last = self._read_key()
        for key in parents:
            table = (*table, key)
            if table in self._lengths:
                table = (*table, self._lengths[table] - 1)
        table = (*table, last)
        if is_element:
            length = self._lengths[table] = self._lengths.get(table, 0) + 1
            self._lines.setdefault(table, line)
            table = (*table, length - 1)
        self._skip("]")
        self._skip("]")
        self._lines[table] = line
        self._lines.setdefault(table[:1], line)
        self.headers.append(Header(offset, table))
        return table

    def _begin_of_comments(self, offset: int) -> int:
        """Where the comments begin that stand right above the line at an offset."""
        while True:
            above = self._text.rfind("\n", 0, max(0, offset - 1)) + 1
            is_comment = self._text[above:offset].lstrip().startswith("#")
            if not is_comment or above < self._statement_end:
                return offset
            offset = above

    def _read_key(self) -> list[str]:
        parts = []
        while True:
            is_quoted = self._kind == "string"
            parts.append(tomllib.loads(f"k={self._token}")["k"] if is_quoted else self._token)
            self._advance()
            if not self._skip("."):
                return parts

    def _read_pair(self, table: Place) -> None:
        line = self._line
        for key in self._read_key():
            table = (*table, key)
            self._lines.setdefault(table, line)
        self._skip("=")
        self._read_value(table)

    def _read_value(self, place: Place) -> None:
        if self._skip("["):
            self._read_array(place)
        elif self._skip("{"):
            while self._kind and not self._skip("}"):
                # Newlines and a comma at the end are TOML 1.1.
                if not self._skip(",", "\n"):
                    self._read_pair(place)
        else:
            self._advance()
            while self._kind in ("string", "bare") or self._token == ".":
                self._advance()

    def _read_array(self, place: Place) -> None:
        number = 0
        while self._kind and not self._skip("]"):
            if self._skip(","):
                number += 1
            elif not self._skip("\n"):
                self._lines[(*place, number)] = self._line
                self._read_value((*place, number))
