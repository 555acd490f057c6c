"""The text of an identities file: what it means, and what is said of mistakes."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.tables import FieldError
from sockserv.trust.edited_file import EditedFileError
from sockserv.trust.grants import Grants
from sockserv.trust.identities import FilesAccess, FilesGrant, Identity
from sockserv.trust.identities_file import (
    Entry,
    KeptToken,
    checked_name,
    parse_identities,
)
from sockserv.trust.store import owner_entry

ROOT = Path(__file__).resolve().parent.parent.parent
HASH = "0123456789abcdef" * 4
PIN = "sha256:" + "A" * 43

WHOLE = f"""
# Comments are welcome.
[alice]
echo = true
exec = ["uptime", "/usr/bin/df", "/opt/a b-c/d", "any"]
files = {{ root = "reports", access = "ro" }}
chat = ["lobby", "*", "大厅"]
admin = true
permissions = ["counter", "printer.jam"]
tokens = [{{ sha256 = "{HASH.upper()}", expires = 2026-12-01T02:00:00+02:00 }}]
certificates = ["{PIN}"]
certificate_names = ["Alice.example.org"]
uids = [1000, 0]
password = true

["张三"]
["a.b@c"]
"""


def parse(text: str) -> dict[str, Entry]:
    return parse_identities(text, file="identities.toml", taken=[owner_entry("x", uid=500)])


def mistake(text: str) -> str:
    with pytest.raises(EditedFileError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("identities.toml")
    return message.removeprefix("identities.toml").strip()


def test_all_fields() -> None:
    entries = parse(WHOLE)
    assert list(entries) == ["alice", "张三", "a.b@c"]
    alice = entries["alice"]
    files = FilesGrant("reports", FilesAccess.READ_ONLY)
    assert alice.grants.identity("alice") == Identity(
        "alice",
        frozenset({"echo", "exec", "files", "chat", "admin", "counter", "printer.jam"}),
        exec=("uptime", "/usr/bin/df", "/opt/a b-c/d", "any"),
        files=files,
        chat=("lobby", "*", "大厅"),
    )
    assert alice.tokens == (KeptToken(HASH, datetime(2026, 12, 1, tzinfo=UTC)),)
    assert alice.certificates == (PIN,)
    assert alice.certificate_names == ("alice.example.org",)
    assert alice.uids == (1000, 0)
    assert alice.password


def test_the_example_in_the_documents() -> None:
    document = (ROOT / "docs" / "daemon.md").read_text(encoding="utf-8")
    section = document.partition("## The identities file")[2]
    alice, zhang = parse(section.partition("```toml\n")[2].partition("```")[0]).values()
    assert alice.grants.files == FilesGrant("reports", FilesAccess.READ_ONLY)
    assert zhang.grants.admin


def test_nothing_is_given_that_was_not_said() -> None:
    entry = parse("[alice]")["alice"]
    assert entry == Entry(name="alice", grants=Grants())
    assert entry.grants.identity("alice") == Identity("alice")
    assert list(entry.credentials()) == []


def test_a_hash_does_not_show() -> None:
    entry = parse(WHOLE)["alice"]
    assert HASH not in repr(entry)
    assert HASH not in repr(list(entry.credentials()))


@pytest.mark.parametrize(
    ("access", "inbox", "has_inbox"),
    [
        ("rw", "", True),
        ("rw", ", inbox = false", False),
        ("ro", "", False),
        ("ro", ", inbox = true", True),
        ("drop", "", False),
        ("drop", ", inbox = false", False),
    ],
)
def test_who_can_be_sent_files(access: str, inbox: str, has_inbox: bool) -> None:
    entry = parse(f'[a]\nfiles = {{ root = "x", access = "{access}"{inbox} }}')["a"]
    assert entry.grants.files is not None
    assert entry.grants.files.has_inbox is has_inbox


def test_other_ways_to_write_a_table() -> None:
    dotted = parse('bob.files.root = "x"\nbob.files.access = "rw"\n')
    inline = parse('bob = { files = { root = "x", access = "rw" } }')
    headers = parse('[bob]\n[bob.files]\nroot = "x"\naccess = "rw"\n')
    assert dotted == inline == headers
    assert (
        parse(f'[[bob.tokens]]\nsha256 = "{HASH}"')["bob"].tokens
        == parse(f'[bob]\ntokens = [{{sha256 = "{HASH}"}}]')["bob"].tokens
        == (KeptToken(HASH),)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # What is no TOML.
        ("[alice", "line 1: is not TOML: expected ']' at the end of a table declaration"),
        ("\n\n= 1", "line 3: is not TOML: invalid statement"),
        ("[a]\n[b]\n[a]\n", "line 3: is not TOML: cannot declare ('a',) twice"),
        ('\na = """', "line 2: is not TOML: unterminated string"),
        ("a = " + "[" * 100_000, ": is nested too deeply"),
        ("a = " + "9" * 5000, ": is not TOML: Exceeds the limit"),
        # What is no table of a person.
        ("# hm\nalice = 3", "line 2: alice: expected a table [alice] with its fields below it"),
        ("[[alice]]", "line 1: alice: expected a table [alice]"),
        (
            "[alice.example]\necho = true",
            'line 1: alice.example: there is no such table; a name with dots is written ["in.',
        ),
        # Names.
        (
            "[owner]",
            "line 1: owner: the name owner is taken: it stands for the account of the daemon",
        ),
        ('\n["\uff2fwner"]', "line 2: \uff2fwner: the name owner is taken"),
        ('[""]', "line 1: : a name has letters and digits of any language"),
        ('["-a"]', "line 1: -a: a name has"),
        ('["a b"]', "line 1: a b: a name has"),
        ('["a/b"]', "line 1: a/b: a name has"),
        ('["a\\u001bb"]', "line 1: 'a\\x1bb': a name has"),
        ('["a\\u200db"]', "line 1: 'a\\u200db': a name has"),
        (f"[{'a' * 65}]", f"line 1: {'a' * 65}: a name has"),
        ('["\\u00e9"]\n["e\\u0301"]', "line 2: e\u0301: there is another table for é"),
        # Fields.
        ("[a]\n\necko = true", "line 3: a.ecko: there is no such setting; did you mean echo?"),
        (
            '[a]\n"\\n\\u001b[2J" = true',
            "line 2: 'a.\\n\\x1b[2J': there is no such setting; expected",
        ),
        ("[a]\necho = 1", "line 2: a.echo: expected bool, got int"),
        ("[a]\nexec = 'uptime'", "line 2: a.exec: expected array, got str"),
        (
            "[a]\nexec = [\n  'uptime',\n  'rm -rf',\n]",
            "line 4: a.exec[1]: expected any, shell, an absolute path without . and .., or a comm",
        ),
        ("[a]\nexec = ['Uptime']", "line 2: a.exec[0]: expected any"),
        ("[a]\nexec = ['./x']", "line 2: a.exec[0]: expected any"),
        ("[a]\nexec = ['/bin/../x']", "line 2: a.exec[0]: expected any"),
        ("[a]\nexec = ['//x']", "line 2: a.exec[0]: expected any"),
        ('[a]\nexec = ["/x\\n"]', "line 2: a.exec[0]: expected any"),
        ('[a]\nexec = ["/x\\u0000"]', "line 2: a.exec[0]: expected any"),
        (
            "[a]\nexec = ['any', '/usr/bin/df -h /']",
            "line 2: a.exec[1]: a rule is the path of a program alone, without arguments: "
            "expected '/usr/bin/df', not '/usr/bin/df -h /'",
        ),
        ("[a]\nexec = ['/a b/c  --x']", "line 2: a.exec[0]: a rule is the path of a program alone"),
        (
            '[a]\nfiles = { root = "x", access = "rx" }',
            "line 2: a.files.access: expected ro, rw or drop, not 'rx'",
        ),
        ('[a]\nfiles = { access = "ro" }', "line 2: a.files.root: is missing"),
        ('[a]\nfiles = "x"', "line 2: a.files: expected table, got str"),
        ('[a.files]\nroot = 1\naccess = "ro"', "line 2: a.files.root: expected str, got int"),
        ('[a.files]\nroot = ""\naccess = "ro"', "line 2: a.files.root: expected the path of a f"),
        ('[a.files]\nroot = "x/.."\naccess = "ro"', "line 2: a.files.root: expected the path"),
        ('[a.files]\nroot = "x\\u0000"\naccess = "ro"', "line 2: a.files.root: expected the p"),
        ('[a.files]\nroot = "x"\naccess = "rw"\ninbox = 1', "line 4: a.files.inbox: expected bool"),
        (
            '[a]\nfiles = { root = "x", access = "drop", inbox = true }',
            "line 2: a.files.inbox: who may only drop files could not fetch",
        ),
        ('[a.files]\nrot = ""', "line 2: a.files.rot: there is no such setting; did you mean root"),
        ("[a]\nchat = ['']", "line 2: a.chat[0]: expected the name of a room"),
        (f"[a]\nchat = ['{'x' * 65}']", "line 2: a.chat[0]: expected the name of a room"),
        ("[a]\npermissions = ['exec']", "line 2: a.permissions[0]: exec has a field of its own"),
        ("[a]\npermissions = ['*']", "line 2: a.permissions[0]: expected the name of a permission"),
        ("[a]\ntokens = ['x']", "line 2: a.tokens[0]: expected table, got str"),
        ("[a]\ntokens = [{}]", "line 2: a.tokens[0].sha256: is missing"),
        ("[a]\ntokens = [{sha256 = 'x'}]", "line 2: a.tokens[0].sha256: expected 64 hexadecimal d"),
        ("[a]\n[[a.tokens]]\nexpires = 1", "line 3: a.tokens[0].expires: expected datetime"),
        (
            f"[a]\n[[a.tokens]]\nsha256 = '{HASH}'\nexpires = 2026-12-01T00:00:00",
            "line 4: a.tokens[0].expires: expected a time with its zone, as in 2030-01-31T00:00",
        ),
        (
            f"[a]\n[[a.tokens]]\nsha256 = '{HASH}'\nexpires = 2026-12-01",
            "line 4: a.tokens[0].expires: expected datetime",
        ),
        (
            f"[a]\n[[a.tokens]]\nsha256 = '{HASH}'\nexpires = 0001-01-01T00:00:00+14:00",
            "line 4: a.tokens[0].expires: expected a year from 1 to 9999",
        ),
        ("[a]\ncertificates = ['x']", "line 2: a.certificates[0]: expected sha256: and the 43"),
        (f"[a]\ncertificates = ['{PIN[:-1]}B']", "line 2: a.certificates[0]: expected sha256:"),
        ("[a]\ncertificate_names = ['']", "line 2: a.certificate_names[0]: expected a name in"),
        ("[a]\nuids = [-1]", "line 2: a.uids[0]: expected the number of an account, not -1"),
        (f"[a]\nuids = [{2**32 - 1}]", "line 2: a.uids[0]: expected the number of an account"),
        ("[a]\nuids = [true]", "line 2: a.uids[0]: expected int, got bool"),
        # One credential for two.
        (
            f"[[a.tokens]]\nsha256 = '{HASH}'\n[[b.tokens]]\nsha256 = '{HASH.upper()}'",
            "line 4: b.tokens[0].sha256: this token is a's",
        ),
        ("[a]\nuids = [1]\n[b]\nuids = [2, 1]", "line 4: b.uids[1]: this account is a's"),
        ("[a]\nuids = [500]", "line 2: a.uids[0]: this account is owner's"),
        (
            f"[a]\ncertificates = ['{PIN}']\n[b]\ncertificates = ['{PIN}']",
            "line 4: b.certificates[0]: this certificate is a's",
        ),
        (
            "[a]\ncertificate_names = ['x']\n[b]\ncertificate_names = ['X']",
            "line 4: b.certificate_names[0]: this name in certificates is a's",
        ),
        (
            f"[a]\ntokens = [{{sha256 = '{HASH}'}},\n {{sha256 = '{HASH[:8]}{HASH[8:][::-1]}'}}]",
            "line 3: a.tokens[1].sha256: another of these tokens begins with the same eight digits",
        ),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    assert mistake(text).startswith(message)


def test_no_mistake_shows_a_hash() -> None:
    text = f"[[a.tokens]]\nsha256 = '{HASH}'\n[[b.tokens]]\nsha256 = '{HASH}'"
    assert HASH not in mistake(text)
    assert HASH[1:] not in mistake(f"[[a.tokens]]\nsha256 = '{HASH[1:]}'")


@pytest.mark.parametrize(
    "name", ["a", "0", "alice@example.org", "a-b_c.d", "张三", "नमस्ते", "é", "x" * 64]
)
def test_names(name: str) -> None:
    assert checked_name(name) == name


def test_a_name_has_one_form() -> None:
    assert checked_name("e\u0301") == "\u00e9"


@given(st.text(max_size=70))
def test_any_name_is_checked(name: str) -> None:
    try:
        checked = checked_name(name)
    except FieldError:
        return
    assert checked.isprintable()
    assert checked_name(checked) == checked
    assert checked in parse(f"[{_key(name)}]")


def _key(name: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in name) + '"'


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(EditedFileError):
        parse(text)
