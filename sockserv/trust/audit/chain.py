"""One line of the log, as bytes: a record, and the hash that ties it to the record before.

A line is a JSON object whose last member is `hash`. That is the SHA-256, in hexadecimal, of the line as it would be
without that member; the hash of the line before, `prev`, is in it. So no line can be changed, put in, taken out or
moved without the hash of every later line being another, and any `sha256sum` can check it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import attrs
import msgspec

from sockserv.trust.audit.record import Record

__all__ = ["GENESIS", "DamagedLine", "Line", "seal", "unseal"]

GENESIS: Final = "0" * 64
"""What the first record ever has in the place of the hash before."""

_SEAL: Final = b',"hash":"'
_SEAL_BYTES: Final = len(_SEAL) + 64 + len(b'"}')


_COMMANDS: Final = re.compile(
    rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]"
)
"""What JSON lets stand as it is and a terminal may obey, in UTF-8: control characters, and those that turn the
direction of a text. Strangers choose what stands in some records, and the lines are shown as they are.
"""


class DamagedLine(ValueError):
    """A line is not as it was written; the message says how that shows.

    `hash` is the one that stands at its end, if one does: what the next line may have followed.
    """

    def __init__(self, message: str, *, hash: str | None = None) -> None:
        super().__init__(message)
        self.hash = hash


@attrs.frozen
class Line:
    """A line whose hash is right."""

    record: Record
    hash: str


def _as_text(value: object) -> Any:
    return str(value)


_encode = msgspec.json.Encoder(enc_hook=_as_text).encode
_decode = msgspec.json.Decoder(Record).decode


def seal(record: Record) -> tuple[bytes, str]:
    """The line for a record, with the newline at its end, and its hash.

    Raises `ValueError` or `TypeError` for a value that JSON cannot express.
    """
    content = _COMMANDS.sub(_escaped, _encode(record))
    digest = hashlib.sha256(content).hexdigest()
    return b'%b,"hash":"%b"}\n' % (content[:-1], digest.encode()), digest


def _escaped(command: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(command[0].decode())


def unseal(line: bytes) -> Line:
    """What stands in a line, without its newline. Raises `DamagedLine`."""
    at = len(line) - _SEAL_BYTES
    if at < 1 or not line.startswith(_SEAL, at) or not line.endswith(b'"}'):
        raise DamagedLine("is not a whole record")
    claimed = line[at + len(_SEAL) : -2].decode("ascii", "replace")
    content = line[:at] + b"}"
    if hashlib.sha256(content).hexdigest() != claimed:
        raise DamagedLine("was changed: its hash is not that of what it says", hash=claimed)
    try:
        return Line(_decode(content), claimed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedLine(f"is not a record: {error}", hash=claimed) from None
