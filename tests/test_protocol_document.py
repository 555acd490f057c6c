"""docs/protocol.md says what the code does: its tables and its worked example."""

from __future__ import annotations

import typing
from typing import Any

import attrs
import msgspec
import pytest

from sockserv.errors import CallError, GoodbyeCode, RemoteError, error_from_wire
from sockserv.limits import Limits
from sockserv.services.echo import Echo
from sockserv.testing import MemoryServer
from sockserv.testing.raw import frame, split_frames
from sockserv.trust import EVERYTHING, Identity, TokenAuthenticator, hash_token
from sockserv.wire import messages
from sockserv.wire.connection import Role
from sockserv.wire.messages import PROTOCOL_VERSION, Message, PeerLimits
from tests.protocol_document import bad_input, code, conversation, section, table
from tests.wire.sides import Side

MESSAGES: dict[str, Any] = {cls.__struct_config__.tag: cls for cls in typing.get_args(Message)}


def test_the_version() -> None:
    assert PROTOCOL_VERSION == 1


def test_each_message_has_a_section() -> None:
    named = {code(cell) for row in table("Messages") for cell in row[0].split(",")}
    assert named == MESSAGES.keys()


@pytest.mark.parametrize("name", MESSAGES)
def test_the_fields_of_a_message(name: str) -> None:
    rows = {code(cells[0]): cells[2] for cells in table(name)}
    assert rows.pop("type") == "required"
    fields = msgspec.structs.fields(MESSAGES[name])
    assert list(rows) == [field.encode_name for field in fields]
    for field in fields:
        assert rows[field.name] == described(field), field.name


def described(field: Any) -> str:
    """How the document says whether a field is needed."""
    if field.required:
        return "required"
    default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if field.name == "limits":
        return "default `{}`"
    match default:
        case None | {} | msgspec.Raw():
            return "default none"
        case bool():
            return f"default `{str(default).lower()}`"
        case int():
            return f"default {default}"
        case "":
            return 'default `""`'
        case ():
            return "default `[]`"
    raise AssertionError(field)


def test_the_limits_of_a_hello() -> None:
    rows = {code(cells[0]): cells[1:3] for cells in table("Hello")}
    assert list(rows) == [field.name for field in msgspec.structs.fields(PeerLimits)]
    for name, (least, default) in rows.items():
        assert getattr(PeerLimits(), name) == int(default)
        hello = '{"type":"hello","version":1,"limits":{"%s":%d}}'
        messages.decode_header((hello % (name, int(least))).encode())


def test_the_goodbye_codes() -> None:
    rows = {code(cells[0]): cells[1] for cells in table("Goodbye codes")}
    assert list(rows) == [str(known) for known in GoodbyeCode]
    for known in GoodbyeCode:
        assert rows[known] == ("yes" if known.is_graceful else "no")


def test_the_error_codes() -> None:
    named = {code(cells[0]) for cells in table("Error codes")}
    here = {
        cls.code
        for cls in CallError.__subclasses__()
        if cls is not RemoteError and cls.__module__ == "sockserv.errors"
    }
    assert named == here
    for name in named:
        assert error_from_wire(name, "", {}).wire_code == name


def test_the_limits() -> None:
    ours = attrs.asdict(Limits())
    rows = {code(cells[0]): cells[1] for cells in table("Limits")}
    # What this side sends and how it waits is nobody else's business.
    private = {"frame_body_bytes", "send_buffer_bytes", "max_waiting_calls"}
    assert rows.keys() == ours.keys() - private
    for name, default in rows.items():
        assert float(default) == ours[name], name


def test_the_codes_in_the_table_of_bad_input_exist() -> None:
    known = {code(cells[0]) for cells in table("Error codes") + table("Goodbye codes")}
    for row in bad_input().values():
        assert "`" not in row.answer or code(row.answer) in known


def test_the_contents_lead_somewhere() -> None:
    for number, title in enumerate(TITLES, 1):
        anchor = title.lower().replace(" ", "-").replace(",", "")
        link = f"{number}. [{title}](#{number}-{anchor})"
        assert link in section("The sockserv protocol, version 1")
        assert section(title)


HELLO_LIMITS = {
    name: getattr(Limits(), name)
    for name in ("max_header_bytes", "max_body_bytes", "window_bytes", "max_calls")
}

TITLES = [
    "Terms",
    "Frames",
    "Headers",
    "Messages",
    "Hello",
    "Login",
    "Calls",
    "Bodies and windows",
    "Order and fairness",
    "Signs of life",
    "The end of the connection",
    "Codes",
    "What happens on bad input",
    "Limits",
    "Operations of every server",
    "A whole conversation, byte by byte",
    "Datagrams",
    "Other versions",
]


def test_the_worked_example() -> None:
    """What the client says there gets what the server says there."""
    owner = Identity("owner", frozenset({EVERYTHING}))
    known = TokenAuthenticator({hash_token("secret"): owner})
    shown = {"Client": b"", "Server": b""}
    with MemoryServer([Echo()], authenticator=known) as memory:
        raw = memory.connect_raw()
        for who, data in conversation():
            shown[who] += data
            if who == "Client":
                raw.send_bytes(data)
                memory.flush()
        assert raw.is_closed
        received = raw.received
    happened = seen_by_client(received)
    assert happened == seen_by_client(shown["Server"])
    assert [event["event"] for event in happened] == ["hello", "replied", "body", "replied"]
    assert happened[2]["bytes"] == b"HELLO"


def seen_by_client(stream: bytes) -> list[dict[str, Any]]:
    """The events; an answer may be cut into frames in more than one way."""
    side = Side(Role.CLIENT, hello=None)
    (hello, *_), _ = split_frames(stream)
    assert hello.header["limits"] == HELLO_LIMITS
    happened = side.receive(stream[: len(frame(hello.header))])
    side.do("open", op="auth.token")
    side.do("open", op="echo")
    return happened + side.receive(stream[len(frame(hello.header)) :])
