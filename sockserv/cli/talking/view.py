"""What stands around the line that is typed: the prompt, and the bar below."""

from __future__ import annotations

from typing import Final

import attrs

from sockserv.cli.talking.showing import Row
from sockserv.cli.talking.visible import columns_of, cut, visible_name

__all__ = ["View", "bar_of", "prompt_of"]

_PROMPT_COLUMNS: Final = 24
_MOST_UNREAD: Final = 5
_BETWEEN: Final = " │ "
_NOWHERE: Final = "-"


@attrs.frozen(kw_only=True)
class View:
    """What is known of a chat at a moment, and what can be completed in the line.

    `unread` are other places, each with how many messages nobody has seen there.
    """

    here: str = ""
    crowd: str = ""
    outlook: str = ""
    """What becomes of one's last message."""
    sending: str = ""
    """The files that are on their way."""
    unread: tuple[tuple[str, int], ...] = ()
    names: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    is_connected: bool = True


def prompt_of(view: View, columns: int) -> str:
    """What stands left of the line that is typed, in a terminal of so many columns."""
    name = visible_name(view.here) or _NOWHERE
    return f"{cut(name, max(1, min(_PROMPT_COLUMNS, columns // 3)))}> "


def bar_of(view: View, columns: int) -> Row:
    """What stands below: in a narrow terminal, what is most wanted."""
    pieces: list[tuple[str, str]] = []
    if not view.is_connected:
        pieces.append(("lost", "no connection"))
    pieces += (
        ("unread", f"{cut(visible_name(name), 16)} {count}")
        for name, count in view.unread[:_MOST_UNREAD]
    )
    if len(view.unread) > _MOST_UNREAD:
        pieces.append(("unread", f"{len(view.unread) - _MOST_UNREAD} more rooms"))
    pieces += (("fact", words) for words in (view.sending, view.outlook, view.crowd) if words)
    row: list[tuple[str, str]] = []
    left = columns - 1
    for index, (style, words) in enumerate(pieces):
        between = _BETWEEN if index else " "
        left -= columns_of(between)
        if left < 2:
            break
        words = cut(words, left)
        left -= columns_of(words)
        row += (("fact", between), (style, words))
    return tuple(row)
