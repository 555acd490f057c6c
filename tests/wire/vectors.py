"""Reading docs/vectors: its README says what stands in there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.wire.sides import Frame, frame_bytes

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "vectors"


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    assert content["format"] == 1
    return content


def to_bytes(written: Any) -> bytes:
    """The bytes that are written as hexadecimal or as pieces."""
    if isinstance(written, str):
        return bytes.fromhex(written)
    return b"".join(map(_piece, written))


def _piece(piece: Any) -> bytes:
    match piece:
        case str():
            return bytes.fromhex(piece)
        case {"text": str(text), **rest}:
            assert not rest
            return text.encode()
        case {"repeat": repeated, "times": int(times), **rest}:
            assert not rest
            return to_bytes(repeated) * times
        case {"frame": header, **rest}:
            assert rest.keys() <= {"body"}
            text = header if isinstance(header, str) else json.dumps(header)
            return frame_bytes(text, to_bytes(rest.get("body", "")))
    raise AssertionError(f"not bytes: {piece}")


def to_frames(written: list[Any]) -> list[Frame]:
    """The frames that are expected to be sent."""
    return [Frame(piece["frame"], to_bytes(piece.get("body", ""))) for piece in written]
