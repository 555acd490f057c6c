from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sockserv.processes.messages import Answer, Decoder, Request, encode
from sockserv.processes.starting import Launch

LAUNCH = Launch(
    arguments=(b"ls", b"-l", b"\xff\n"),
    environment={b"PATH": b"/bin"},
    directory=b"/",
    account=(1, 2, (3, 4)),
    limits=((0, 1, 2),),
    nice=-3,
    has_terminal=True,
)
MESSAGES = [
    encode(Request.START, 1, 2**63 - 1, 3, *LAUNCH),
    encode(Answer.ENDED, 1, -9, 0.25, 1.5, 2**40),
    encode(Request.STOP),
]
DECODED = [
    (0, 1, 2**63 - 1, 3, *LAUNCH),
    (2, 1, -9, 0.25, 1.5, 2**40),
    (3,),
]


def test_messages_in_one_piece() -> None:
    decoder = Decoder()
    assert decoder.decode(b"".join(MESSAGES)) == DECODED
    assert decoder.decode(b"") == []


@given(st.integers(1, 40))
def test_messages_in_pieces(size: int) -> None:
    data = b"".join(MESSAGES)
    decoder = Decoder()
    found = []
    for start in range(0, len(data), size):
        found += decoder.decode(data[start : start + size])
    assert found == DECODED


def test_what_comes_after_a_message_waits_for_its_rest() -> None:
    decoder = Decoder()
    assert decoder.decode(MESSAGES[0] + MESSAGES[1][:-1]) == DECODED[:1]
    assert decoder.decode(MESSAGES[1][-1:] + MESSAGES[2][:3]) == DECODED[1:2]
    assert decoder.decode(MESSAGES[2][3:]) == DECODED[2:]


def test_a_program_is_what_it_was_on_the_other_side() -> None:
    [(_, _, _, _, *fields)] = Decoder().decode(MESSAGES[0])
    assert Launch(*fields) == LAUNCH
