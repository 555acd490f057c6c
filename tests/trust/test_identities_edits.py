"""Changes to an identities file: what they mean, and what they leave as a person has written it."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.trust.grants import Grants
from sockserv.trust.identities import FilesAccess, FilesGrant
from sockserv.trust.identities_edits import (
    with_entry,
    with_replaced_token,
    with_token,
    without_entry,
)
from sockserv.trust.identities_file import Entry, KeptToken, parse_identities

OLD = "01" * 32
OTHER = "23" * 32
NEW = "ab" * 32

COMMENTED = f"""\
# The lab's people.

# Alice, from accounting
[alice]  # since May
echo = true
tokens = [
    # her laptop
    {{ sha256 = "{OLD}" }},  # lent
]

# Bob
# is away
[bob]
exec = ["uptime"]   # only this

["张三"]
"""


def parse(text: str) -> dict[str, Entry]:
    return parse_identities(text, file="identities.toml")


class TestAdding:
    def test_to_nothing(self) -> None:
        entry = Entry(name="alice", grants=Grants(echo=True), tokens=(KeptToken(NEW),))
        assert with_entry("", entry) == f'[alice]\necho = true\ntokens = [{{sha256 = "{NEW}"}}]\n'

    @pytest.mark.parametrize("end", ["", "\n", "\n\n", "  # no newline"])
    def test_after_what_is_there(self, end: str) -> None:
        entry = Entry(name="new", grants=Grants(), tokens=(KeptToken(NEW),))
        text = with_entry(COMMENTED + end, entry)
        assert text.startswith(COMMENTED + end)
        assert parse(text) == {**parse(COMMENTED), "new": entry}


class TestRemoving:
    def test_comments_outside_of_the_table_stay(self) -> None:
        assert without_entry(COMMENTED, "alice") == COMMENTED.replace(
            COMMENTED[COMMENTED.index("[alice]") : COMMENTED.index("# Bob")], ""
        )

    def test_the_last_one(self) -> None:
        assert parse(without_entry(COMMENTED, "张三")).keys() == {"alice", "bob"}


class TestTokens:
    def test_one_more_keeps_what_is_written_around_it(self) -> None:
        text = with_token(COMMENTED, "alice", KeptToken(NEW, datetime(2027, 1, 1, tzinfo=UTC)))
        line = f'    {{sha256 = "{NEW}", expires = 2027-01-01T00:00:00Z}},\n'
        assert text == COMMENTED.replace("  # lent\n", f"  # lent\n{line}")

    def test_another_hash_changes_nothing_else(self) -> None:
        assert with_replaced_token(COMMENTED, "alice", OLD, NEW) == COMMENTED.replace(OLD, NEW)


@pytest.mark.parametrize(
    "alice",
    [
        f'alice = {{ tokens = [{{ sha256 = "{OLD}" }}] }}\n',
        f'alice.echo = true\nalice.tokens = [{{ sha256 = "{OLD}" }}]\n',
        f'[[alice.tokens]]\nsha256 = "{OLD}"\n',
        f'[alice]\n[[alice.tokens]]\nsha256 = "{OLD.upper()}"\nexpires = 2027-01-01T00:00:00Z\n',
        f'["alice"]\nchat = [\n"[bob]", # [alice]\n]\ntokens = [{{ sha256 = "{OLD}" }}]',
        f"[alice.files]\nroot = 'x'\naccess = 'ro'\n[zoe]\n[alice]\ntokens = [{{sha256 = '{OLD}'}}]",
        f"[[alice.tokens]]\nsha256 = '{OLD}'\n[zoe]\n[[alice.tokens]]\nsha256 = '{OTHER}'\n",
        f"[alice]\r\necho = true\r\ntokens = [{{sha256 = '{OLD}'}}]\r\n",
    ],
)
@pytest.mark.parametrize("before", ["", "# top\nyan.echo = true\n", "yan = {}\n\n"])
@pytest.mark.parametrize(
    "after", ["", "\n# Bob\n[bob]\n", f'\n["b.c"]\n[[xi.tokens]]\nsha256="{OTHER[::-1]}"']
)
@pytest.mark.parametrize("end", ["", "\n", "  # the end"])
def test_however_an_identity_is_written(before: str, alice: str, after: str, end: str) -> None:
    if before.startswith("# top") and alice.startswith("alice"):
        before = before.replace("# top\n", "# top\n" + alice)
        text = before + after
    else:
        text = before + alice + ("" if alice.endswith("\n") else "\n") + after
    text = text.rstrip() + end
    entries = parse(text)
    owner = entries["alice"]
    old = next(token for token in owner.tokens if token.sha256 == OLD)

    others = {name: entry for name, entry in entries.items() if name != "alice"}
    assert parse(without_entry(text, "alice")) == others

    new = KeptToken(NEW, old.expires)
    replaced = tuple(new if token is old else token for token in owner.tokens)
    expected = {**entries, "alice": attrs.evolve(owner, tokens=replaced)}
    assert parse(with_replaced_token(text, "alice", OLD, NEW)) == expected

    more = attrs.evolve(owner, tokens=(*owner.tokens, new))
    assert parse(with_token(text, "alice", new)) == {**entries, "alice": more}


@given(
    st.builds(
        Grants,
        echo=st.booleans(),
        exec=st.lists(st.sampled_from(["any", "shell", "uptime", "/usr/bin/df"])).map(tuple),
        files=st.none()
        | st.builds(
            FilesGrant,
            st.sampled_from(["reports", "/srv", "a b", '"', "\\", "#"]),
            st.sampled_from(FilesAccess),
            st.sampled_from([None, False]),
        ),
        chat=st.lists(st.sampled_from(["lobby", "*", "大厅", '"', "'''"])).map(tuple),
        admin=st.booleans(),
        permissions=st.lists(st.sampled_from(["counter", "a.b:c-d"])).map(tuple),
    ),
    st.sampled_from(["carol", "张三", "a.b", "a@b", "0", "é"]),
    st.none() | st.datetimes(timezones=st.just(UTC)),
)
def test_whatever_is_given_can_be_written(
    grants: Grants, name: str, expires: datetime | None
) -> None:
    entry = Entry(name=name, grants=grants, tokens=(KeptToken(NEW, expires),))
    text = with_entry(COMMENTED.replace("张三", "li"), entry)
    assert parse(text)[name] == entry
    assert without_entry(text, name).rstrip() == COMMENTED.replace("张三", "li").rstrip()


def test_a_name_that_is_written_in_another_form() -> None:
    text = '["e\u0301"]\necho = true\n'
    assert parse(without_entry(text, "\u00e9")) == {}
    assert parse(with_token(text, "\u00e9", KeptToken(NEW)))["\u00e9"].tokens == (KeptToken(NEW),)
