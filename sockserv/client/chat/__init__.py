"""Talking to others at a server: `client.chat`, and what its methods take and give.

A `Session` is what a device has said and heard; it goes by one connection after the other, and nothing is lost or said
twice in between. `Talk` finds it a connection again whenever one is lost.
"""

from sockserv.chat.facts import Message, Presence, PresenceState, Room
from sockserv.client.chat.datagrams import Datagrams
from sockserv.client.chat.face import Chat
from sockserv.client.chat.places import MailNotTaken, RoomSession
from sockserv.client.chat.sent import SentMessage
from sockserv.client.chat.session import Session
from sockserv.client.chat.talk import Talk

__all__ = [
    "Chat",
    "Datagrams",
    "MailNotTaken",
    "Message",
    "Presence",
    "PresenceState",
    "Room",
    "RoomSession",
    "SentMessage",
    "Session",
    "Talk",
]
