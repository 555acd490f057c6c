"""What a chat at a terminal knows: where one is, what is shown there, and what waits at other places.

Invariants:

1. A message is shown once, or counted as unread at its place; what is said to oneself is shown wherever one is.
2. What is kept of a place that one is not at is bounded; the rest is in the history at the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import attrs

from sockserv.chat.facts import Message, PresenceState
from sockserv.chat.lines import (
    Entered,
    Event,
    Joined,
    Left,
    MessageEvent,
    PresenceEvent,
    Slowed,
    Undelivered,
)
from sockserv.cli.talking.showing import Kind, Line, said_line
from sockserv.cli.talking.view import View
from sockserv.cli.talking.visible import cut, visible_name
from sockserv.client.chat.sent import SentMessage

__all__ = ["State"]

_MOST_KEPT: Final = 200
_MOST_PEOPLE: Final = 30
"""In a room with more of them nobody wants to hear who comes and goes."""
_MOST_NAMED: Final = 3
_MOST_OWN: Final = 256
_MOST_NAMES: Final = 1000
_EXCERPT_COLUMNS: Final = 30


@attrs.define
class _Place:
    """A room that one is in, or somebody with whom one talks."""

    members: set[str] = attrs.field(factory=set)
    kept: deque[Message] = attrs.field(factory=lambda: deque(maxlen=_MOST_KEPT))
    missed: int = 0
    shown_id: int = 0
    noted_id: int = 0
    was_visited: bool = False


class State:
    """A chat as it stands; nothing here waits for anything. What the methods give is to be shown."""

    def __init__(self) -> None:
        self.identity = ""
        self.here = ""
        self.is_connected = True
        self.sending = ""
        """The files that are on their way, in words."""
        self._places: dict[str, _Place] = {}
        self._names: dict[str, None] = {}
        self._rooms: dict[str, None] = {}
        self._is_loading = False
        self._waiting = 0
        self._is_slowed = False
        self._own: dict[int, SentMessage] = {}
        self._last: SentMessage | None = None

    # What comes

    def take(self, event: Event) -> list[Line]:
        """An event has come."""
        match event:
            case Joined():
                return self._take_joined(event)
            case MessageEvent():
                return self._take_message(event.message)
            case Entered():
                return self._take_entered(event)
            case Left():
                return self._take_left(event)
            case PresenceEvent():
                return self._take_presence(event)
            case Undelivered():
                return self._take_undelivered(event)
            case Slowed() if not self._is_slowed:
                self._is_slowed = True
                words = f"that was much at once: the server takes more in {event.seconds:.1f} s"
                return [said_line(words)]
            case _:
                return []

    def lost(self, why: str) -> list[Line]:
        """There is no connection any more."""
        if not self.is_connected:
            return []
        self.is_connected = False
        words = f"no connection ({why}); what you say is sent when it is back"
        return [said_line(words, kind=Kind.ERROR)]

    def _take_joined(self, joined: Joined) -> list[Line]:
        self.identity = joined.identity
        for room in joined.rooms:
            place = self._place(room.name)
            place.members = set(room.members)
            self._know(*room.members)
        was_connected, self.is_connected = self.is_connected, True
        return [] if was_connected else [said_line("the connection is back")]

    def _take_message(self, message: Message) -> list[Line]:
        place = self._place(message.to)
        is_own = message.sender == self.identity
        if not is_own:
            self._know(message.sender)
        if message.to == self.here and not self._is_loading:
            place.shown_id = message.id
            return [self.line_of(message)]
        if message.to == self.here or not message.to.startswith("@"):
            place.kept.append(message)
            place.missed += not is_own
            return []
        place.shown_id = message.id
        return [attrs.evolve(self.line_of(message), to=message.to if is_own else "you")]

    def _take_entered(self, event: Entered) -> list[Line]:
        place = self._place(event.room)
        if event.name == self.identity:
            place.members = {event.name, *event.members}
            self._know(*event.members)
            return []
        place.members.add(event.name)
        self._know(event.name)
        return self._about(event.room, f"{visible_name(event.name)} is here")

    def _take_left(self, event: Left) -> list[Line]:
        place = self._places.get(event.room)
        if place is None or event.name == self.identity:
            return []
        place.members.discard(event.name)
        return self._about(event.room, f"{visible_name(event.name)} has left")

    def _about(self, room: str, words: str) -> list[Line]:
        is_news = room == self.here and len(self._places[room].members) <= _MOST_PEOPLE
        return [said_line(words)] if is_news else []

    def _take_presence(self, event: PresenceEvent) -> list[Line]:
        presence = event.presence
        name = visible_name(presence.name)
        if presence.name == self.identity:
            return []
        self._know(presence.name)
        if presence.state is PresenceState.AWAY:
            return [said_line(f"{name} is away: {visible_name(presence.text or '')}")]
        if presence.state is PresenceState.ONLINE:
            return [said_line(f"{name} is back")]
        return []

    def _take_undelivered(self, event: Undelivered) -> list[Line]:
        sent = self._own.get(event.id)
        what = f": {_excerpt(sent.text)}" if sent is not None else ""
        whom = _some(event.to)
        words = f"not delivered to {whom}, as {visible_name(event.why)}{what}"
        return [said_line(words, kind=Kind.ERROR)]

    # What one says

    def said(self, to: str, text: str, *, at: float) -> list[Line]:
        """One says something."""
        self._waiting += 1
        self._place(to)
        return [
            Line(
                kind=Kind.MESSAGE,
                text=text,
                sender=self.identity,
                to="" if to == self.here else to,
                at=at,
                is_own=True,
            )
        ]

    def stored(self, message: SentMessage) -> None:
        """The server has a message."""
        self._settle()
        assert message.id is not None
        self._last = self._own[message.id] = message
        if len(self._own) > _MOST_OWN:
            del self._own[next(iter(self._own))]

    def refused(self, text: str, why: str) -> list[Line]:
        """The server does not take a message."""
        self._settle()
        return [said_line(f"not sent, as {why}: {_excerpt(text)}", kind=Kind.ERROR)]

    @property
    def waiting(self) -> int:
        """How many messages the server does not have yet."""
        return self._waiting

    def _settle(self) -> None:
        self._waiting -= 1
        self._is_slowed = self._is_slowed and self._waiting > 0

    # Where one is

    def go(self, name: str) -> bool:
        """One is at another place. Gives whether its history is wanted; what comes there is kept until `arrive`."""
        self.here = name
        self._is_loading = True
        return not self._place(name).was_visited

    def arrive(self, history: Iterable[Message] = ()) -> list[Line]:
        """What was said here, by the history and since."""
        self._is_loading = False
        place = self._place(self.here)
        before = [*history]
        known = before[-1].id if before else place.shown_id
        after = [message for message in place.kept if message.id > known]
        lines = [self.line_of(message) for message in (*before, *after)]
        lost = place.missed - len(place.kept)
        if lost > 0 and place.was_visited:
            lines.insert(0, said_line(f"{lost} more before that: /history"))
        if before or after:
            place.shown_id = max(place.shown_id, (*before, *after)[-1].id)
        place.kept.clear()
        place.missed = 0
        place.was_visited = True
        return lines

    def leave(self, room: str) -> None:
        """One is not in a room any more; if one was there, one is at some other place, or nowhere."""
        self._places.pop(room, None)
        if room == self.here:
            self.here = next(iter(self._places), "")
            self._is_loading = False

    def line_of(self, message: Message) -> Line:
        """A message as it is shown at its own place."""
        return Line(
            kind=Kind.MESSAGE,
            text=message.text,
            sender=message.sender,
            at=message.at,
            is_own=message.sender == self.identity,
        )

    def to_note(self) -> list[tuple[str, int]]:
        """Places with the ids up to which one has read them since this was asked last."""
        found = []
        for name, place in self._places.items():
            if place.shown_id > place.noted_id:
                place.noted_id = place.shown_id
                found.append((name, place.shown_id))
        return found

    def know_people(self, names: Iterable[str]) -> None:
        """There are such people."""
        self._know(*[*names][:_MOST_NAMES])

    def know_rooms(self, names: Iterable[str]) -> None:
        """There are such rooms."""
        self._rooms |= dict.fromkeys([*names][:_MOST_NAMES])

    def members_here(self) -> set[str]:
        """Who is in the room that one is at."""
        place = self._places.get(self.here)
        return set() if place is None else place.members

    @property
    def view(self) -> View:
        """What stands around the line that is typed."""
        rooms = {name for name in self._places if not name.startswith("@")}
        unread = tuple(
            (name, place.missed)
            for name, place in self._places.items()
            if place.missed and name != self.here
        )
        names = tuple(sorted(name for name in self._names if name != self.identity))
        return View(
            here=self.here,
            crowd=self._crowd(),
            outlook=self._outlook(),
            sending=self.sending,
            unread=unread,
            names=names,
            rooms=tuple(sorted(rooms | self._rooms.keys())),
            is_connected=self.is_connected,
        )

    def _crowd(self) -> str:
        others = self.members_here() - {self.identity}
        if not self.here:
            return "nowhere: /join ROOM"
        if self.here.startswith("@"):
            return ""
        return f"with {_some(others)}" if others else "nobody else here"

    def _outlook(self) -> str:
        """What becomes of one's last message."""
        if self._waiting:
            return f"{self._waiting} on the way"
        last = self._last
        if last is None:
            return ""
        if last.undelivered:
            return f"undelivered to {_some(last.undelivered)}"
        return f"delivered to {_some(last.delivered_to)}" if last.delivered_to else "sent"

    def _place(self, name: str) -> _Place:
        found = self._places.get(name)
        if found is None:
            found = self._places[name] = _Place()
        return found

    def _know(self, *names: str) -> None:
        """There are such people, those who were heard of last at the end."""
        for name in names:
            # What is completed goes to the terminal as it is.
            if name.isprintable() and " " not in name:
                self._names.pop(name, None)
                self._names[name] = None
        while len(self._names) > _MOST_NAMES:
            del self._names[next(iter(self._names))]


def _some(names: Iterable[str]) -> str:
    """`alice, bob, carol and 4 others`."""
    named = sorted(map(visible_name, names))
    shown = [cut(name, 16) for name in named[:_MOST_NAMED]]
    more = len(named) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return ", ".join(shown)


def _excerpt(text: str) -> str:
    """The beginning of a text, by which one knows it again."""
    return f"“{cut(visible_name(text[:200]), _EXCERPT_COLUMNS)}”"
