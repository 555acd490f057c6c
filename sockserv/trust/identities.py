"""Identities, and the permissions that they hold."""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["EVERYTHING", "Identity"]

EVERYTHING: Final = "*"
"""The permission that includes all others: the owner's."""


@attrs.frozen
class Identity:
    """Somebody who may use the server: a name, and the names of what they are permitted."""

    name: str
    permissions: frozenset[str] = frozenset()

    def may(self, permission: str | None) -> bool:
        """Whether the identity holds a permission; None stands for what everybody may."""
        permissions = self.permissions
        return permission in permissions or EVERYTHING in permissions or permission is None
