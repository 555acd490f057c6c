"""The tutorial's uploads, before a files service in memory."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from blake3 import blake3

from sockserv.classic.put import MAX_HEADER_BYTES, Uploads
from sockserv.files.arguments import ALWAYS, NEVER, DigestArguments, GetArguments, PutArguments
from sockserv.files.errors import Changed, FilesDenied, NotFound
from sockserv.files.facts import Digest, Stored
from sockserv.services import Call, Service, operation
from sockserv.testing import Link
from tests.classic.talking import Talk

CONTENT = bytes(range(256)) * 1000
TRICKS = ["../up", "/etc/passwd", "a/b", "a\\b", "", "..", ".", "nul\0", ".sockserv-partial-x"]


class Files(Service):
    """Keeps files in memory, whole ones only."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.overwrite: list[str] = []
        self.is_changing = False

    @operation("files.put", args=PutArguments, permission="files")
    async def put(self, call: Call[PutArguments]) -> Stored:
        if call.args.path == "denied":
            raise FilesDenied("the folder is not yours")
        self.overwrite.append(call.args.overwrite)
        content = b""
        trailer = b""
        while (taken := await call.body.take()) is not None:
            stream, piece = taken
            if stream:
                trailer += piece
            else:
                content += piece
        digest = f"blake3:{blake3(content).hexdigest()}"
        assert json.loads(trailer) == {"digest": digest}
        self.kept[call.args.path] = content
        return Stored(size=len(content), etag="1", digest=digest)

    @operation("files.digest", args=DigestArguments, permission="files")
    def digest(self, call: Call[DigestArguments]) -> Digest:
        content = self._content(call.args.path)
        digest = hashlib.new(call.args.algorithm, content).hexdigest()
        return Digest(digest=f"{call.args.algorithm}:{digest}", size=len(content), etag="1")

    @operation("files.get", args=GetArguments, permission="files")
    async def get(self, call: Call[GetArguments]) -> None:
        content = self._content(call.args.path)
        assert call.args.etag == "1"
        await call.send(b"{}", stream=1)
        if self.is_changing:
            await call.send(content[:1000])
            raise Changed("somebody writes to it")
        await call.send(content)

    def _content(self, path: str) -> bytes:
        if path not in self.kept:
            raise NotFound(f"there is no file {path!r}")
        return self.kept[path]


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def talk(files: Files) -> Iterator[Talk]:
    with Talk(Uploads(), [files]) as talk:
        yield talk


def framed(header: Any) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<i", len(encoded)) + encoded


def put(name: str, content: bytes = CONTENT, **more: Any) -> bytes:
    return framed({"cmd": "put", "filename": name, "filesize": len(content)} | more) + content


def get(name: str) -> bytes:
    return framed({"cmd": "get", "filename": name})


def answered(received: bytes) -> tuple[dict[str, Any], bytes]:
    (size,) = struct.unpack("<i", received[:4])
    header = json.loads(received[4 : 4 + size])
    return header, received[4 + size :]


class TestPut:
    def test_many_on_one_connection(self, talk: Talk, files: Files) -> None:
        client = talk.connect()
        answer = talk.ask(client, put("a", b"one") + put("文件", b"") + put("a", b"two"))
        assert answer == b""
        assert files.kept == {"a": b"two", "文件": b""}
        assert files.overwrite == [ALWAYS] * 3
        assert not client.is_over

    @pytest.mark.parametrize("size", [1, 3, 1000])
    def test_in_pieces(self, talk: Talk, files: Files, size: int) -> None:
        sent = put("a", CONTENT[:3000]) + put("b", CONTENT[:10])
        talk.say(talk.connect(Link(fragments=[size] * 4000)), sent)
        assert files.kept == {"a": CONTENT[:3000], "b": CONTENT[:10]}

    def test_what_else_a_header_says_is_no_matter(self, talk: Talk, files: Files) -> None:
        talk.say(talk.connect(), put("a", md5="x", mode=[1]))
        assert files.kept == {"a": CONTENT}

    def test_nothing_is_replaced(self, files: Files) -> None:
        with Talk(Uploads(overwrite=False), [files]) as talk:
            talk.say(talk.connect(), put("a"))
        assert files.overwrite == [NEVER]

    @pytest.mark.parametrize("name", TRICKS)
    def test_names_that_lead_elsewhere(self, talk: Talk, files: Files, name: str) -> None:
        client = talk.connect()
        talk.say(client, put(name), put("next", b"!"))
        assert files.kept.keys() - {name} == {"next"}
        assert not {"/", "\\"} & set("".join(files.kept))

    def test_what_is_refused_is_passed_over(self, talk: Talk, files: Files) -> None:
        client = talk.connect()
        sent = put("denied") + put("a", b"next")
        talk.say(client, *(sent[start : start + 7000] for start in range(0, len(sent), 7000)))
        assert files.kept == {"a": b"next"}
        assert client.received == b""

    @pytest.mark.parametrize("cut", [1, 4, 10, 60, 1000])
    def test_what_breaks_off(self, talk: Talk, files: Files, cut: int) -> None:
        client = talk.connect()
        talk.say(client, put("a")[:cut])
        talk.end(client)
        assert files.kept == {}
        assert client.is_over
        assert talk.memory.server.connections == 0

    @pytest.mark.parametrize("cut", [1, 4, 10, 1000])
    def test_who_stops_in_the_middle(self, talk: Talk, files: Files, cut: int) -> None:
        client = talk.connect()
        talk.say(client, put("a")[:cut])
        states = []
        for seconds in (59.0, 2.0):
            talk.memory.advance(seconds)
            states.append(client.is_over)
        assert states == [False, True]
        assert files.kept == {}

    def test_who_says_nothing_in_between_may_take_their_time(
        self, talk: Talk, files: Files
    ) -> None:
        client = talk.connect()
        talk.say(client, put("a", b"one"))
        talk.memory.advance(3600.0)
        talk.say(client, put("b", b"two"))
        assert files.kept == {"a": b"one", "b": b"two"}


class TestWhatIsNoRequest:
    @pytest.mark.parametrize(
        "sent",
        [
            framed([]),
            framed({}),
            framed({"cmd": 5}),
            framed({"cmd": "put", "filename": "a", "filesize": -1}),
            framed({"cmd": "put", "filename": "a", "filesize": 2**53}),
            framed({"cmd": "put", "filename": "a", "filesize": 1.5}),
            framed({"cmd": "put", "filename": "a", "filesize": "1"}),
            framed({"cmd": "put", "filename": ["a"], "filesize": 1}),
            framed(b"not JSON"),
            framed(b'{"cmd":"put","more":' + b"[" * 10_000),
            framed(b"\xff\xfe"),
            struct.pack("<i", 0),
            struct.pack("<i", -1),
            struct.pack("<i", -(2**31)),
            struct.pack("<i", MAX_HEADER_BYTES + 1),
            struct.pack(">i", 40),
            b"GET / HTTP/1.1\r\n\r\n",
        ],
    )
    def test_it_is_said_and_the_connection_closed(
        self, talk: Talk, files: Files, sent: bytes
    ) -> None:
        client = talk.connect()
        header, rest = answered(talk.ask(client, sent + b"more"))
        assert header["error"]
        assert header["filesize"] == 0
        assert rest == b""
        assert client.is_over
        assert files.kept == {}

    @pytest.mark.parametrize("command", ["delete", "__class__", "", "PUT"])
    def test_another_command(self, talk: Talk, files: Files, command: str) -> None:
        client = talk.connect()
        sent = framed({"cmd": command, "filename": "a", "filesize": 5})
        header, _ = answered(talk.ask(client, sent))
        assert header == {"error": "cmd is put or get", "filesize": 0}
        talk.say(client, put("a"))
        assert files.kept == {"a": CONTENT}

    def test_a_header_at_its_limit(self, talk: Talk, files: Files) -> None:
        header = json.dumps({"cmd": "put", "filename": "a", "filesize": 1}).encode()
        talk.say(talk.connect(), framed(header.ljust(MAX_HEADER_BYTES)) + b"!")
        assert files.kept == {"a": b"!"}


class TestGet:
    def test_a_file(self, talk: Talk, files: Files) -> None:
        files.kept["a"] = CONTENT
        header, content = answered(talk.ask(talk.connect(), get("a")))
        assert header == {
            "filename": "a",
            "filesize": len(CONTENT),
            "md5": hashlib.md5(CONTENT).hexdigest(),
        }
        assert content == CONTENT

    def test_an_empty_one(self, talk: Talk, files: Files) -> None:
        files.kept["a"] = b""
        header, content = answered(talk.ask(talk.connect(), get("a")))
        assert (header["filesize"], content) == (0, b"")

    @pytest.mark.parametrize("name", [*TRICKS, "missing"])
    def test_what_there_is_not(self, talk: Talk, files: Files, name: str) -> None:
        client = talk.connect()
        header, rest = answered(talk.ask(client, get(name)))
        assert header["error"]
        assert (header["filesize"], rest) == (0, b"")
        files.kept["a"] = b"!"
        assert answered(talk.ask(client, get("a")))[1] == b"!"

    def test_a_file_that_changes_meanwhile(self, talk: Talk, files: Files) -> None:
        files.kept["a"] = CONTENT
        files.is_changing = True
        client = talk.connect()
        header, content = answered(talk.ask(client, get("a")))
        assert header["filesize"] == len(CONTENT)
        assert len(content) <= 1000
        assert client.is_over
