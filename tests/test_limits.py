"""The limits: which values they take."""

from __future__ import annotations

import re
from typing import Any

import attrs
import pytest

from sockserv.limits import ChatLimits, DatagramLimits, ExecutionLimits, KeptLimits, Limits
from sockserv.wire.messages import MIN_HEADER_BYTES

NAMES = [field.name for field in attrs.fields(Limits)]


def test_the_defaults_go_together() -> None:
    Limits()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_that_nothing_could_keep_to(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}: it must be greater than 0"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(DatagramLimits)])
def test_a_limit_of_datagrams(name: str) -> None:
    assert getattr(DatagramLimits(**{name: 1}), name) == 1
    with pytest.raises(ValueError, match=f"{name} is 0: it must be greater than 0"):
        DatagramLimits(**{name: 0})


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(ChatLimits)])
def test_a_limit_of_chats(name: str) -> None:
    assert getattr(ChatLimits(**{name: 1}), name) == 1
    with pytest.raises(ValueError, match=f"{name} is 0: it must be greater than 0"):
        ChatLimits(**{name: 0})


@pytest.mark.parametrize("name", sorted({*NAMES} - {"max_header_bytes", "max_login_header_bytes"}))
def test_the_least_value(name: str) -> None:
    assert getattr(Limits(**{name: 1}), name) == 1


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"max_login_header_bytes": MIN_HEADER_BYTES - 1}, "it must be at least 4096"),
        ({"max_header_bytes": 4095}, "max_login_header_bytes (4096) is greater than"),
        ({"max_header_bytes": 5000, "max_login_header_bytes": 5001}, "(5001) is greater than"),
    ],
)
def test_headers_that_peers_rely_on(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        Limits(**given)


def test_the_least_headers() -> None:
    Limits(max_header_bytes=MIN_HEADER_BYTES, max_login_header_bytes=MIN_HEADER_BYTES)


@pytest.mark.parametrize("name", NAMES)
def test_a_quantity_has_its_unit(name: str) -> None:
    counted = ("_calls", "_connections", "_attempts", "_logins", "_sources", "_per_second")
    assert name.endswith(("_bytes", "_seconds", *counted))


def test_limits_are_values() -> None:
    assert Limits() == Limits()
    assert attrs.evolve(Limits(), max_calls=1) == Limits(max_calls=1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Limits().max_calls = 1  # type: ignore[misc]


@pytest.mark.parametrize("kind", [ExecutionLimits, KeptLimits])
def test_those_of_jobs(kind: type[Any]) -> None:
    for field in attrs.fields(kind):
        with pytest.raises(ValueError, match=f"{field.name} is 0: it must be greater than 0"):
            kind(**{field.name: 0})
        assert field.name.endswith(("_jobs", "_bytes", "_seconds"))
