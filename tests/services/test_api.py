"""What a service author declares, and what a caller may give."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from twisted.internet.defer import Deferred, succeed

from sockserv.errors import BodyTooLarge, InvalidArgument
from sockserv.services import Audit, Call, NoArguments, Operation, Service, operation
from sockserv.testing import MemoryServer


@attrs.frozen
class Arguments:
    name: str
    count: int = attrs.field(default=1, validator=attrs.validators.in_(range(1, 10)))
    tags: list[str] = attrs.field(factory=list)


class Declared(Service):
    @operation("declared.with", args=Arguments, permission="declared")
    def with_arguments(self, call: Call[Arguments]) -> list[Any]:
        return [call.args.name, call.args.count, call.args.tags]

    @operation("declared.without", permission=None, audit=Audit.READS)
    def without(self, call: Call[NoArguments]) -> str:
        return "none"

    def no_operation(self) -> None:
        """A method like any other."""


def declared(name: str) -> Operation:
    return Declared().operations()[name]


def test_operations_by_name() -> None:
    operations = Declared().operations()
    assert operations.keys() == {"declared.with", "declared.without"}
    one = operations["declared.with"]
    assert (one.name, one.permission, one.args) == ("declared.with", "declared", Arguments)
    assert repr(one) == "<operation declared.with>"
    assert one.audit is Audit.CHANGES
    assert operations["declared.without"].permission is None
    assert operations["declared.without"].audit is Audit.READS


def test_a_subclass_has_the_operations_of_its_parents() -> None:
    class More(Declared):
        @operation("more", permission="more")
        def more(self, call: Call[Any]) -> str:
            return "more"

        def without(self, call: Call[NoArguments]) -> str:
            """No operation any more: it was not declared here."""
            return "hidden"

    assert More().operations().keys() == {"declared.with", "more"}


class Plain:
    """No attrs class."""


@attrs.define
class Mutable:
    """Shared defaults could be changed by one call for all others."""

    x: int = 0


@pytest.mark.parametrize("args", [int, dict, Plain, Mutable])
def test_arguments_are_a_frozen_attrs_class(args: Any) -> None:
    with pytest.raises(TypeError, match="has to be a frozen attrs class"):
        operation("op", args=args, permission=None)


@pytest.mark.parametrize("permission", ["", True, False, 0, ["files"], object()])
def test_a_permission_that_is_no_name(permission: Any) -> None:
    with pytest.raises(TypeError, match="the permission of the operation 'op' has to be a name"):
        operation("op", permission=permission)


def test_two_methods_that_are_one_operation() -> None:
    """One of them would be called with the permission of the other."""

    class Twice(Service):
        @operation("twice", permission="admin")
        def first(self, call: Call[Any]) -> None: ...

        @operation("twice", permission=None)
        def second(self, call: Call[Any]) -> None: ...

    with pytest.raises(ValueError, match="two methods are the operation 'twice'"):
        Twice().operations()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b'{"name":"a"}', Arguments("a")),
        (b'{"name":"a","count":9,"tags":["x"]}', Arguments("a", 9, ["x"])),
        (b'{ "count" : 2 , "name" : "\\u00e9" }', Arguments("\u00e9", 2)),
    ],
)
def test_arguments(given: bytes, expected: Arguments) -> None:
    assert declared("declared.with").decode(msgspec.Raw(given)) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"{}", "name"),
        (b"", "name"),
        (b'{"name":5}', "name"),
        (b'{"name":"a","count":"2"}', "count"),
        (b'{"name":"a","count":0}', "count"),
        (b'{"name":"a","count":10}', "count"),
        (b'{"name":"a","tags":[1]}', "tags"),
        (b'{"name":"a","nmae":1,"zz":2}', "has no argument nmae, zz"),
        (b"[]", "object"),
        (b'"name"', "object"),
        (b"null", "object"),
    ],
)
def test_wrong_arguments(given: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        declared("declared.with").decode(msgspec.Raw(given))


@pytest.mark.parametrize("given", [b"", b"{}"])
def test_no_arguments(given: bytes) -> None:
    assert declared("declared.with").defaults is None
    assert declared("declared.without").defaults == NoArguments()
    decode = declared("declared.without").decode
    assert decode(msgspec.Raw(given)) == NoArguments()
    with pytest.raises(InvalidArgument, match="has no argument x"):
        decode(msgspec.Raw(b'{"x":1}'))


# The call


class Files(Service):
    def __init__(self, file: int) -> None:
        self._file = file

    @operation("files.send", permission="files")
    async def send(self, call: Call[Any]) -> int:
        return await call.send_file(self._file)

    @operation("files.part", permission="files")
    async def part(self, call: Call[Any]) -> list[int]:
        return [
            await call.send_file(self._file, offset=10, count=5),
            await call.send_file(self._file, offset=0, count=0),
            await call.send_file(self._file, offset=999_990, count=50),
        ]


def test_sending_a_file(tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("rb") as file, MemoryServer([Files(file.fileno())]) as memory:
        client = memory.connect()
        reply = memory.run(client.call("files.send"))
        assert reply.body == content
        assert reply.result == 1_000_000
        part = memory.run(client.call("files.part"))
        assert part.body == content[10:15] + content[999_990:]
        assert part.result == [5, 0, 10]


class Bodies(Service):
    @operation("bodies.read", permission="bodies")
    async def read(self, call: Call[Any]) -> int:
        return len(await call.body.read(max_bytes=1000))

    @operation("bodies.whole", permission="bodies")
    def whole(self, call: Call[Any]) -> int | None:
        body = call.whole_body
        return None if body is None else len(body)

    @operation("bodies.take", permission="bodies")
    async def take(self, call: Call[Any]) -> list[str]:
        taken = []
        while (piece := await call.body.take()) is not None:
            taken.append(f"{piece[0]}:{piece[1].decode()}")
        return taken

    @operation("bodies.deferred", permission="bodies")
    def deferred(self, call: Call[Any]) -> Deferred[str]:
        return succeed("at once")

    @operation("bodies.raw", permission="bodies")
    def raw(self, call: Call[Any]) -> msgspec.Raw:
        return msgspec.Raw(b'{"made":"elsewhere"}')


@pytest.mark.parametrize(("size", "fits"), [(0, True), (1000, True), (1001, False)])
def test_a_body_as_large_as_is_taken(size: int, fits: bool) -> None:
    with MemoryServer([Bodies()]) as memory:
        client = memory.connect()
        calling = client.call("bodies.read", body=bytes(size))
        if fits:
            assert memory.run(calling).result == size
        else:
            with pytest.raises(BodyTooLarge, match="larger than 1000 bytes") as caught:
                memory.run(calling)
            assert caught.value.details == {"max_bytes": 1000}


def test_a_body_that_came_with_the_request() -> None:
    with MemoryServer([Bodies()]) as memory:
        client = memory.connect()
        assert memory.run(client.call("bodies.whole")).result == 0
        assert memory.run(client.call("bodies.whole", body=b"12345")).result == 5
        assert memory.run(client.call("bodies.whole", body=bytes(100_000))).result is None
        call = memory.run(client.open("bodies.whole", body=b"12345"))
        assert memory.run(call.result()) is None


@pytest.mark.parametrize("in_pieces", [True, False])
def test_pieces_with_their_streams(in_pieces: bool) -> None:
    with MemoryServer([Bodies()]) as memory:
        client = memory.connect()
        if in_pieces:
            call = memory.run(client.open("bodies.take", body=b"a"))
            for stream, piece in ((0, b"b"), (1, b"c"), (1, b"d"), (0, b"e")):
                memory.flush()
                memory.run(call.send(piece, stream=stream))
            call.end()
            assert memory.run(call.result()) == ["0:a", "0:b", "1:c", "1:d", "0:e"]
        else:
            assert memory.run(client.call("bodies.take", body=b"a")).result == ["0:a"]


def test_other_ways_to_answer() -> None:
    with MemoryServer([Bodies()]) as memory:
        client = memory.connect()
        assert memory.run(client.call("bodies.deferred")).result == "at once"
        assert memory.run(client.call("bodies.raw")).result == {"made": "elsewhere"}
