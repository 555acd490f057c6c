"""The identities file: a table for each identity, with what it is given and what proves it.

```toml
[alice]
echo = true
exec = ["uptime", "/usr/bin/df"]
files = { root = "reports", access = "ro" }
chat = ["lobby"]
admin = false
permissions = ["counter"]
tokens = [{ sha256 = "(64 hexadecimal digits)", expires = 2026-12-01T00:00:00Z }]
certificates = ["sha256:(43 characters)"]
certificate_names = ["alice.example.org"]
uids = [1000]
password = true
```

Every field may be absent. One credential proves one identity: what stands for two of them is refused, because it
would be chance who somebody is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import attrs
import msgspec

from sockserv.tables import FieldError, converted
from sockserv.trust.grants import Grants, GrantsTable
from sockserv.trust.identities import Login
from sockserv.trust.toml_text import mistake, toml_document
from sockserv.urls import PIN

__all__ = [
    "MAX_NAME_CHARACTERS",
    "OWNER",
    "Credential",
    "Entry",
    "KeptToken",
    "Kind",
    "checked_name",
    "is_sha256",
    "normal_name",
    "parse_identities",
]

OWNER: Final = "owner"
"""The identity that a daemon has without a file."""

MAX_NAME_CHARACTERS = 64
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_UID = 2**32 - 2  # the highest number stands for no account


@attrs.frozen
class KeptToken:
    """What is kept of a token. `expires`: from then on it proves nothing; None: never.

    `credential` is what the token is called where it may be seen.
    """

    sha256: str = attrs.field(repr=False)
    expires: datetime | None = None
    credential: str = attrs.field(
        default=attrs.Factory(lambda self: f"token:{self.sha256[:8]}", takes_self=True)
    )


class Kind(StrEnum):
    """The kinds of credentials, each in the words of an error."""

    TOKEN = "token"
    CERTIFICATE = "certificate"
    CERTIFICATE_NAME = "name in certificates"
    ACCOUNT = "account"
    PASSWORD = "password"


@attrs.frozen
class Credential:
    """Something that proves an identity, and the login that it makes.

    `value` tells it from all others of its kind: a token's hash, a pin, a name, the number of an account. `field` is
    where it stands in the file.
    """

    kind: Kind
    value: str | int = attrs.field(repr=False)
    login: Login
    field: str
    expires: datetime | None = None

    @property
    def key(self) -> tuple[Kind, str | int]:
        """What no other credential has."""
        return self.kind, self.value


@attrs.frozen(kw_only=True)
class Entry:
    """An identity, and what proves it.

    `certificates` are pins of keys; `certificate_names` count in certificates that a trusted authority has signed;
    `uids` are accounts of this machine, on Unix sockets; `password` is whether some checker of passwords may vouch.
    """

    name: str
    grants: Grants
    tokens: tuple[KeptToken, ...] = ()
    certificates: tuple[str, ...] = ()
    certificate_names: tuple[str, ...] = ()
    uids: tuple[int, ...] = ()
    password: bool = False

    def credentials(self) -> Iterator[Credential]:
        """All that proves the identity."""
        for number, token in enumerate(self.tokens):
            login = Login("token", token.credential)
            field = f"tokens[{number}].sha256"
            yield Credential(Kind.TOKEN, token.sha256, login, field, token.expires)
        for number, pin in enumerate(self.certificates):
            login = Login("certificate", f"certificate:{pin}")
            yield Credential(Kind.CERTIFICATE, pin, login, f"certificates[{number}]")
        for number, name in enumerate(self.certificate_names):
            login = Login("certificate", f"certificate-name:{name}")
            field = f"certificate_names[{number}]"
            yield Credential(Kind.CERTIFICATE_NAME, name, login, field)
        for number, uid in enumerate(self.uids):
            login = Login("uid", f"uid:{uid}")
            yield Credential(Kind.ACCOUNT, uid, login, f"uids[{number}]")
        if self.password:
            yield Credential(Kind.PASSWORD, self.name, Login("password", "password"), "password")


class _EntryTable(GrantsTable, forbid_unknown_fields=True):
    tokens: tuple[dict[str, Any], ...] = ()
    certificates: tuple[str, ...] = ()
    certificate_names: tuple[str, ...] = ()
    uids: tuple[int, ...] = ()
    password: bool = False


class _TokenTable(msgspec.Struct, forbid_unknown_fields=True):
    sha256: str
    expires: datetime | None = None


def parse_identities(text: str, *, file: str, taken: Iterable[Entry] = ()) -> dict[str, Entry]:
    """The identities that a file's text says, by name, in their order.

    `file` is what errors call it; `taken` are identities from elsewhere, whose names and credentials are not free.

    Raises `EditedFileError` that names the line and the field.
    """
    document = toml_document(text, file=file)
    owners: dict[tuple[Kind, str | int], str] = {}
    for entry in taken:
        _claim(entry, owners)
    entries: dict[str, Entry] = {}
    for written, table in document.items():
        try:
            name = checked_name(written)
            if name in entries:
                raise FieldError("", f"there is another table for {name}")
            entry = _entry(name, table)
            _claim(entry, owners)
        except FieldError as error:
            raise mistake(text, (written,), error, file=file) from None
        entries[name] = entry
    return entries


def checked_name(name: str) -> str:
    """The name of an identity in its one form. Raises `FieldError` for what cannot be a name."""
    normal = normal_name(name)
    if not (
        0 < len(normal) <= MAX_NAME_CHARACTERS
        and normal[0].isalnum()
        and all(map(_may_be_in_name, normal))
    ):
        raise FieldError(
            "",
            f"a name has letters and digits of any language, and after the first one . _ @ -, at most "
            f"{MAX_NAME_CHARACTERS} in all, unlike {name[: MAX_NAME_CHARACTERS + 1]!r}",
        )
    # Nobody is to be taken for the owner, either.
    if unicodedata.normalize("NFKC", normal).casefold() == OWNER:
        raise FieldError("", f"the name {OWNER} is taken: it stands for the account of the daemon")
    return normal


def is_sha256(text: str) -> bool:
    """Whether this is a SHA-256 as it is kept: in small hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


def normal_name(name: str) -> str:
    """The one form of what looks the same: Unicode's NFC."""
    return unicodedata.normalize("NFC", name)


def _may_be_in_name(character: str) -> bool:
    # Some scripts write parts of a letter as marks of their own.
    return character.isalnum() or character in "._@-" or unicodedata.category(character) in _MARKS


_MARKS = {"Mn", "Mc"}


def _entry(name: str, content: Any) -> Entry:
    if not isinstance(content, dict):
        raise FieldError("", f"expected a table [{name}] with its fields below it")
    for field, value in content.items():
        if isinstance(value, dict) and field != "files":
            raise FieldError(
                field, 'there is no such table; a name with dots is written ["in.quotation.marks"]'
            )
    table = converted(content, _EntryTable)
    return Entry(
        name=name,
        grants=Grants.from_table(table),
        tokens=tuple(_token(number, token) for number, token in enumerate(table.tokens)),
        certificates=tuple(_pins(table.certificates)),
        certificate_names=tuple(_certificate_names(table.certificate_names)),
        uids=tuple(_uids(table.uids)),
        password=table.password,
    )


def _token(number: int, content: dict[str, Any]) -> KeptToken:
    field = f"tokens[{number}]"
    table = converted(content, _TokenTable, where=f"{field}.")
    sha256 = table.sha256.lower()
    if not is_sha256(sha256):
        raise FieldError(f"{field}.sha256", "expected 64 hexadecimal digits")
    expires = table.expires
    if expires is None:
        return KeptToken(sha256)
    if expires.tzinfo is None:
        raise FieldError(
            f"{field}.expires", "expected a time with its zone, as in 2030-01-31T00:00:00Z"
        )
    try:
        return KeptToken(sha256, expires.astimezone(UTC))
    except OverflowError:
        raise FieldError(f"{field}.expires", "expected a year from 1 to 9999") from None


def _pins(pins: tuple[str, ...]) -> Iterator[str]:
    for number, pin in enumerate(pins):
        if not PIN.fullmatch(pin):
            raise FieldError(
                f"certificates[{number}]", "expected sha256: and the 43 characters of a key's pin"
            )
        yield pin


def _certificate_names(names: tuple[str, ...]) -> Iterator[str]:
    for number, name in enumerate(names):
        if not name or not name.isprintable() or name.strip() != name:
            raise FieldError(
                f"certificate_names[{number}]", f"expected a name in a certificate, not {name!r}"
            )
        # Hosts are the same whatever their case.
        yield name.lower()


def _uids(uids: tuple[int, ...]) -> Iterator[int]:
    for number, uid in enumerate(uids):
        if not 0 <= uid <= _MAX_UID:
            raise FieldError(f"uids[{number}]", f"expected the number of an account, not {uid}")
        yield uid


def _claim(entry: Entry, owners: dict[tuple[Kind, str | int], str]) -> None:
    """Note whom the credentials of an entry prove. Raises `FieldError` for one that proves somebody already."""
    seen: set[Login] = set()
    for credential in entry.credentials():
        owner = owners.setdefault(credential.key, entry.name)
        if owner != entry.name:
            raise FieldError(credential.field, f"this {credential.kind} is {owner}'s")
        # What tells the tokens of one identity apart in a log has to do it here, too.
        if credential.kind is Kind.TOKEN and credential.login in seen:
            raise FieldError(
                credential.field, "another of these tokens begins with the same eight digits"
            )
        seen.add(credential.login)
