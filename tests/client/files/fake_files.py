"""A files service in memory, as docs/files.md says: what the client is tested against without a
disk at the other end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import attrs
from blake3 import blake3

from sockserv.files import components
from sockserv.files.arguments import (
    ALWAYS,
    NEVER,
    DigestArguments,
    GetArguments,
    ListArguments,
    MakeDirectoryArguments,
    MoveArguments,
    PartialArguments,
    PathArguments,
    PutArguments,
    RemoveArguments,
)
from sockserv.files.errors import (
    Busy,
    Changed,
    DigestMismatch,
    Exists,
    NotADirectory,
    NotAFile,
    NotEmpty,
    NotFound,
)
from sockserv.services import Call, Service, operation

PIECE_BYTES = 100_000


@attrs.define
class FakeFile:
    content: bytes
    mode: int = 0o644
    mtime_ns: int = 1_700_000_000_000_000_000
    version: int = 0

    @property
    def etag(self) -> str:
        return f"v{self.version}"

    @property
    def digest(self) -> str:
        return digest(self.content)


def digest(content: bytes) -> str:
    return f"blake3:{blake3(content).hexdigest()}"


class FakeFiles(Service):
    """`files`, `folders` and `partials` are what there is. `asked` are the operations in the order of their coming.

    `damages` makes the first byte of each content another one on its way. `busy_times` is
    how often partials are being written by somebody else, `says_size` what is said before a content.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files: dict[str, FakeFile] = {}
        self.folders: set[str] = {""}
        self.partials: dict[tuple[str, str], bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.put_at_once = 0
        self.most_at_once = 0
        self.damages = False
        self.busy_times = 0
        self.says_size: int | None = None
        self._versions = 0
        for path, content in (files or {}).items():
            self.store(path, content)

    @property
    def contents(self) -> dict[str, bytes]:
        return {path: file.content for path, file in self.files.items()}

    def store(self, path: str, content: bytes, **facts: Any) -> FakeFile:
        self._versions += 1
        self.files[path] = file = FakeFile(content, version=self._versions, **facts)
        self.folders.update(parents(path))
        return file

    @operation("files.put", args=PutArguments, permission="files")
    async def put(self, call: Call[PutArguments]) -> dict[str, Any]:
        args = call.args
        self._note("put", args.path)
        self._check_target(args.path, args.overwrite)
        if not args.parents and not {*parents(args.path)} <= self.folders:
            raise NotFound(f"{args.path!r}: no such directory")
        key = (args.path, args.upload)
        content = self.partials.pop(key, b"")[: args.offset]
        assert len(content) == args.offset
        trailer = b""
        self.put_at_once += 1
        self.most_at_once = max(self.most_at_once, self.put_at_once)
        try:
            while (taken := await call.body.take()) is not None:
                stream, piece = taken
                if stream:
                    trailer += piece
                else:
                    content += piece
                    if args.upload:
                        self.partials[key] = content
        finally:
            self.put_at_once -= 1
        expected = args.digest or json.loads(trailer)["digest"]
        self.partials.pop(key, None)
        if expected != digest(content) or args.size not in (None, len(content)):
            raise DigestMismatch(f"{args.path!r} came as something else")
        self._check_target(args.path, args.overwrite)
        file = self.store(args.path, content)
        file.mode = args.mode or file.mode
        file.mtime_ns = args.mtime_ns or file.mtime_ns
        found = digest(b"?" + content[1:]) if self.damages else file.digest
        return {"size": len(content), "etag": file.etag, "digest": found}

    @operation("files.partial", args=PartialArguments, permission="files")
    def partial(self, call: Call[PartialArguments]) -> dict[str, Any]:
        self._note("partial", call.args.path)
        self.busy_times -= 1
        if self.busy_times >= 0:
            raise Busy("this upload runs already")
        kept = self.partials.get((call.args.path, call.args.upload), b"")
        return {"offset": len(kept), "digest": digest(kept)}

    @operation("files.get", args=GetArguments, permission="files")
    async def get(self, call: Call[GetArguments]) -> dict[str, Any]:
        args = call.args
        self._note("get", args.path)
        file = self._file(args.path)
        if args.etag not in (None, file.etag):
            raise Changed(f"{args.path!r} has changed")
        head = {
            "size": len(file.content) if self.says_size is None else self.says_size,
            "etag": file.etag,
            "mtime_ns": file.mtime_ns,
            "mode": file.mode,
        }
        await call.send(json.dumps(head).encode(), stream=1)
        end = None if args.count is None else args.offset + args.count
        content = file.content[args.offset : end]
        if self.damages:
            content = b"?" + content[1:]
        for start in range(0, len(content), PIECE_BYTES):
            await call.send(content[start : start + PIECE_BYTES])
            if self.files.get(args.path) is not file:
                raise Changed(f"{args.path!r} has changed while it was sent")
        is_whole = len(content) == len(file.content)
        return {
            "count": len(content),
            "etag": file.etag,
            "digest": file.digest if is_whole and args.digest else None,
        }

    @operation("files.stat", args=PathArguments, permission="files")
    def stat(self, call: Call[PathArguments]) -> dict[str, Any]:
        self._note("stat", call.args.path)
        return self._entry(call.args.path)

    @operation("files.list", args=ListArguments, permission="files")
    async def list(self, call: Call[ListArguments]) -> dict[str, int]:
        root = call.args.path
        self._note("list", root)
        if root in self.files:
            raise NotADirectory(f"{root!r} is not a directory")
        self._entry(root)
        count = 0
        for entry in self.listed(root, recursive=call.args.recursive):
            await call.send(json.dumps(entry).encode() + b"\n")
            count += 1
        return {"count": count}

    def listed(self, root: str, *, recursive: bool) -> Iterator[dict[str, Any]]:
        prefix = f"{root}/" if root else ""
        for path in [*self.folders, *self.files]:
            below = path.removeprefix(prefix)
            if not path or not path.startswith(prefix) or (not recursive and "/" in below):
                continue
            yield self._entry(path) | ({"path": below} if recursive else {})

    @operation("files.mkdir", args=MakeDirectoryArguments, permission="files")
    def mkdir(self, call: Call[MakeDirectoryArguments]) -> None:
        path = call.args.path
        self._note("mkdir", path)
        if path in self.files or (path in self.folders and not call.args.parents):
            raise Exists(f"{path!r} exists already")
        self.folders.update((path, *parents(path)))

    @operation("files.move", args=MoveArguments, permission="files")
    def move(self, call: Call[MoveArguments]) -> None:
        args = call.args
        self._note("move", args.source)
        file = self._file(args.source)
        self._check_target(args.target, args.overwrite)
        self.files[args.target] = file
        del self.files[args.source]

    @operation("files.remove", args=RemoveArguments, permission="files")
    def remove(self, call: Call[RemoveArguments]) -> None:
        path = call.args.path
        self._note("remove", path)
        self._entry(path)
        inside = [p for p in (*self.files, *self.folders) if p.startswith(f"{path}/")]
        if inside and not call.args.recursive:
            raise NotEmpty(f"{path!r} is not empty")
        for one in (path, *inside):
            self.files.pop(one, None)
            self.folders.discard(one)

    @operation("files.digest", args=DigestArguments, permission="files")
    def digest(self, call: Call[DigestArguments]) -> dict[str, Any]:
        self._note("digest", call.args.path)
        file = self._file(call.args.path)
        algorithm = call.args.algorithm
        found = (
            file.digest
            if algorithm == "blake3"
            else f"{algorithm}:{hashlib.new(algorithm, file.content).hexdigest()}"
        )
        return {"digest": found, "size": len(file.content), "etag": file.etag}

    @operation("files.usage", permission="files")
    def usage(self, call: Call[object]) -> dict[str, Any]:
        used = sum(len(file.content) for file in self.files.values())
        return {"used_bytes": used, "quota_bytes": None, "free_bytes": 10**12}

    def _note(self, operation: str, path: str) -> None:
        components(path)
        self.asked.append((operation, path))

    def _file(self, path: str) -> FakeFile:
        if path in self.folders:
            raise NotAFile(f"{path!r} is a directory")
        if path not in self.files:
            raise NotFound(f"{path!r}: there is no such file or directory")
        return self.files[path]

    def _entry(self, path: str) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        if path in self.folders:
            return {"name": name, "type": "directory", "mode": 0o755}
        file = self._file(path)
        return {
            "name": name,
            "type": "file",
            "size": len(file.content),
            "mtime_ns": file.mtime_ns,
            "mode": file.mode,
            "etag": file.etag,
        }

    def _check_target(self, path: str, overwrite: str) -> None:
        if path in self.folders:
            raise NotAFile(f"{path!r} is a directory")
        there = self.files.get(path)
        if there is not None and overwrite == NEVER:
            raise Exists(f"{path!r} exists already")
        if overwrite not in (NEVER, ALWAYS, there and there.etag):
            raise Changed(f"{path!r} has changed")


def parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
