"""Ways out of a directory that people have found, as data: each is tried on every operation.

`Prison` is a directory with things outside of it that nobody in there may see or change.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

__all__ = ["ATTACKS", "SECRET", "Attack", "Prison"]

SECRET: Final = b"what nobody in there may see"


class Prison:
    """A root to attack, `root`, and what is outside of it: `outside/`, and `root-private/` beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.outside = folder / "outside"
        for path in (self.root / "folder", self.outside / "folder", folder / "root-private"):
            path.mkdir(parents=True)
        for path in (self.outside, self.outside / "folder", folder / "root-private"):
            (path / "secret").write_bytes(SECRET)
        (self.root / "file").write_bytes(b"inside")
        (self.root / "folder" / "file").write_bytes(b"inside")

    def seen_outside(self) -> dict[str, object]:
        """Everything that is outside: what it is called, what it is, and what is in it."""
        seen: dict[str, object] = {}
        for parent, folders, files in os.walk(self.folder):
            if Path(parent) == self.folder:
                folders.remove("root")
            for name in [*folders, *files]:
                path = Path(parent, name)
                status = path.lstat()
                content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
                seen[str(path)] = (status.st_mode, status.st_mtime_ns, content)
        return seen


@attrs.frozen
class Attack:
    """A path, and what has to be there for it.

    `is_name` says that it is a file's name like any other, however strange.
    """

    title: str
    path: str | Callable[[Prison], str]
    prepare: Callable[[Prison], object] = lambda prison: None
    is_name: bool = attrs.field(default=False, kw_only=True)

    def set_up(self, prison: Prison) -> str:
        """Prepare it; gives the path."""
        self.prepare(prison)
        return self.path if isinstance(self.path, str) else self.path(prison)


def _link(name: str, target: str | Callable[[Prison], Path]) -> Callable[[Prison], object]:
    def prepare(prison: Prison) -> None:
        leads_to = target if isinstance(target, str) else target(prison)
        (prison.root / name).symlink_to(leads_to)

    return prepare


def _chain(prison: Prison) -> None:
    (prison.root / "one").symlink_to("two")
    (prison.root / "two").symlink_to("folder/three")
    (prison.root / "folder" / "three").symlink_to(prison.outside)


def _socket(prison: Prison) -> None:
    # The path of a socket may not be long.
    here = os.open(".", os.O_RDONLY)
    os.chdir(prison.root)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket")
    finally:
        os.fchdir(here)
        os.close(here)


def _device(prison: Prison) -> None:
    try:
        os.mknod(prison.root / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        # Whoever may not make one has a link to one.
        (prison.root / "device").symlink_to("/dev/zero")


def _names() -> list[Attack]:
    """Paths that are no good whatever is there, or that are names like others for all that they look like."""
    refused = {
        "up": "..",
        "up and down": "../outside/secret",
        "up beside, where the names begin alike": "../root-private/secret",
        "down and up": "folder/../../outside/secret",
        "down and up, to stay": "folder/../file",
        "up at the end": "folder/..",
        "here and up": "./../outside/secret",
        "here": "./file",
        "here at the end": "folder/.",
        "absolute": "/etc/passwd",
        "absolute, twice": "//etc/passwd",
        "only slashes": "//",
        "two slashes": "folder//file",
        "a slash at the end": "file/",
        "a slash at the end of a directory": "folder/",
        "an end in between": "../outside/secret\0.jpg",
        "an end": "file\0",
        "only an end": "\0",
        "up with an end": "..\0/outside/secret",
        "a name too long": "x" * 256,
        "a name too long in bytes": "中" * 86,
        "a path too long": "x/" * 2048 + "x",
        "a very long path": "../" * 20_000 + "etc/passwd",
        "the name of an unfinished file": ".sockserv-partial-0",
        "the same for those who see no case": ".SockServ-Partial-0",
        "the same with what is not seen": ".sock\u200bserv-partial-0",
        "in an unfinished file": ".sockserv-partial-0/secret",
    }
    strange = {
        "up for another system": "..\\outside\\secret",
        "a drive": "C:\\outside\\secret",
        "a share": "\\\\localhost\\outside",
        "escaped, all of it": "%2e%2e%2foutside%2fsecret",
        "a URL": "file:.",
        "home": "~",
        "somebody's home": "~root",
        "variables": "$HOME",
        "a command": "$(touch outside)",
        "an option": "-rf",
        "three dots": "...",
        "dots and a space": ".. ",
        "a space and dots": " ..",
        "wide dots": "\uff0e\uff0e",
        "small dots": "\u2024\u2024",
        "dots with nothing between": ".\u200b.",
        "a slash that is none": "..\u2215outside",
        "a dot at the end": "file.",
        "a space at the end": "file ",
        "lines": "a\nb",
        "what a terminal obeys": "\x1b[2J\x1b]0;x\x07",
        "right to left": "\u202egpj.exe",
        "composed": "\u00e9",
        "decomposed": "e\u0301",
        "another case": "FILE",
        "a stream of another system": "file::$DATA",
        "a device of another system": "NUL",
        "a very long name": "x" * 255,
    }
    return [
        *(Attack(title, path) for title, path in refused.items()),
        *(Attack(title, path, is_name=True) for title, path in strange.items()),
    ]


ATTACKS: Final = [
    *_names(),
    Attack("absolute, as it really is", lambda prison: str(prison.outside / "secret")),
    Attack(
        "a link to a file outside", "link", _link("link", lambda prison: prison.outside / "secret")
    ),
    Attack("the same, relative", "link", _link("link", "../outside/secret")),
    Attack("a link to a file inside", "link", _link("link", "file")),
    Attack("a link to itself", "link", _link("link", "link")),
    Attack(
        "a link to what could be made", "link", _link("link", lambda prison: prison.outside / "new")
    ),
    Attack("a link to a directory outside", "link", _link("link", lambda prison: prison.outside)),
    Attack("through it", "link/secret", _link("link", lambda prison: prison.outside)),
    Attack("through it, to what could be made", "link/new", _link("link", "../outside")),
    Attack("through it, further", "link/folder/secret", _link("link", "../outside")),
    Attack("through it, late", "folder/link/secret", _link("folder/link", "../../outside")),
    Attack("through it, last", "folder/link", _link("folder/link", "../../outside")),
    Attack("a link to the root", "link/etc/passwd", _link("link", "/")),
    Attack("a link up", "link/outside/secret", _link("link", "..")),
    Attack("a link to a directory inside", "link/file", _link("link", "folder")),
    Attack("links to links", "one/secret", _chain),
    Attack("what the process has", "link/outside/secret", _link("link", "/proc/self/cwd")),
    Attack("the root of the process", "link/etc/passwd", _link("link", "/proc/self/root")),
    Attack("the memory of the process", "link/mem", _link("link", "/proc/self")),
    Attack("the input of the process", "link", _link("link", "/dev/stdin")),
    Attack("a FIFO", "fifo", lambda prison: os.mkfifo(prison.root / "fifo")),
    Attack("a FIFO on the way", "fifo/x", lambda prison: os.mkfifo(prison.root / "fifo")),
    Attack("a socket", "socket", _socket),
    Attack("a device", "device", _device),
    Attack("a device on the way", "device/x", _device),
    Attack("a file on the way", "file/x"),
    Attack("a file on the way, and up", "file/../../outside/secret"),
]
