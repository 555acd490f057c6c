"""What an identity is given, as it is written down: checked here, whether a file or a call says it.

The rules of `exec` are only looked over here; what they allow is decided where commands are run, and where the root of
`files` is, where files are served.
"""

from __future__ import annotations

import re
from posixpath import normpath
from typing import Any, Final

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from sockserv.tables import FieldError, converted
from sockserv.trust.identities import FilesAccess, FilesGrant, Identity, Login

__all__ = ["COMMAND_NAME", "Grants", "GrantsTable", "check_rule"]

_PERMISSIONS_OF_FIELDS = ("echo", "exec", "files", "chat", "admin")
_PERMISSION = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,63}")
COMMAND_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
"""What a command can be called; `any` and `shell` are no commands."""
_MAX_ROOM_CHARACTERS = 64


class GrantsTable(msgspec.Struct, forbid_unknown_fields=True):
    """The fields that say what an identity is given, not checked yet beyond their types."""

    echo: bool = False
    exec: tuple[str, ...] = ()
    files: dict[str, Any] | UnsetType = UNSET
    chat: tuple[str, ...] = ()
    admin: bool = False
    permissions: tuple[str, ...] = ()


class _FilesTable(msgspec.Struct, forbid_unknown_fields=True):
    root: str
    access: str
    inbox: bool | UnsetType = UNSET


@attrs.frozen(kw_only=True)
class Grants:
    """What an identity is given.

    `exec` are rules: `any`, `shell`, an absolute path, or the name of a command. `chat` are names of rooms, `*` for
    all. `permissions` are names for services of one's own.
    """

    echo: bool = False
    exec: tuple[str, ...] = ()
    files: FilesGrant | None = None
    chat: tuple[str, ...] = ()
    admin: bool = False
    permissions: tuple[str, ...] = ()

    @classmethod
    def from_table(cls, table: GrantsTable) -> Grants:
        """The grants that a table says. Raises `FieldError` that names the field in it."""
        for number, rule in enumerate(table.exec):
            check_rule(f"exec[{number}]", rule)
        for number, room in enumerate(table.chat):
            if not _is_room(room):
                raise FieldError(
                    f"chat[{number}]",
                    f"expected the name of a room (at most {_MAX_ROOM_CHARACTERS} characters) "
                    f"or *, not {room!r}",
                )
        for number, permission in enumerate(table.permissions):
            _check_permission(f"permissions[{number}]", permission)
        return cls(
            echo=table.echo,
            exec=table.exec,
            files=None if table.files is UNSET else _files_grant(table.files),
            chat=table.chat,
            admin=table.admin,
            permissions=table.permissions,
        )

    def identity(self, name: str, login: Login | None = None) -> Identity:
        """Somebody who has been given this."""
        held = {field for field in _PERMISSIONS_OF_FIELDS if getattr(self, field)}
        return Identity(
            name,
            frozenset({*held, *self.permissions}),
            exec=self.exec,
            files=self.files,
            chat=self.chat,
            login=login,
        )


def check_rule(field: str, rule: str) -> None:
    """Raises `FieldError` for what cannot be a rule of what may be run; `field` is where it stands."""
    program, dash, _ = rule.partition(" -")
    if dash and program.startswith("/"):
        # A file may have such a name, but whoever writes it means a command line, and this would permit nothing.
        raise FieldError(
            field,
            "a rule is the path of a program alone, without arguments: "
            f"expected {program.rstrip()!r}, not {rule!r}",
        )
    if not _is_rule(rule):
        raise FieldError(
            field,
            "expected any, shell, an absolute path without . and .., or a command's name "
            f"(small letters, digits, _ . -), not {rule!r}",
        )


def _is_rule(rule: str) -> bool:
    if not rule.startswith("/"):
        return COMMAND_NAME.fullmatch(rule) is not None
    return rule.isprintable() and normpath(rule) == rule and not rule.startswith("//")


def _is_room(room: str) -> bool:
    return 0 < len(room) <= _MAX_ROOM_CHARACTERS and room.isprintable() and room.strip() == room


def _check_permission(field: str, permission: str) -> None:
    if permission in _PERMISSIONS_OF_FIELDS:
        raise FieldError(field, f"{permission} has a field of its own: write it there")
    if _PERMISSION.fullmatch(permission) is None:
        raise FieldError(
            field,
            f"expected the name of a permission (small letters, digits, _ . : -), not {permission!r}",
        )


def _files_grant(table: dict[str, Any]) -> FilesGrant:
    files = converted(table, _FilesTable, where="files.")
    root = files.root
    if not root or not root.isprintable() or ".." in root.split("/"):
        raise FieldError("files.root", f"expected the path of a folder, without .., not {root!r}")
    try:
        access = FilesAccess(files.access)
    except ValueError:
        raise FieldError("files.access", f"expected ro, rw or drop, not {files.access!r}") from None
    inbox = None if files.inbox is UNSET else files.inbox
    if inbox and access is FilesAccess.DROP:
        raise FieldError("files.inbox", "who may only drop files could not fetch what comes")
    return FilesGrant(root, access, inbox)
