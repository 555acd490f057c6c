"""A daemon that nobody has asked for anything has imported little more than what listens."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sockserv.daemon.loading import LATE_PARTS, load_late_parts
from tests.test_architecture import PACKAGE, ROOT


def path_of(module: str) -> str | None:
    """The file of a module of ours; None for a name in one, and for what is not ours."""
    place = ROOT.joinpath(*module.split("."))
    for path in (place / "__init__.py", place.with_suffix(".py")):
        if path.is_file():
            return str(path)
    return None


def imported_at_once(module: str) -> Iterator[str]:
    """Modules of ours that a module imports when it is imported itself, with the packages that they are in."""
    with open(path_of(module) or "", encoding="utf-8") as file:
        statements = ast.parse(file.read()).body
    for statement in statements:
        if isinstance(statement, ast.ImportFrom) and statement.module is not None:
            names = [statement.module, *(f"{statement.module}.{a.name}" for a in statement.names)]
        elif isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == PACKAGE.name and path_of(name) is not None:
                parts = name.split(".")
                yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def imported_with(*modules: str) -> frozenset[str]:
    """These modules, and all of ours that are imported when they are."""
    seen = {*modules}
    waiting = [*seen]
    while waiting:
        new = {*imported_at_once(waiting.pop())} - seen
        seen |= new
        waiting += new
    return frozenset(seen)


@cache
def imported_at_the_start() -> frozenset[str]:
    return imported_with("sockserv.tap", "sockserv.daemon")


def imported_within_functions(path: Path) -> Iterator[str]:
    """Modules of ours that are imported when a function of this file runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in ast.walk(function):
                if isinstance(statement, ast.ImportFrom):
                    module = statement.module or ""
                    if module.partition(".")[0] == PACKAGE.name and path_of(module) is not None:
                        yield module


def test_what_listens_is_there() -> None:
    assert {"sockserv.daemon.listening", "sockserv.net.peer"} <= imported_at_the_start()


@pytest.mark.parametrize(
    "what",
    [
        "services.admin",
        "services.chat",
        "services.execution.assembly",
        "services.execution.policy",
        "services.files",
        "server.chat_datagrams",
        "wire.datagrams",
        "keeping",
        "processes",
        "tls",
        "client",
        "daemon.dialects",
    ],
)
def test_what_is_used_when_somebody_asks_for_it_is_not(what: str) -> None:
    assert f"sockserv.{what}" not in imported_at_the_start()


BY_SETTINGS = {"daemon.dialects", "server.chat_datagrams", "tls"}
"""What is loaded at the start, where the settings ask for it."""


@pytest.mark.parametrize("room", ["daemon", "server", "services", "trust"])
def test_the_rest_is_loaded_right_after_the_start(room: str) -> None:
    """Before another version can be installed in its place."""
    loaded = imported_with("sockserv.tap", "sockserv.daemon", *LATE_PARTS)
    late = {
        module
        for path in (PACKAGE / room).rglob("*.py")
        for module in imported_within_functions(path)
        if not module.removeprefix("sockserv.").startswith(tuple(BY_SETTINGS))
    }
    assert late <= loaded


def test_all_of_it_is_there() -> None:
    load_late_parts()
    assert {*LATE_PARTS} <= {*sys.modules}
