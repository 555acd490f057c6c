"""The errors: one tree, one class for each wire code, and what crosses the wire."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from sockserv import errors
from sockserv.errors import (
    CallError,
    GoodbyeCode,
    InvalidArgument,
    LocalError,
    ProtocolError,
    RemoteError,
    SockservError,
    error_from_wire,
)

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, SockservError) and cls.__module__ == errors.__name__
]


@pytest.fixture
def registry() -> Iterator[None]:
    """Classes that a test declares are forgotten at its end."""
    known = dict(CallError._by_code)
    yield
    CallError._by_code.clear()
    CallError._by_code.update(known)


def test_the_drawn_tree_is_the_tree() -> None:
    """The module opens with it: each class below its base, and nothing else."""
    assert errors.__doc__ is not None
    drawn: dict[str, str | None] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        name = line.lstrip(" │├└─").split(" ")[0]
        indent = len(line) - len(line.lstrip(" │├└─"))
        if indent < 4 or not name or name not in vars(errors):
            continue
        del path[(indent - 4) // 4 :]
        drawn[name] = path[-1] if path else None
        path.append(name)
    bases = {
        cls.__name__: None if cls is SockservError else cls.__bases__[0].__name__ for cls in CLASSES
    }
    assert drawn == bases


def test_all_is_all() -> None:
    public = {cls.__name__ for cls in CLASSES} | {"GoodbyeCode", "error_from_wire"}
    assert {*errors.__all__} == public
    assert errors.__all__ == sorted(errors.__all__, key=lambda name: (name[0].islower(), name))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_class_says_what_it_stands_for(cls: type[Exception]) -> None:
    assert cls.__doc__


def test_the_branches_are_apart() -> None:
    for cls in CLASSES:
        assert sum(issubclass(cls, base) for base in (LocalError, ProtocolError, CallError)) <= 1


CALL_ERRORS = [cls for cls in CLASSES if issubclass(cls, CallError) and "code" in vars(cls)]


@pytest.mark.parametrize("cls", CALL_ERRORS, ids=lambda cls: cls.__name__)
def test_a_code_gives_its_class_and_back(cls: type[CallError]) -> None:
    error = error_from_wire(cls.code, "why", {"a": 1})
    assert type(error) is cls
    assert (error.wire_code, error.message, str(error)) == (cls.code, "why", "why")
    assert error.details == {"a": 1}


def test_details_are_optional() -> None:
    assert InvalidArgument("why").details == {}
    assert InvalidArgument("why", details={"a": 1}).details == {"a": 1}


def test_a_code_without_a_class() -> None:
    error = error_from_wire("myapp.busy", "later", {"seconds": 3})
    assert type(error) is RemoteError
    assert error.wire_code == "myapp.busy"
    assert (str(error), error.details) == ("later", {"seconds": 3})


@pytest.mark.usefixtures("registry")
def test_a_class_of_a_service() -> None:
    class Busy(CallError):
        """With a constructor of its own."""

        code = "myapp.busy"

        def __init__(self, seconds: int) -> None:
            super().__init__(f"come back in {seconds} seconds", details={"seconds": seconds})

    sent = Busy(3)
    received = error_from_wire(sent.wire_code, sent.message, sent.details)
    assert type(received) is Busy
    assert str(received) == "come back in 3 seconds"
    assert received.details == {"seconds": 3}


@pytest.mark.usefixtures("registry")
def test_a_code_has_one_class() -> None:
    with pytest.raises(TypeError, match="'internal' already belongs to InternalError"):
        type("Mine", (CallError,), {"code": "internal"})


@pytest.mark.usefixtures("registry")
def test_a_module_can_be_loaded_again() -> None:
    for _ in range(2):
        type("Reloaded", (CallError,), {"code": "myapp.reloaded"})


@pytest.mark.usefixtures("registry")
def test_a_subclass_without_a_code_keeps_its_parents() -> None:
    special = type("Special", (InvalidArgument,), {})
    assert special("why").wire_code == "invalid-argument"
    assert type(error_from_wire("invalid-argument", "", {})) is InvalidArgument


def test_a_breach_has_its_code() -> None:
    error = ProtocolError(GoodbyeCode.BAD_FRAME, "why")
    assert (error.code, str(error)) == (GoodbyeCode.BAD_FRAME, "why")


def test_which_goodbyes_are_graceful() -> None:
    graceful = {code for code in GoodbyeCode if code.is_graceful}
    assert graceful == {GoodbyeCode.DONE, GoodbyeCode.SHUTTING_DOWN}
