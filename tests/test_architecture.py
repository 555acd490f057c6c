"""Imports run one way, only the outermost modules touch the reactor, and no room grows a second purpose.

The tables are the rule. A module without a row is a failure, so that a new room gets one deliberately.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sockserv"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
"""Without the docstring, which is never too long."""

PURE = {"errors", "limits"}
"""What every room may import."""

MAY_IMPORT: dict[str, set[str]] = {
    # The core: bytes in, events out.
    "errors": set(),
    "limits": set(),
    "urls": set(),
    "wire": set(),
    # What both ends of a file transfer, of a remote command, or of a chat, go by.
    "files": set(),
    "execution": set(),
    "chat": set(),
    # What small programs of one thread go by that start and end processes.
    "processes": set(),
    # A job that is kept, outside of the daemon: its folder, and the process that looks after it.
    "keeping": {"atomic", "execution", "processes"},
    # What more than one room does with files.
    "atomic": set(),
    "tables": set(),
    # Between the core and the composition roots. Services and net do not know each other.
    "net": {"wire"},
    "trust": {"atomic", "tables", "urls"},
    "tls": {"wire", "net", "trust", "endpoints", "atomic"},
    "services": {"trust", "files", "execution", "processes", "keeping", "chat", "tables"},
    # The server's side.
    "server": {"wire", "net", "services", "trust", "tls", "chat"},
    "endpoints": {"urls"},
    "machine": set(),
    "settings": {"endpoints", "state", "tables", "classic"},
    "state": {"atomic"},
    # The formats of the tutorial: clients of the daemon within its own process.
    "classic": {"client", "net", "wire", "files", "chat", "endpoints", "tables"},
    # What joins all of the server's side; the clients are those of the classic dialects.
    "daemon": {"net", "server", "services", "trust", "tls", "settings", "state", "urls"}
    | {"endpoints", "machine", "classic", "client"},
    "tap": {"daemon", "endpoints", "settings", "classic"},
    # The client's side: the command reaches a daemon only through the client; of trust it reads the audit log.
    "client": {"wire", "net", "tls", "state", "urls", "atomic", "tables", "files"}
    | {"execution", "chat"},
    "cli": {"client", "settings", "state", "urls", "files", "execution", "chat", "trust", "tls"}
    | {"machine"},
    "__main__": {"cli"},
    # The public names: nobody inside the house imports them.
    "__init__": {"server", "services", "trust", "client"},
    # The test kit may look into everything but the two commands.
    "testing": {"__init__", "wire", "net", "trust", "services", "server", "daemon", "settings"}
    | {"endpoints", "state", "client", "execution"},
}
"""Which rooms (the first part of a module's name below `sockserv`) each room imports, beside itself and `PURE`."""

WITHOUT_TWISTED = PURE | {
    "urls",
    "wire",
    "files",
    "execution",
    "chat",
    "processes",
    "keeping",
    "atomic",
    "tables",
    "endpoints",
    "settings",
    "state",
}
"""Rooms that are used before a reactor is chosen, or without one."""

WITH_THE_REACTOR = {"cli", "tap"}
"""Rooms that import the global reactor; everything else is handed it."""

CONSTANTS = {"__version__"}
"""Names of the package itself that every room may import."""


def room_of(path: Path, package: Path) -> str:
    """`sockserv/wire/framing.py` is in the room `wire`, `sockserv/server/logins.py` is in the room `server`."""
    return path.relative_to(package).with_suffix("").parts[0]


@cache
def statements_of(path: Path) -> tuple[ast.AST, ...]:
    """Every statement in the file, at whatever depth.

    Expressions are left out: they hold most nodes, and no imports.
    """
    found: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"), str(path))]
    for node in found:
        for field in ("body", "orelse", "handlers", "finalbody", "cases"):
            found += getattr(node, field, ())
    return tuple(found)


def imports_of(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Every import statement in the file, at whatever depth: its line, and the module or name it names in full."""
    here = (package.name, *path.relative_to(package).with_suffix("").parts)
    for node in statements_of(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = [*here[: -node.level]] if node.level else []
            for alias in node.names:
                yield node.lineno, ".".join([*base, *filter(None, [node.module]), alias.name])


def target_room(name: str, package: Path) -> str | None:
    """Which room of the package an imported name is in; None when that is of no concern."""
    root, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    if root != package.name or first in CONSTANTS:
        return None
    return first if first in MAY_IMPORT else "__init__"


def is_reactor(name: str) -> bool:
    return f"{name}.".startswith("twisted.internet.reactor.")


def import_breaches(path: Path, package: Path) -> Iterator[str]:
    room = room_of(path, package)
    if room not in MAY_IMPORT:
        yield f"{path}: the room {room!r} has no row in MAY_IMPORT"
        return
    allowed = MAY_IMPORT[room] | PURE | {room}
    if room in PURE:
        allowed = {room}
    for line, name in imports_of(path, package):
        target = target_room(name, package)
        if target is not None and target not in allowed:
            yield f"{path}:{line}: {room} must not import {name}"
        if room in WITHOUT_TWISTED and name.split(".")[0] == "twisted":
            yield f"{path}:{line}: {room} must not import Twisted ({name})"
        if room not in WITH_THE_REACTOR and is_reactor(name):
            yield f"{path}:{line}: {room} must be handed the reactor, not import it"


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if ast.get_docstring(node) is None:
        return 0
    return (first.end_lineno or first.lineno) - first.lineno + 1


def size_breaches(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{path}: {lines} lines"
    for node in statements_of(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines"


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_keeps_to_the_plan(path: Path) -> None:
    assert [*import_breaches(path, PACKAGE), *size_breaches(path)] == []


def test_every_room_in_the_table_has_a_row() -> None:
    """A row that names a room without a row would never be checked."""
    named = set().union(*MAY_IMPORT.values())
    assert named <= MAY_IMPORT.keys()


def test_nobody_imports_the_test_kit_or_the_commands() -> None:
    for room, allowed in MAY_IMPORT.items():
        assert "testing" not in allowed
        assert "tap" not in allowed
        assert ("cli" in allowed) == (room == "__main__")


def plant(tmp_path: Path, where: str, source: str) -> tuple[Path, Path]:
    package = tmp_path / "sockserv"
    path = package / where
    path.parent.mkdir(parents=True)
    path.write_text(source)
    return path, package


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("wire/framing.py", "import twisted"),
        ("wire/framing.py", "from twisted.internet import defer"),
        ("wire/framing.py", "from sockserv import net"),
        ("wire/framing.py", "from sockserv import SomePublicName"),
        ("wire/framing.py", "import sockserv"),
        ("wire/framing.py", "from sockserv.net.peer import Peer"),
        ("wire/framing.py", "from ..net.peer import Peer"),
        ("wire/framing.py", "from .. import net"),
        ("wire/framing.py", "if True:\n    import sockserv.net.peer"),
        ("wire/framing.py", "def late():\n    import sockserv.net.peer"),
        ("errors.py", "from sockserv.limits import Limits"),
        ("net/peer.py", "from sockserv.services import Service"),
        ("net/peer.py", "from twisted.internet import reactor"),
        ("net/peer.py", "import twisted.internet.reactor"),
        ("net/peer.py", "from twisted.internet.reactor import callLater"),
        ("services/echo.py", "from sockserv.net.peer import Peer"),
        ("services/echo.py", "from sockserv.wire import framing"),
        ("client/api.py", "import sockserv.testing"),
        ("cli/echo.py", "from sockserv.server import Server"),
        ("cli/echo.py", "from sockserv.wire import framing"),
        ("cellar/door.py", "import os"),
        ("settings.py", "from twisted.python import usage"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, where: str, source: str) -> None:
    assert len(list(import_breaches(*plant(tmp_path, where, source)))) == 1


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("wire/framing.py", "import os, msgspec\nfrom sockserv.errors import ProtocolError"),
        ("wire/framing.py", "from sockserv.wire import messages\nfrom . import messages"),
        ("wire/framing.py", "from ..limits import Limits"),
        ("net/peer.py", "from twisted.internet.interfaces import IReactorTCP"),
        ("net/peer.py", "from sockserv import __version__"),
        ("cli/echo.py", "from twisted.internet import reactor"),
        ("tap.py", "def late():\n    from twisted.internet import reactor"),
        ("server.py", "from sockserv.net.factory import Factory\nfrom sockserv import services"),
        ("testing/kit.py", "from sockserv import SomePublicName"),
    ],
)
def test_what_is_allowed_is_let_through(tmp_path: Path, where: str, source: str) -> None:
    assert list(import_breaches(*plant(tmp_path, where, source))) == []


@pytest.mark.parametrize(("lines", "breaches"), [(MAX_FILE_LINES, 0), (MAX_FILE_LINES + 1, 1)])
def test_the_length_of_a_file(tmp_path: Path, lines: int, breaches: int) -> None:
    path, _ = plant(tmp_path, "server.py", "pass\n" * lines)
    assert len(list(size_breaches(path))) == breaches


@pytest.mark.parametrize(
    ("lines", "breaches"), [(MAX_FUNCTION_LINES, 0), (MAX_FUNCTION_LINES + 1, 1)]
)
@pytest.mark.parametrize(
    "head", ["def f():\n", "async def f():\n", 'def f():\n    """Two\n    lines."""\n']
)
def test_the_length_of_a_function(tmp_path: Path, head: str, lines: int, breaches: int) -> None:
    path, _ = plant(tmp_path, "server.py", head + "    pass\n" * (lines - 1))
    assert len(list(size_breaches(path))) == breaches
