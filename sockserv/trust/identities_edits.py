"""Changes to the text of an identities file that leave alone what a person has written around them.

Only the tables of one identity are taken out of the text, changed, and put back: the rest stays byte for byte, and the
time does not grow with everybody else's tables.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

import tomlkit
from tomlkit.container import Container
from tomlkit.items import Array, InlineTable, Table

from sockserv.trust.identities_file import Entry, KeptToken, normal_name
from sockserv.trust.toml_places import Places

__all__ = ["with_entry", "with_replaced_token", "with_token", "without_entry"]


def with_entry(text: str, entry: Entry) -> str:
    """The text with a table for a new identity at its end, which has no credentials but tokens."""
    table = tomlkit.table()
    grants = entry.grants
    for field in ("echo", "exec", "chat", "admin", "permissions"):
        value = getattr(grants, field)
        if value:
            table[field] = list(value) if isinstance(value, tuple) else value
    if grants.files is not None:
        files: dict[str, Any] = {"root": grants.files.root, "access": grants.files.access.value}
        if grants.files.inbox is not None:
            files["inbox"] = grants.files.inbox
        table["files"] = _inline(files)
    tokens = table["tokens"] = tomlkit.array()
    for token in entry.tokens:
        tokens.append(_inline_token(token))
    document = tomlkit.document()
    document[entry.name] = table
    blank = "\n" if text else ""
    return f"{_ended(text)}{blank}{tomlkit.dumps(document)}"


def without_entry(text: str, name: str) -> str:
    """The text without the tables of an identity. Comments outside of them stay."""

    def remove(document: Container, key: str) -> None:
        del document[key]

    return _with_tables_changed(text, name, remove)


def with_token(text: str, name: str, token: KeptToken) -> str:
    """The text with one more token for an identity."""

    def add(document: Container, key: str) -> None:
        table: Any = document[key]
        if "tokens" not in table:
            table["tokens"] = tomlkit.array()
        tokens = table["tokens"]
        is_inline = isinstance(tokens, Array)
        tokens.append(_inline_token(token) if is_inline else _table_of_token(token))

    return _with_tables_changed(text, name, add)


def with_replaced_token(text: str, name: str, old_sha256: str, new_sha256: str) -> str:
    """The text with another hash in the place of that of a token."""

    def replace(document: Container, key: str) -> None:
        table: Any = document[key]
        for token in table["tokens"]:
            if token["sha256"].lower() == old_sha256:
                token["sha256"] = new_sha256

    return _with_tables_changed(text, name, replace)


def _with_tables_changed(text: str, name: str, change: Callable[[Container, str], None]) -> str:
    """The text with what `change` has done to a document of one identity's tables, under the key that it is given."""
    text = _ended(text)
    headers = Places(text).headers
    borders = [0, *(header.offset for header in headers), len(text)]
    sections = [text[begin:end] for begin, end in pairwise(borders)]
    own = [n for n, header in enumerate(headers, 1) if _is(header.table[0], name)]
    # Before the first header stand tables that are written without one: `alice = { ... }`, `alice.echo = true`.
    if any(_is(key, name) for key in tomllib.loads(sections[0])):
        own.insert(0, 0)
    document = tomlkit.parse("".join(sections[n] for n in own))
    change(document, next(key for key in document if _is(key, name)))
    for n in own:
        sections[n] = ""
    sections[own[0]] = tomlkit.dumps(document)
    return "".join(sections)


def _ended(text: str) -> str:
    """The text with an end to its last line."""
    return f"{text}\n" if text and not text.endswith("\n") else text


def _is(key: str | int, name: str) -> bool:
    return normal_name(str(key)) == name


def _inline_token(token: KeptToken) -> InlineTable:
    return _inline(_token_fields(token))


def _table_of_token(token: KeptToken) -> Table:
    table = tomlkit.table()
    table.update(_token_fields(token))
    return table


def _token_fields(token: KeptToken) -> dict[str, str | datetime]:
    fields: dict[str, str | datetime] = {"sha256": token.sha256}
    if token.expires is not None:
        fields["expires"] = token.expires
    return fields


def _inline(fields: Mapping[str, Any]) -> InlineTable:
    """A table in one line."""
    table = tomlkit.inline_table()
    table.update(fields)
    return table
