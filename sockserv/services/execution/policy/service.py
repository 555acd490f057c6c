"""What somebody may run, as an operation."""

from __future__ import annotations

import msgspec

from sockserv.services.api import Audit, Call, NoArguments, Service, operation
from sockserv.services.execution.policy.policy import ExecutionPolicy

__all__ = ["Rules"]


class Rules(Service):
    """Tells everybody what they may run by a policy."""

    def __init__(self, policy: ExecutionPolicy) -> None:
        self._policy = policy

    @operation("exec.commands", permission="exec", audit=Audit.READS)
    async def commands(self, call: Call[NoArguments]) -> None:
        """What the caller may run: a line of JSON for each in the body, with how it is used."""
        for usage in self._policy.usages(call.identity):
            await call.send(msgspec.json.encode(usage) + b"\n")
