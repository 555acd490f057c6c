"""Which folder an identity has, and what it may do there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from sockserv.files.errors import FilesDenied, FilesError, ReadOnly
from sockserv.files.jail import Jail
from sockserv.files.names import components
from sockserv.trust.identities import EVERYTHING, FilesAccess, FilesGrant, Identity

__all__ = ["Folder", "Folders", "own_grant"]

_WHOLE: Final = FilesGrant("", FilesAccess.READ_WRITE)


def own_grant(identity: Identity) -> FilesGrant | None:
    """The folder that an identity was given; who may do everything has the whole root."""
    if identity.files is None and EVERYTHING in identity.permissions:
        return _WHOLE
    return identity.files


@attrs.frozen
class Folder:
    """A folder as somebody has it.

    `rule` says for the audit log what allows it. `place` is the same for all who have the same folder. `has_inbox` is
    whether others may send files here.
    """

    jail: Jail
    access: FilesAccess
    place: tuple[str, ...]
    rule: str
    has_inbox: bool

    def check_reading(self) -> None:
        """Raises `FilesDenied` for who may only put things here."""
        if self.access is FilesAccess.DROP:
            raise FilesDenied("you may put new files here, and nothing else")

    def check_changing(self) -> None:
        """Raises `ReadOnly` or `FilesDenied` for who may not change what is here."""
        self.check_adding()
        self.check_reading()

    def check_adding(self) -> None:
        """Raises `ReadOnly` for who may put nothing here."""
        if self.access is FilesAccess.READ_ONLY:
            raise ReadOnly("you may read here, and change nothing")


class Folders:
    """The folders of all identities. Making one touches nothing.

    A relative root of a grant counts from `root`, and is made at its first use; links on the way from `root` on are
    not followed. An absolute one has to be there. `grant_of` says what an identity was given.
    """

    def __init__(
        self,
        root: Path,
        *,
        grant_of: Callable[[Identity], FilesGrant | None] = own_grant,
    ) -> None:
        self._root = str(root)
        self._grant_of = grant_of
        self._known: dict[FilesGrant, Folder] = {}

    def of(self, identity: Identity) -> Folder:
        """The folder of an identity. Raises `FilesDenied` when it has none."""
        grant = self._grant_of(identity)
        if grant is None:
            raise FilesDenied(f"{identity.name} has not been given a folder")
        folder = self._known.get(grant)
        if folder is None:
            self._known[grant] = folder = self._make(grant)
        return folder

    def known(self) -> list[Folder]:
        """The folders that somebody has used, and the root of all relative ones."""
        return [self._make(_WHOLE), *self._known.values()]

    def _make(self, grant: FilesGrant) -> Folder:
        rule = f"files:{grant.access} {grant.root}".rstrip()
        if grant.root.startswith("/"):
            return Folder(Jail(grant.root), grant.access, (grant.root,), rule, grant.has_inbox)
        below = [name for name in grant.root.split("/") if name not in ("", ".")]
        try:
            names = components("/".join(below))
        except FilesError as error:
            raise FilesDenied("the folder that you were given cannot be one") from error
        jail = Jail(self._root, names, makes_root=True)
        return Folder(jail, grant.access, (self._root, *names), rule, grant.has_inbox)
