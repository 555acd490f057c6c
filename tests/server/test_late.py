"""Services that are made by the first call that asks for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sockserv.errors import (
    CallError,
    InternalError,
    PermissionDenied,
    Unavailable,
    UnknownOperation,
)
from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo
from sockserv.services.late import LateServices
from sockserv.testing import MemoryServer
from sockserv.trust import Identity


class Light(Service):
    @operation("light.on", permission="light")
    def on(self, call: Call[Any]) -> str:
        return f"on for {call.identity.name}"


class Lamp(Service):
    @operation("lamp.on", permission=None)
    def on(self, call: Call[Any]) -> str:
        return "on"


class Makers:
    """Makes services, and counts how often it was asked to."""

    def __init__(self, *services: Service, errors: list[Exception] | None = None) -> None:
        self._services = services
        self._errors = errors or []
        self.made = 0

    def __call__(self) -> tuple[Service, ...]:
        self.made += 1
        if self._errors:
            raise self._errors.pop(0)
        return self._services


def late(make: Callable[[], Any]) -> LateServices:
    return LateServices(("light.", "lamp."), make)


def test_nobody_makes_them_before_they_are_asked_for() -> None:
    make = Makers(Light(), Lamp())
    with MemoryServer([Echo(), late(make)]) as memory:
        client = memory.connect()
        for name in ("echo", "lights.on", "light", "lam", ""):
            try:
                memory.run(client.call(name))
            except CallError as error:
                assert isinstance(error, UnknownOperation)  # noqa: PT017  # `echo` raises nothing
        assert make.made == 0
        assert memory.run(client.call("light.on")).result == "on for owner"
        assert memory.run(client.call("lamp.on")).result == "on"
        assert make.made == 1


def test_what_is_not_there_makes_them_as_well_and_is_unknown() -> None:
    make = Makers(Light(), Lamp())
    with MemoryServer([late(make)]) as memory:
        client = memory.connect()
        for _ in range(2):
            with pytest.raises(UnknownOperation):
                memory.run(client.call("lamp.off"))
        assert make.made == 1


def test_a_permission_is_asked_for() -> None:
    with MemoryServer([late(Makers(Light()))]) as memory:
        client = memory.connect(Identity("guest", frozenset({"echo"})))
        with pytest.raises(PermissionDenied, match="needs the permission 'light'"):
            memory.run(client.call("light.on"))


def test_what_making_them_raises_is_the_answer_and_it_is_tried_again() -> None:
    make = Makers(Light(), errors=[Unavailable("not now")])
    with MemoryServer([late(make)]) as memory:
        client = memory.connect()
        with pytest.raises(Unavailable, match="not now"):
            memory.run(client.call("light.on"))
        assert memory.run(client.call("light.on")).result == "on for owner"


def test_all_of_them_or_none() -> None:
    services: list[Service] = [Light(), Light()]
    with MemoryServer([late(lambda: services)]) as memory:
        client = memory.connect()
        with pytest.raises(InternalError):
            memory.run(client.call("light.on"))
        (failure,) = memory.take_failures()
        assert "the operation 'light.on' exists already" in str(failure)
        services.pop()
        assert memory.run(client.call("light.on")).result == "on for owner"
