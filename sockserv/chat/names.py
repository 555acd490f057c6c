"""Names of rooms and members, as people write them, and the one form of each that the hub goes by.

What could be taken for another name is none: a room is the same whatever the case and the width of its letters, and a
name does not mix the letters of scripts that look alike.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

import attrs

from sockserv.chat.errors import BadName

__all__ = ["MAX_NAME_CHARACTERS", "Place", "conversation_of", "parse_place", "room_key"]

MAX_NAME_CHARACTERS: Final = 64

_MEMBER: Final = "@"
_PUNCTUATION: Final = frozenset("-_.")
_ALIKE: Final = frozenset(
    {"ARMENIAN", "CHEROKEE", "COPTIC", "CYRILLIC", "GEORGIAN", "GREEK", "LATIN"}
)
"""Scripts with letters that look like those of another one."""
_UNSEEN: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Letters and marks that show nothing (`Default_Ignorable_Code_Point` of Unicode)."""


@attrs.frozen
class Place:
    """Where something is said: a room, or a member if `is_member`. `name` is in the one form of it."""

    name: str
    is_member: bool = False

    def __str__(self) -> str:
        """The place as it is written: `lobby`, `@alice`."""
        return f"{_MEMBER}{self.name}" if self.is_member else self.name


def parse_place(text: str) -> Place:
    """The place that is written so. Raises `BadName` for what is none."""
    if text.startswith(_MEMBER):
        name = unicodedata.normalize("NFC", text.removeprefix(_MEMBER))
        if not name or len(name) > 256 or not name.isprintable() or " " in name:
            raise BadName(f"{_shown(text)} is not the name of a member")
        return Place(name, is_member=True)
    return Place(room_key(text))


@lru_cache(1024)
def room_key(name: str) -> str:
    """The one form of a room's name. Raises `BadName`, which says what is wrong with it."""
    if len(name) > 4 * MAX_NAME_CHARACTERS:
        raise BadName(f"a room's name has at most {MAX_NAME_CHARACTERS} characters")
    key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    if not key or len(key) > MAX_NAME_CHARACTERS:
        raise BadName(f"a room's name has 1 to {MAX_NAME_CHARACTERS} characters")
    if not key[0].isalnum():
        raise BadName(f"{_shown(name)}: a room's name begins with a letter or a digit")
    for character in key:
        is_letter = character.isalnum() or character in _PUNCTUATION or _is_mark(character)
        if not is_letter or character in _UNSEEN:
            raise BadName(f"{_shown(name)}: a room's name has letters, digits, -, _ and . only")
    scripts = {_script_of(character) for character in key if character.isalpha()} & _ALIKE
    if len(scripts) > 1:
        mixed = " and ".join(sorted(script.capitalize() for script in scripts))
        raise BadName(f"{_shown(name)} mixes letters that look alike: {mixed}")
    return key


def conversation_of(place: Place, member: str) -> str:
    """What the conversation of a member at a place is called in the store: the same for both of two members."""
    if not place.is_member:
        return f"#{place.name}"
    # No name of a member has a space in it.
    return _MEMBER + " ".join(sorted((place.name, member)))


def _is_mark(character: str) -> bool:
    """Whether it belongs to the letter before, as many scripts write their vowels."""
    return unicodedata.category(character) in ("Mn", "Mc")


def _script_of(letter: str) -> str:
    """The script of a letter, which is the first word of its name in Unicode."""
    return unicodedata.name(letter, "").partition(" ")[0]


def _shown(name: str) -> str:
    return repr(name if len(name) <= MAX_NAME_CHARACTERS else f"{name[:MAX_NAME_CHARACTERS]}…")
