"""From a call to the operation that it asks for, if the identity may have it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sockserv.errors import PermissionDenied, UnknownOperation
from sockserv.net.calls import IncomingCall
from sockserv.server.logins import Logins
from sockserv.server.trail import AuditTrail
from sockserv.services.api import Operation, Service
from sockserv.trust.identities import Identity
from sockserv.wire.messages import LOGIN_PREFIX, NOTHING

__all__ = ["Dispatcher"]


class Dispatcher:
    """Finds the operation that a call asks for, and whether the identity may have it.

    Raises `ValueError` when two services have an operation of the same name.
    """

    def __init__(self, services: Iterable[Service], logins: Logins, trail: AuditTrail) -> None:
        self._logins = logins
        self._trail = trail
        self._operations: dict[str, Operation] = {}
        for service in services:
            for name, operation in service.operations().items():
                if name in self._operations or name.startswith(LOGIN_PREFIX):
                    raise ValueError(f"the operation {name!r} exists already")
                self._operations[name] = operation

    def dispatch(self, call: IncomingCall) -> Any:
        """What the operation makes of the call, or a coroutine or Deferred of it."""
        request = call.request
        operation = self._operations.get(request.op)
        if operation is None:
            if request.op.startswith(LOGIN_PREFIX):
                return self._logins.login(call)
            raise UnknownOperation(f"there is no operation {request.op[:80]!r} here")
        identity: Identity = call.peer.identity
        if not identity.may(operation.permission):
            raise PermissionDenied(
                f"{identity.name} may not call {request.op}: that needs the permission "
                f"{operation.permission!r}",
                details={"permission": operation.permission},
            )
        args = request.args
        defaults = operation.defaults
        if args is not NOTHING or defaults is None:
            call.args = operation.decode(args)
        else:
            call.args = defaults
        return operation.handler(call)
