r"""Patterns that values have to fit, in a time that grows with their length alone.

What is matched comes from outside, and Python's own `re` can take longer than anybody waits: `(a+)+b` does for thirty
letters. So a pattern is made into an automaton (Glushkov's, with a bit for each character of the pattern), which goes
over a value once. The notation is that of `re`, without what no automaton does: characters, and `\` before those that
mean something, `.`, classes like `[a-z_]`, `\d` `\w` `\s` and their opposites (of ASCII), groups, `|`, and the repeats
`*` `+` `?` `{m}` `{m,n}` `{m,}` `{,n}`. The whole value has to fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

import attrs

__all__ = ["MAX_PATTERN_CHARACTERS", "MAX_POSITIONS", "Pattern", "PatternError"]

MAX_PATTERN_CHARACTERS: Final = 1000
MAX_POSITIONS: Final = 512
"""So many characters a pattern may have when its repeats are written out."""
_MAX_DEPTH: Final = 20

_SPECIAL: Final = frozenset("()[]{}*+?|^$.\\")
_CLASSES: Final = frozenset("dDwWsS")
_QUANTIFIER: Final = re.compile(r"[*+?]|\{(\d{0,4})(,?)(\d{0,4})\}", re.ASCII)
_SET_OPERATIONS: Final = ("--", "&&", "~~", "||")


class PatternError(ValueError):
    """A pattern is not one; the message says what is wrong."""


@attrs.frozen
class _Atom:
    """One character, as `re` has it."""

    text: str


@attrs.frozen
class _Sequence:
    parts: tuple[_Node, ...]


@attrs.frozen
class _Choice:
    parts: tuple[_Node, ...]


@attrs.frozen
class _Repeat:
    part: _Node
    least: int
    most: int | None


_Node: TypeAlias = _Atom | _Sequence | _Choice | _Repeat


class Pattern:
    """A pattern, ready to be matched. Raises `PatternError` for what is none, or is too large."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PATTERN_CHARACTERS:
            raise PatternError(f"it has more than {MAX_PATTERN_CHARACTERS} characters")
        self.text = text
        root = _Reader(text).read()
        if _positions(root) > MAX_POSITIONS:
            raise PatternError(
                f"with its repeats written out, it has more than {MAX_POSITIONS} characters"
            )
        automaton = _Automaton()
        ends = automaton.add(root)
        self._is_optional, self._first, self._last = ends.is_optional, ends.first, ends.last
        self._follow = automaton.follow
        self._atoms = [(re.compile(text, re.ASCII), at) for text, at in automaton.atoms.items()]

    def fits(self, value: str) -> bool:
        """Whether the whole value fits."""
        expected, reached = self._first, 0
        if not value:
            return self._is_optional
        follow = self._follow
        places_of: dict[str, int] = {}
        for character in value:
            places = places_of.get(character)
            if places is None:
                places_of[character] = places = self._places(character)
            reached = rest = expected & places
            expected = 0
            while rest:
                lowest = rest & -rest
                expected |= follow[lowest.bit_length() - 1]
                rest ^= lowest
            if not reached:
                return False
        return bool(reached & self._last)

    def _places(self, character: str) -> int:
        """The positions at which a character may stand."""
        return sum(at for atom, at in self._atoms if atom.fullmatch(character))


@attrs.frozen
class _Ends:
    """Where a part of a pattern begins and ends, as sets of positions; `is_optional`: it fits nothing, too."""

    is_optional: bool
    first: int
    last: int


class _Automaton:
    """Positions, what may stand at each, and which may follow it."""

    def __init__(self) -> None:
        self.atoms: dict[str, int] = {}
        self.follow: list[int] = []

    def add(self, node: _Node) -> _Ends:
        """Add a part of a pattern, with positions of its own."""
        match node:
            case _Atom():
                position = 1 << len(self.follow)
                self.follow.append(0)
                self.atoms[node.text] = self.atoms.get(node.text, 0) | position
                return _Ends(False, position, position)
            case _Sequence():
                ends = _Ends(True, 0, 0)
                for part in node.parts:
                    ends = self._joined(ends, self.add(part))
                return ends
            case _Choice():
                parts = [self.add(part) for part in node.parts]
                return _Ends(
                    any(part.is_optional for part in parts),
                    _union(part.first for part in parts),
                    _union(part.last for part in parts),
                )
            case _Repeat():
                return self._add_repeat(node)

    def _add_repeat(self, node: _Repeat) -> _Ends:
        ends = _Ends(True, 0, 0)
        # What may be repeated without end is written out up to there, and its last one leads back to itself.
        written = max(node.least, 1) if node.most is None else node.most
        for number in range(1, written + 1):
            part = self.add(node.part)
            if node.most is None and number == written:
                self._connect(part.last, part.first)
            if number > node.least:
                part = attrs.evolve(part, is_optional=True)
            ends = self._joined(ends, part)
        return ends

    def _joined(self, left: _Ends, right: _Ends) -> _Ends:
        self._connect(left.last, right.first)
        return _Ends(
            left.is_optional and right.is_optional,
            left.first | right.first if left.is_optional else left.first,
            left.last | right.last if right.is_optional else right.last,
        )

    def _connect(self, last: int, first: int) -> None:
        while last:
            lowest = last & -last
            self.follow[lowest.bit_length() - 1] |= first
            last ^= lowest


def _union(sets: Iterable[int]) -> int:
    union = 0
    for each in sets:
        union |= each
    return union


def _positions(node: _Node) -> int:
    """How many positions a part has when its repeats are written out."""
    match node:
        case _Atom():
            return 1
        case _Repeat():
            written = max(node.least, 1) if node.most is None else node.most
            # What is repeated costs time even if there is nothing in it.
            return written * max(1, _positions(node.part))
        case _:
            return sum(map(_positions, node.parts))


class _Reader:
    """Reads the notation."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def read(self) -> _Node:
        """All of the pattern."""
        node = self._choice()
        if self._at < len(self._text):
            raise PatternError(f"there is a ) without its ( at character {self._at + 1}")
        return node

    def _next(self) -> str:
        """The next character, empty at the end."""
        return self._text[self._at : self._at + 1]

    def _choice(self) -> _Node:
        parts = [self._sequence()]
        while self._next() == "|":
            self._at += 1
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Choice(tuple(parts))

    def _sequence(self) -> _Node:
        parts = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeated(self._one()))
        return _Sequence(tuple(parts))

    def _one(self) -> _Node:
        begin, character = self._at, self._next()
        self._at += 1
        if character == "(":
            return self._group()
        if character == "[":
            return self._class(begin)
        if character == "\\":
            self._escaped()
        elif character in "^$":
            raise PatternError(
                f"the whole value has to fit anyway: leave {character} out, or write \\{character} for the character"
            )
        elif character in _SPECIAL and character != ".":
            raise PatternError(
                f"there is nothing that {character} at character {begin + 1} could repeat; write \\{character} for the "
                "character"
            )
        text = self._text[begin : self._at]
        return _Atom(text if text[0] == "\\" or text == "." else re.escape(text))

    def _group(self) -> _Node:
        if self._text.startswith("?:", self._at):
            self._at += 2
        elif self._next() == "?":
            raise PatternError("of what begins with (? there is only (?:...)")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise PatternError(f"groups are nested more than {_MAX_DEPTH} deep")
        node = self._choice()
        self._depth -= 1
        if self._next() != ")":
            raise PatternError("there is a ( without its )")
        self._at += 1
        return node

    def _class(self, begin: int) -> _Node:
        if self._next() == "^":
            self._at += 1
        first = self._at
        while self._next() != "]" or self._at == first:
            character = self._next()
            if not character:
                raise PatternError("there is a [ without its ]")
            # `re` may give these a meaning some day.
            if character == "[" or self._text[self._at : self._at + 2] in _SET_OPERATIONS:
                raise PatternError(f"within [ ], write \\{character} for {character}")
            self._at += 1
            if character == "\\":
                self._escaped()
        self._at += 1
        text = self._text[begin : self._at]
        try:
            re.compile(text, re.ASCII)
        except re.error as error:
            raise PatternError(f"{text}: {error.msg}") from None
        return _Atom(text)

    def _escaped(self) -> None:
        """Pass over what stands behind a `\\`."""
        character = self._next()
        self._at += 1
        if character in _CLASSES and character:
            return
        if not character or not character.isascii() or character.isalnum():
            known = " ".join(f"\\{each}" for each in sorted(_CLASSES))
            raise PatternError(
                f"there is no \\{character}; there is {known}, and \\ before . and the like"
            )

    def _repeated(self, node: _Node) -> _Node:
        found = _QUANTIFIER.match(self._text, self._at)
        if found is None:
            return node
        self._at = found.end()
        text = found[0]
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(text, (0, None))
        if text[0] == "{":
            if text in ("{}", "{,}"):
                raise PatternError(f"{text} says no number")
            least = int(found[1] or 0)
            most = (int(found[3]) if found[3] else None) if found[2] else least
            if most is not None and most < least:
                raise PatternError(f"{text}: the second number is the smaller one")
        if self._next() in ("*", "+", "?", "{"):
            raise PatternError(f"a repeat is not repeated: put what stands before {text} in ( )")
        return _Repeat(node, least, most)
