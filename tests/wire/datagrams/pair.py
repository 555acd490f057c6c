"""A client and a server session, with the datagrams between them in the test's hands."""

from __future__ import annotations

from random import Random
from typing import Any

from sockserv.limits import DatagramLimits
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.events import Event, MessageReceived, SessionOpened
from sockserv.wire.datagrams.layout import Content, decode_content
from sockserv.wire.datagrams.sealing import Opener, SessionKeys
from sockserv.wire.datagrams.session import DatagramSession

KEYS = SessionKeys(session_id=b"session!", client_key=b"c" * 32, server_key=b"s" * 32)
PLAIN = SessionKeys(session_id=b"session!")
CLIENT = ("192.0.2.1", 1000)
SERVER = ("192.0.2.2", 7700)


def client_session(keys: SessionKeys = KEYS, **kwargs: Any) -> DatagramSession:
    kwargs.setdefault("random", Random(1))
    return DatagramSession(Role.CLIENT, keys, now=0.0, address=SERVER, **kwargs)


def server_session(keys: SessionKeys = KEYS, **kwargs: Any) -> DatagramSession:
    kwargs.setdefault("random", Random(2))
    return DatagramSession(Role.SERVER, keys, now=0.0, **kwargs)


class Pair:
    """Both ends; time stands still unless `wait` lets it pass."""

    def __init__(
        self,
        keys: SessionKeys = KEYS,
        *,
        limits: DatagramLimits | None = None,
        is_open: bool = True,
    ) -> None:
        self.now = 0.0
        self.keys = keys
        self.client = client_session(keys, limits=limits)
        self.server = server_session(keys, limits=limits)
        self.client_address = CLIENT
        self.client_events: list[Event] = []
        self.server_events: list[Event] = []
        if is_open:
            self.exchange()
            assert self.client_events == [SessionOpened(SERVER)]
            assert self.server_events == [SessionOpened(CLIENT)]
            self.wait(1.0)
            self.clear()

    def clear(self) -> None:
        self.client_events.clear()
        self.server_events.clear()

    def from_client(self) -> list[bytes]:
        """What the client has to send now."""
        return [data for _, data in self.client.data_to_send(self.now)]

    def from_server(self) -> list[bytes]:
        return [data for _, data in self.server.data_to_send(self.now)]

    def to_server(self, *datagrams: bytes, address: Any = None) -> list[Event]:
        events = []
        for data in datagrams:
            events += self.server.receive_datagram(data, address or self.client_address, self.now)
        self.server_events += events
        return events

    def to_client(self, *datagrams: bytes) -> list[Event]:
        events = []
        for data in datagrams:
            events += self.client.receive_datagram(data, SERVER, self.now)
        self.client_events += events
        return events

    def exchange(self) -> None:
        """Let everything through that can be sent without time passing."""
        while True:
            to_server, to_client = self.from_client(), self.server.data_to_send(self.now)
            if not to_server and not to_client:
                break
            self.to_server(*to_server)
            self.to_client(*(data for to, data in to_client if to == self.client_address))

    def wait(self, seconds: float, *, exchange: bool = True) -> None:
        """Let time pass, from one timeout to the next."""
        end = self.now + seconds
        while True:
            self.client_events += self.client.handle_timeout(self.now)
            self.server_events += self.server.handle_timeout(self.now)
            if exchange:
                self.exchange()
            else:
                self.from_client()
                self.from_server()
            timeouts = [one.next_timeout() for one in (self.client, self.server)]
            at = min((at for at in timeouts if at is not None), default=end + 1)
            if at > end:
                break
            assert at > self.now, "a timeout that was dealt with comes again"
            self.now = at
        self.now = end

    def content_of(self, data: bytes, role: Role) -> Content:
        """What this role has sealed."""
        reader = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        return decode_content(Opener(self.keys, reader).open(data))


def bodies(events: list[Event]) -> list[bytes]:
    return [event.body for event in events if isinstance(event, MessageReceived)]
