"""A daemon's operations on identities, as the commands see them: what was asked is remembered, what
is answered is set.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from sockserv.errors import CallError
from sockserv.services import Call, Service, operation

__all__ = ["PIN", "TOKEN", "Admin"]

PIN = "sha256:" + "A" * 43
TOKEN = "t" * 43


@attrs.frozen
class Name:
    name: str


@attrs.frozen
class Invitation:
    name: str
    echo: bool
    exec: tuple[str, ...]
    files: dict[str, str] | None
    chat: tuple[str, ...]
    admin: bool
    permissions: tuple[str, ...]
    expires_seconds: float | None


@attrs.frozen
class AnotherLine:
    name: str
    expires_seconds: float | None


class Admin(Service):
    """`urls` are those that the daemon tells, `identities` its list, `failure` what it answers instead."""

    def __init__(self) -> None:
        self.urls = [f"sockserv://192.0.2.1:7700/?pin={PIN}"]
        self.identities: list[dict[str, Any]] = []
        self.whoami: dict[str, Any] = {}
        self.failure: CallError | None = None
        self.asked: list[Any] = []

    def _answer(self, call: Call[Any], result: Any) -> Any:
        self.asked.append(call.args)
        if self.failure is not None:
            raise self.failure
        return result

    @operation("admin.invite", args=Invitation, permission="admin")
    def invite(self, call: Call[Invitation]) -> Any:
        result = {"name": call.args.name, "token": TOKEN, "urls": self.urls, "pin": PIN}
        return self._answer(call, result)

    @operation("admin.add-token", args=AnotherLine, permission="admin")
    def add_token(self, call: Call[AnotherLine]) -> Any:
        result = {"name": call.args.name, "token": TOKEN, "urls": self.urls, "pin": PIN}
        return self._answer(call, result)

    @operation("admin.revoke", args=Name, permission="admin")
    def revoke(self, call: Call[Name]) -> Any:
        return self._answer(call, None)

    @operation("admin.identities", permission="admin")
    def list_identities(self, call: Call[Any]) -> None:
        self._answer(call, None)
        call.send_last(b"".join(json.dumps(one).encode() + b"\n" for one in self.identities))

    @operation("identity.whoami", permission=None)
    def who(self, call: Call[Any]) -> Any:
        return self._answer(call, self.whoami)
