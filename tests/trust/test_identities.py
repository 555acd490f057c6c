from __future__ import annotations

import pytest

from sockserv.trust import EVERYTHING, FilesAccess, FilesGrant, Identity, Origin

READER = Identity(
    "alice",
    frozenset({"echo", "files"}),
    files=FilesGrant("reports", FilesAccess.READ_ONLY),
)


def test_an_identity_may_what_it_holds() -> None:
    assert READER.may("files")
    assert not READER.may("exec")
    assert READER.may(None)
    assert Identity("owner", frozenset({EVERYTHING})).may("anything")


def test_a_grant_is_equal_until_something_about_it_changes() -> None:
    moved = Identity(
        "alice", READER.permissions, files=FilesGrant("elsewhere", FilesAccess.READ_ONLY)
    )
    assert moved.grant("files") != READER.grant("files")
    assert moved.grant("echo") == READER.grant("echo")
    assert Identity("alice").grant("echo") != READER.grant("echo")
    assert Identity("alice").grant(None) == READER.grant(None)


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (Origin("192.0.2.7", 4711), "192.0.2.7 port 4711"),
        (Origin("::1"), "::1"),
        (Origin(uid=1000), "a local socket of the account 1000"),
        (Origin(), "a local socket"),
    ],
)
def test_an_origin_reads_well(origin: Origin, text: str) -> None:
    assert str(origin) == text
