"""The fuzzer, for a while: the same cases each time. By hand it goes on (`tests.fuzz.connection`)."""

from __future__ import annotations

import pytest

from tests.fuzz import connection
from tests.fuzz.targets import TARGETS

CASES = {
    "connection": 500,
    "fragments": 500,
    "server": 300,
    "client": 250,
    "datagrams": 200,
    "hostile-peer": 500,
}
PACKS = 4


@pytest.mark.parametrize("pack", range(PACKS))
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_but_events_and_breaches(target: str, pack: int) -> None:
    share = CASES[target] // PACKS
    for number in range(pack * share, (pack + 1) * share):
        connection.attempt(target, 0, number)


def test_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    connection.main(["--seconds", "0", "--seed", "7"])
    assert capsys.readouterr().out == (
        "6 cases of connection, fragments, server, client, datagrams, hostile-peer: nothing found\n"
    )


def test_a_failure_says_how_to_try_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(random: object) -> None:
        raise AssertionError("found")

    monkeypatch.setitem(TARGETS, "connection", broken)
    with pytest.raises(AssertionError, match="found") as caught:
        connection.main(["--target", "connection", "--seed", "3", "--case", "5"])
    (note,) = caught.value.__notes__
    assert note.endswith("python -m tests.fuzz.connection --target connection --seed 3 --case 5")
