"""From a call to the operation that it asks for, if the identity may have it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sockserv.errors import InvalidArgument, PermissionDenied, UnknownOperation
from sockserv.net.calls import IncomingCall
from sockserv.server.audited import audited
from sockserv.server.logins import Logins
from sockserv.server.trail import AuditTrail
from sockserv.services.api import Audit, Operation, Service
from sockserv.services.late import LateServices
from sockserv.trust.identities import Identity
from sockserv.wire.messages import LOGIN_PREFIX, NOTHING

__all__ = ["Dispatcher"]


class Dispatcher:
    """Finds the operation that a call asks for, and whether the identity may have it.

    Raises `ValueError` when two services have an operation of the same name, and `TypeError` for one that was not
    declared, so that nobody knows which permission it needs.
    """

    def __init__(
        self, services: Iterable[Service | LateServices], logins: Logins, trail: AuditTrail
    ) -> None:
        self._logins = logins
        self._trail = trail
        self._operations: dict[str, Operation] = {}
        self._late: dict[str, LateServices] = {}
        for service in services:
            if isinstance(service, LateServices):
                self._late |= dict.fromkeys(service.prefixes, service)
            else:
                self._add([service])

    def _add(self, services: Iterable[Service]) -> None:
        """Add all operations of these services, or none of them."""
        added: dict[str, Operation] = {}
        for service in services:
            for name, operation in service.operations().items():
                if not isinstance(operation, Operation):
                    raise TypeError(
                        f"{type(service).__name__} has {operation!r} for the operation {name!r}: "
                        "declare it with sockserv.operation, which asks for its permission"
                    )
                if name in self._operations or name in added or name.startswith(LOGIN_PREFIX):
                    raise ValueError(f"the operation {name!r} exists already")
                added[name] = audited(operation, self._trail)
        self._operations |= added

    def _find_late(self, op: str) -> Operation | None:
        """An operation whose service has not been made yet. Raises what making it raises."""
        late = self._late.get(op[: op.find(".") + 1])
        if late is not None:
            self._add(late.make())
            for prefix in late.prefixes:
                del self._late[prefix]
        return self._operations.get(op)

    def permission(self, op: str) -> str | None:
        """What the operation of this name needs, of which there was a call; None if it is for everybody."""
        operation = self._operations.get(op)
        return None if operation is None else operation.permission

    def dispatch(self, call: IncomingCall) -> Any:
        """What the operation makes of the call, or a coroutine or Deferred of it."""
        request = call.request
        operation = self._operations.get(request.op) or self._find_late(request.op)
        if operation is None:
            if request.op.startswith(LOGIN_PREFIX):
                return self._logins.login(call)
            raise self._trail.refused(
                call, UnknownOperation(f"there is no operation {request.op[:80]!r} here")
            )
        identity: Identity = call.peer.identity
        if not identity.may(operation.permission):
            error = PermissionDenied(
                f"{identity.name} may not call {request.op}: that needs the permission "
                f"{operation.permission!r}",
                details={"permission": operation.permission},
            )
            raise self._trail.refused(call, error, operation)
        args = request.args
        defaults = operation.defaults
        if args is not NOTHING or defaults is None:
            try:
                call.args = operation.decode(args)
            except InvalidArgument as wrong:
                if operation.audit is not Audit.NEVER:
                    self._trail.refused(call, wrong, operation)
                raise
            call.args_bytes = memoryview(args).nbytes
            # It is a part of the header, all of which a call that lasts would keep.
            request.args = NOTHING
        else:
            call.args = defaults
        return operation.handler(call)
