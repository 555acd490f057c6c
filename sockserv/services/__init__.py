"""What a call can ask for. A service knows calls, never transports."""

from sockserv.services.api import Audit, Body, Call, NoArguments, Operation, Service, operation

__all__ = ["Audit", "Body", "Call", "NoArguments", "Operation", "Service", "operation"]
