"""Talking to others, for programs: `client.chat`."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from twisted.internet.defer import Deferred, fail

from sockserv.chat.arguments import check_text
from sockserv.chat.errors import ChatError
from sockserv.chat.facts import Message, Presence, Room, Sent
from sockserv.client.chat.datagrams import Datagrams
from sockserv.client.chat.places import RoomSession
from sockserv.client.chat.session import Session
from sockserv.errors import UnexpectedResult

if TYPE_CHECKING:
    from sockserv.client.client import Client

__all__ = ["Chat"]

T = TypeVar("T")

_DEVICE_BYTES: Final = 12


class Chat:
    """What is said at the server, and who is there; `client.chat` makes it.

    All methods fail with the errors of `sockserv.chat.errors`, with `PermissionDenied` and with `ConnectionEnded`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._session: Session | None = None
        self._ended: Exception | None = None

    def join(self, place: str) -> Deferred[RoomSession]:
        """Enter a room, or begin to talk to a member (`@alice`); fires when we are there.

        All places that are joined here make one session, which ends with the connection; with `Talk` one goes on. One
        that begins with a room leaves what is said to us alone, which stays mail for other devices: who wants that,
        too, begins with `session()`, or with a member, and takes all of it. Fails with `MailNotTaken` for a member
        later on.
        """
        return self._begun(takes_mail=place.startswith("@")).enter(place)

    def session(self) -> Session:
        """The session of this connection, which is begun when it is asked for first, and takes the mail then.

        It goes over UDP where that gets through.
        """
        return self._begun(takes_mail=True)

    def _begun(self, *, takes_mail: bool) -> Session:
        """The session, begun so if there is none yet."""
        if self._session is None:
            session = self._session = Session(
                takes_mail=takes_mail, datagrams=Datagrams(self._client.clock)
            )
            running = Deferred.fromCoroutine(session.run(self._client))
            running.addCallbacks(
                lambda _: session.close(), lambda failure: session.close(failure.value)
            )
        return self._session

    def send(
        self, to: str, text: str, *, device: str | None = None, number: int = 1
    ) -> Deferred[Sent]:
        """Say one thing without joining; fires when it is stored.

        Who cannot know whether that has happened says it again with the same `device` and `number`: it is said once.
        """
        arguments = {
            "device": device or secrets.token_hex(_DEVICE_BYTES),
            "number": number,
            "to": to,
        }
        try:
            check_text(text)
        except ChatError as error:
            return fail(error)
        sending = self._client.call("chat.send", arguments, result=Sent, body=text.encode())
        return sending.addCallback(lambda reply: reply.result)

    def rooms(self) -> Deferred[list[Room]]:
        """The rooms that we may enter, and in which somebody is, or something was said."""
        return self._lines("chat.rooms", Room)

    def who(self, room: str | None = None) -> Deferred[list[Presence]]:
        """Who is in a room; or everybody who is there, and who was."""
        return self._lines("chat.who", Presence, room=room)

    def history(
        self, place: str, *, count: int = 50, before: int | None = None, after: int | None = None
    ) -> Deferred[list[Message]]:
        """The last messages of a place, those with an id below `before`; or the first ones above `after`."""
        return self._lines(
            "chat.history", Message, to=place, count=count, before=before, after=after
        )

    def search(
        self, text: str, *, place: str | None = None, count: int = 50
    ) -> Deferred[list[Message]]:
        """The last messages with all words of `text`, at a place or at all of ours."""
        return self._lines("chat.search", Message, text=text, to=place, count=count)

    def read(self, place: str, number: int) -> Deferred[None]:
        """Note that we have read a place up to the message with this id."""
        return self._client.call("chat.read", {"to": place, "id": number}).addCallback(_nothing)

    def away(self, text: str | None) -> Deferred[None]:
        """Be away, for a reason; or back, without one."""
        return self._client.call("chat.away", {"text": text}).addCallback(_nothing)

    def _lines(self, op: str, kind: type[T], **arguments: Any) -> Deferred[list[T]]:
        return Deferred.fromCoroutine(self._ask_for_lines(op, kind, arguments))

    async def _ask_for_lines(self, op: str, kind: type[T], arguments: dict[str, Any]) -> list[T]:
        reply = await self._client.call(op, arguments)
        try:
            return msgspec.json.Decoder(kind).decode_lines(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnexpectedResult(f"what {op} gives is no list: {error}") from None


def _nothing(_: object) -> None:
    """What a call without a result gives."""
