"""A place of a session: where something is said, and heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from sockserv.chat.facts import Message
from sockserv.client.chat.sent import SentMessage
from sockserv.client.chat.waiting import Waiting
from sockserv.errors import LocalError

if TYPE_CHECKING:
    from sockserv.client.chat.session import Session

__all__ = ["MailNotTaken", "RoomSession"]


class MailNotTaken(LocalError):
    """The session is for rooms alone: what is said to us waits for another device."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"what {place} says is mail, which this session leaves to others: "
            "begin it by client.chat.session()"
        )


class RoomSession:
    """A place of a session: a room, or a member.

    Iterate `messages()` for what others say there, and `say` something. `name` is the place as one writes it: `lobby`,
    `@alice`.
    """

    def __init__(self, session: Session, name: str) -> None:
        self.name = name
        self.members: set[str] = set()
        self._session = session
        self._messages: Waiting[Message] | None = None

    def __repr__(self) -> str:
        return f"<{self.name} in {self._session!r}>"

    def messages(self) -> Waiting[Message]:
        """What is said here from now on, as an asynchronous iterator; the same one each time."""
        if self._messages is None:
            self._messages = Waiting()
        return self._messages

    @property
    def has_room(self) -> bool:
        """Whether what is said here need not wait for who reads it."""
        return self._messages is None or self._messages.has_room

    async def hear(self, message: Message) -> None:
        """Something is said here: keep it for who reads it, if anybody does, and wait until there is room for more."""
        if self._messages is not None:
            self._messages.put(message)
            await self._messages.room()

    def close(self) -> None:
        """Nothing more will be said here."""
        if self._messages is not None:
            self._messages.close()

    def say(self, text: str) -> Deferred[SentMessage]:
        """Say something; fires when it is stored, which may be after a new connection.

        Fails with the `ChatError` that refuses it. Cancelling it gives up waiting, and not the message.
        """
        return self._session.say(self.name, text)

    def leave(self) -> None:
        """Leave the room."""
        self._session.leave(self.name)
