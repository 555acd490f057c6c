"""What a call can ask for. A service knows calls, never transports."""

from sockserv.services.api import Body, Call, NoArguments, Operation, Service, operation

__all__ = ["Body", "Call", "NoArguments", "Operation", "Service", "operation"]
