"""The test vectors of docs/vectors, which any implementation of the protocol can use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from sockserv.errors import GoodbyeCode, ProtocolError
from sockserv.limits import Limits
from sockserv.wire.connection import Role
from sockserv.wire.framing import FrameReader, Prefix
from sockserv.wire.messages import Message, decode_header, encode_frame
from tests.wire.sides import Frame, Side, frame, frame_bytes, plain
from tests.wire.vectors import FOLDER, load, to_bytes, to_frames

FRAMING = load("framing.json")
MESSAGES = load("messages.json")
CONVERSATIONS = load("conversations.json")
BAD_INPUT = load("bad-input.json")

DELIVERIES = {
    "whole": lambda stream: [stream],
    "byte by byte": lambda stream: [stream[i : i + 1] for i in range(len(stream))],
    "in sevens": lambda stream: [stream[i : i + 7] for i in range(0, len(stream), 7)],
}


@pytest.fixture(params=DELIVERIES)
def cut(request: pytest.FixtureRequest) -> Any:
    return DELIVERIES[request.param]


def cases(items: list[dict[str, Any]]) -> Any:
    names = [
        " ".join(str(item[k]) for k in ("role", "phase", "name") if k in item) for item in items
    ]
    assert len(set(names)) == len(names), "two cases have the same name"
    return pytest.mark.parametrize("case", items, ids=names)


# Framing

_LAYOUTS = {(2, False): "H", (4, False): "I", (4, True): "i", (8, False): "Q"}


def framing_cases() -> list[dict[str, Any]]:
    return [
        case | {"group": group, "name": f"{group['name']}: {case['name']}"}
        for group in FRAMING["groups"]
        for case in group["cases"]
    ]


def prefix_of(group: dict[str, Any]) -> Prefix:
    written = group["prefix"]
    order = {"big": ">", "little": "<"}[written["byte_order"]]
    return Prefix(order + _LAYOUTS[written["bytes"], written["signed"]])


def read_frames(case: dict[str, Any], deliveries: list[bytes]) -> tuple[list[Any], str]:
    """The frames in what is delivered, and what is left over or the code of the error."""
    group = case["group"]
    size_field = group["size_field"]
    reader: FrameReader[Any] = FrameReader(
        lambda header: SimpleNamespace(
            **{size_field: json.loads(header).get(size_field, 0)}, text=header
        ),
        max_header_bytes=group["max_header_bytes"],
        max_body_bytes=group["max_body_bytes"],
        prefix=prefix_of(group),
        size_field=size_field,
    )
    found: list[list[bytes]] = []
    try:
        for delivery in deliveries:
            for part in reader.feed(delivery):
                if part.header is not None:
                    found.append([part.header.text, b""])
                found[-1][1] += part.body
    except ProtocolError as error:
        return found, error.code
    if reader.is_between_frames:
        return found, "nothing"
    return found, "header" if reader.is_inside_header else "body"


@cases(framing_cases())
def test_framing(case: dict[str, Any], cut: Any) -> None:
    expected = [
        [
            f["header"].encode() if "header" in f else to_bytes(f["header_bytes"]),
            to_bytes(f["body"]),
        ]
        for f in case["frames"]
    ]
    frames, outcome = read_frames(case, cut(to_bytes(case["stream"])))
    assert outcome == case.get("error", case.get("left"))
    assert frames == expected


@cases([case for case in framing_cases() if case.get("left") == "nothing"])
def test_framing_with_trailing_data(case: dict[str, Any], cut: Any) -> None:
    prefix = prefix_of(case["group"])
    trailing = prefix.pack(2) + b"{}" + prefix.pack(3) + b"{"
    frames, outcome = read_frames(case, cut(to_bytes(case["stream"]) + trailing))
    assert len(frames) == len(case["frames"]) + 1
    assert frames[-1] == [b"{}", b""]
    assert outcome == "header"


# Messages


def fields_of(message: Message) -> dict[str, Any]:
    """All fields, those with their defaults too; values that are not there are left out."""
    fields = msgspec.structs.asdict(message)
    raws = {key: fields.pop(key) for key in ("args", "result") if key in fields}
    tag = type(message).__struct_config__.tag
    builtins: dict[str, Any] = msgspec.to_builtins(fields) | {"type": tag} | plain(**raws)
    if "limits" in builtins:
        builtins["limits"] = msgspec.structs.asdict(fields["limits"])
        builtins["auth"] = list(fields["auth"])
    return builtins


@cases(MESSAGES["valid"])
def test_a_valid_header(case: dict[str, Any]) -> None:
    header = case["header"].encode()
    assert to_bytes(case["frame"]) == frame_bytes(case["header"])
    message = decode_header(header)
    assert fields_of(message) == case["means"]
    assert fields_of(decode_header(encode_frame(message)[4:])) == case["means"]


@cases(MESSAGES["invalid"])
def test_an_invalid_header(case: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_header(to_bytes(case["header"]))
    assert caught.value.code == case["goodbye"]


# Conversations


def side_for(case: dict[str, Any], file: dict[str, Any]) -> Side:
    """A side in the phase in which a case begins."""
    hello = frame("hello", version=1, limits=file["peer_limits"])
    auth = case.get("auth", ["token"] if case["phase"] == "login" else [])
    return Side(
        Role(case["role"]),
        Limits(**file["limits"], max_login_header_bytes=4096),
        auth=auth,
        hello=None if case["phase"] == "hello" else hello,
    )


def expected_events(written: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        event | {"bytes": to_bytes(event["bytes"])} if event["event"] == "body" else event
        for event in written
    ]


def comparable(frames: list[Frame]) -> Iterator[Frame]:
    """Frames without what each implementation may say as it likes."""
    for sent in frames:
        header = {k: v for k, v in sent.header.items() if k not in ("agent", "message")}
        yield Frame(header, sent.body)


@cases(CONVERSATIONS["conversations"])
def test_a_conversation(case: dict[str, Any], cut: Any) -> None:
    side = side_for(case, CONVERSATIONS)
    for step in case["steps"]:
        if "receive" in step:
            deliveries = cut(to_bytes(step["receive"]))
            if "goodbye" in step:
                assert side.refuses(*deliveries) == step["goodbye"]
            else:
                assert side.receive(*deliveries) == expected_events(step["events"])
        else:
            do(side, step)
        expected = to_frames(step.get("sends", []))
        assert list(comparable(side.sent())) == list(comparable(expected))


def do(side: Side, step: dict[str, Any]) -> None:
    given = {key: value for key, value in step.items() if key not in ("do", "sends")}
    if "body" in given:
        given["body"] = to_bytes(given["body"])
    side.do(step["do"], **given)


def bad_side(case: dict[str, Any]) -> Side:
    side = side_for(case, BAD_INPUT)
    for step in case.get("do", []):
        do(side, step)
    side.receive(to_bytes(case.get("before", [])))
    return side


@cases(BAD_INPUT["cases"])
def test_bad_input(case: dict[str, Any], cut: Any) -> None:
    side = bad_side(case)
    assert side.refuses(*cut(to_bytes(case["receive"]))) == case["goodbye"]
    assert side.receive(frame("ping", token=1), b"\0\0\0\0") == []


@cases(BAD_INPUT["cases"])
def test_bad_input_with_trailing_data(case: dict[str, Any]) -> None:
    stream = to_bytes(case["receive"]) + frame("ping", token=1) + b"\0" * 200
    assert bad_side(case).refuses(stream) == case["goodbye"]


def test_the_readme_names_the_events_and_actions() -> None:
    """What stands in the vectors is explained beside them."""
    text = (FOLDER / "README.md").read_text("utf-8")
    explained = set(re.findall(r"`([a-z ]+)`", text))
    steps = [step for case in CONVERSATIONS["conversations"] for step in case["steps"]]
    used = {step["do"] for step in steps if "do" in step}
    used |= {event["event"] for step in steps for event in step.get("events", [])}
    used |= {key for step in steps for key in step}
    assert used <= explained


def test_every_goodbye_code_that_a_connection_gives_has_a_vector() -> None:
    given = {case["goodbye"] for case in BAD_INPUT["cases"]}
    elsewhere = {GoodbyeCode.DONE, GoodbyeCode.SHUTTING_DOWN}
    elsewhere |= {GoodbyeCode.LOGIN_FAILED, GoodbyeCode.LOGIN_TIMEOUT, GoodbyeCode.IDLE_TIMEOUT}
    elsewhere |= {GoodbyeCode.TOO_MUCH_HELD, GoodbyeCode.TOO_MANY_CONNECTIONS}
    elsewhere |= {GoodbyeCode.REVOKED}
    assert given == set(GoodbyeCode) - elsewhere
