"""Identities, and what they are permitted."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import attrs
from zope.interface import Attribute, Interface, implementer

__all__ = ["EVERYTHING", "FilesAccess", "FilesGrant", "IIdentity", "Identity", "Login"]

EVERYTHING: Final = "*"
"""The permission that includes all others: the owner's."""


class FilesAccess(StrEnum):
    """What somebody may do in their folder."""

    READ_ONLY = "ro"
    READ_WRITE = "rw"
    DROP = "drop"
    """Put new files there, and neither see nor change what is there."""


@attrs.frozen
class FilesGrant:
    """A folder, and what may be done in it. `root` is as it was written; who serves files resolves it.

    `inbox` is whether others may send files there, None where nobody has said: then it is whether all may be done.
    """

    root: str
    access: FilesAccess
    inbox: bool | None = None

    @property
    def has_inbox(self) -> bool:
        """Whether others may send files there."""
        return self.access is FilesAccess.READ_WRITE if self.inbox is None else self.inbox


@attrs.frozen
class Login:
    """How somebody has proved who they are.

    `method` is the login's (`token`, `certificate`, `uid`, `password`). `credential` tells that
    credential from others of the same identity, and gives nothing away: it stands in logs.
    """

    method: str
    credential: str


class IIdentity(Interface):
    """Somebody who may use the server: what the realm of a `twisted.cred` portal gives as an avatar."""

    name = Attribute("What they are called.")

    def may(permission: str | None) -> bool:  # an interface describes the call
        """Whether they hold a permission."""

    def grant(permission: str | None) -> Any:
        """All that they hold under a permission, to be compared with what it was before."""


@implementer(IIdentity)
@attrs.frozen
class Identity:
    """Somebody who may use the server.

    `permissions` are the names of what they are permitted, one for each kind of thing; `exec`, `files` and `chat` say
    more about the permissions of these names: the rules of what may be run, the folder, the rooms.
    `login` is how they have proved who they are, None for who did not need to.
    """

    name: str
    permissions: frozenset[str] = frozenset()
    exec: tuple[str, ...] = ()
    files: FilesGrant | None = None
    chat: tuple[str, ...] = ()
    login: Login | None = None

    def may(self, permission: str | None) -> bool:
        """Whether the identity holds a permission; None stands for what everybody may."""
        permissions = self.permissions
        return permission in permissions or EVERYTHING in permissions or permission is None

    def grant(self, permission: str | None) -> Any:
        """All that the identity holds under a permission: what is equal before and after a change has not changed."""
        details = {"exec": self.exec, "files": self.files, "chat": self.chat}
        return self.may(permission), details.get(permission or "")
