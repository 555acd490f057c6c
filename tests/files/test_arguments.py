"""The arguments of the operations: what they may be, at the bound and one past it."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
import pytest

from sockserv.files import arguments
from sockserv.files.arguments import DigestArguments, PartialArguments, PutArguments

DIGEST = "blake3:" + "0" * 64


def test_every_class_is_frozen() -> None:
    for name in arguments.__all__:
        value = getattr(arguments, name)
        if isinstance(value, type):
            assert attrs.has(value)
            assert value.__setattr__ is not object.__setattr__


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"size": None},
        {"size": 2**53 - 1, "offset": 2**53 - 1},
        {"upload": "Az09_-" + "x" * 58},
        {"mode": 0},
        {"mode": 0o777},
        {"mtime_ns": 2**62},
        {"mtime_ns": -(2**62)},
        {"digest": DIGEST},
        {"overwrite": "x" * 64},
    ],
)
def test_what_put_takes(given: dict[str, Any]) -> None:
    assert msgspec.convert({"path": "a", **given}, PutArguments).path == "a"


@pytest.mark.parametrize(
    "given",
    [
        {"size": -1},
        {"size": 2**53},
        {"offset": -1},
        {"upload": "x" * 65},
        {"upload": "a/b"},
        {"upload": "a\n"},
        {"upload": "é"},
        {"mode": -1},
        {"mode": 0o1000},
        {"mode": 0o4755},
        {"mtime_ns": 2**62 + 1},
        {"mtime_ns": -(2**62) - 1},
        {"digest": DIGEST[:-1]},
        {"digest": DIGEST + "\n"},
        {"digest": "md5:" + "0" * 32},
        {"overwrite": ""},
        {"overwrite": "x" * 65},
    ],
)
def test_what_put_does_not_take(given: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"path": "a", **given}, PutArguments)


def test_names_of_algorithms_and_uploads_are_whole() -> None:
    for wrong in ("sha1", "md5x", "xmd5", "md5\n", ""):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"path": "a", "algorithm": wrong}, DigestArguments)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"path": "a"}, PartialArguments)
