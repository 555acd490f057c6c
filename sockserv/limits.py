"""Every bound that sockserv keeps, in one place."""

from __future__ import annotations

import attrs

__all__ = ["ChatLimits", "DatagramLimits", "ExecutionLimits", "KeptLimits", "Limits"]

_KIB = 1024
_MIB = 1024 * 1024

_MIN_HEADER_BYTES = 4 * _KIB


@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of one connection and of the server around it.

    Sizes are in bytes, times in seconds. What a peer can make one connection of this side hold is about
    `max_calls * (2 * window_bytes + max_header_bytes + 2 * send_buffer_bytes) + window_growth_bytes +
    max_unsent_bytes` at most: for each call what waits to be consumed, its request, and what waits to be sent. What
    a handler keeps in its own hands comes on top. With the defaults that is 341 MiB; `max_held_bytes` is the bound for
    all connections together, with what handlers say that they keep.
    """

    max_header_bytes: int = 64 * _KIB
    """The longest header accepted, once the peer is logged in."""

    max_login_header_bytes: int = 4 * _KIB
    """The longest header accepted before that; peers rely on at least 4096 bytes."""

    max_body_bytes: int = _MIB
    """The largest body of one frame accepted; a call's body may span any number of frames."""

    window_bytes: int = _MIB
    """How many body bytes of one call the peer may send ahead of their consumer."""

    window_growth_bytes: int = 12 * _MIB
    """How much the windows of a connection's calls may grow in all, where the bytes are consumed as
    fast as they come.
    """

    frame_body_bytes: int = 64 * _KIB
    """The largest body of one frame sent: a smaller one lets other calls in sooner."""

    send_buffer_bytes: int = 256 * _KIB
    """How many bytes of one call may wait to be sent before its sender has to wait."""

    max_calls: int = 128
    """How many calls the peer may have open on one connection."""

    max_waiting_calls: int = 1024
    """How many calls of ours may wait for the peer's `max_calls` on one connection."""

    max_unsent_bytes: int = _MIB
    """How many bytes of control messages may pile up for a peer that does not read."""

    max_held_bytes: int = 1024 * _MIB
    """How many bytes a server holds for the calls of all its connections; beyond that it ends some
    that hold the most.
    """

    max_connections: int = 16_384
    """How many connections a server holds at once."""

    max_unauthenticated_connections: int = 1_024
    """How many of them may be waiting for their login."""

    max_unauthenticated_connections_per_second: float = 200.0
    """How many that come to no login one place on the network may make on average; ten seconds' worth of it at once."""

    max_identity_connections: int = 1_024
    """How many of them one identity may have by its logins; whoever may do everything always gets in."""

    max_login_attempts: int = 3
    """After so many refused logins the connection is closed."""

    login_timeout_seconds: float = 10.0
    """How long a peer may take from connecting to being logged in."""

    max_login_delay_seconds: float = 5.0
    """How long the answer to a failed login is held back at most; it doubles with each from the same source."""

    max_held_logins: int = 32
    """How many such answers one source may wait for: beyond that its logins are refused unread."""

    max_login_sources: int = 10_000
    """Of how many sources the failed logins are remembered."""

    keepalive_interval_seconds: float = 30.0
    """After so long a silence the peer is asked whether it is still there."""

    keepalive_timeout_seconds: float = 15.0
    """How long it may take to answer that."""

    drain_timeout_seconds: float = 10.0
    """How long running calls may take to end when the server stops."""

    def __attrs_post_init__(self) -> None:
        _check_positive(self)
        if self.max_login_header_bytes < _MIN_HEADER_BYTES:
            raise ValueError(
                f"max_login_header_bytes is {self.max_login_header_bytes}: it must be at least "
                f"{_MIN_HEADER_BYTES}, which every peer relies on"
            )
        if self.max_login_header_bytes > self.max_header_bytes:
            raise ValueError(
                f"max_login_header_bytes ({self.max_login_header_bytes}) is greater than "
                f"max_header_bytes ({self.max_header_bytes})"
            )


@attrs.frozen(kw_only=True)
class ExecutionLimits:
    """The bounds of commands that callers wait for. Times are in seconds; None for no bound."""

    max_jobs: int = 256
    """How many may run at once."""

    max_identity_jobs: int = 64
    """How many of them may be those of one identity."""

    max_waiting_jobs: int = 256
    """How many may wait until one more may run; of one identity no more than may run of it."""

    waiting_timeout_seconds: float = 60.0
    """How long one waits for that before it is refused."""

    default_timeout_seconds: float | None = None
    """How long one may run that was asked for without a timeout, by a rule that has none."""

    max_timeout_seconds: float | None = None
    """How long any may run."""

    stop_pause_seconds: float = 2.0
    """How long one that is stopped has to end after each step: INT, the end of its input, TERM.

    What is left is killed.
    """

    def __attrs_post_init__(self) -> None:
        _check_positive(self, or_none=True)


@attrs.frozen(kw_only=True)
class KeptLimits:
    """The bounds of jobs that are kept when their callers go.

    Sizes are in bytes, times in seconds; None for no bound.
    """

    max_jobs: int = 512
    """How many there may be, those that have ended among them."""

    max_identity_jobs: int = 64
    """How many of them may be those of one identity."""

    max_bytes: int = 16 * 1024 * _MIB
    """How much they may have written, and may still write, all together."""

    max_identity_bytes: int = 4 * 1024 * _MIB
    """How much that may be for those of one identity."""

    spool_bytes: int = 64 * _MIB
    """How much one may write that was asked for without another bound."""

    max_spool_bytes: int = 1024 * _MIB
    """How much any may write."""

    expiry_seconds: float = 7 * 86_400.0
    """How long one is kept after its end that was asked for without another time."""

    max_expiry_seconds: float = 90 * 86_400.0
    """How long any is kept after its end."""

    max_timeout_seconds: float | None = None
    """How long any may run."""

    def __attrs_post_init__(self) -> None:
        _check_positive(self, or_none=True)


@attrs.frozen(kw_only=True)
class DatagramLimits:
    """The bounds of sessions over datagrams (docs/protocol.md, "Datagrams"). Sizes are in bytes, times in seconds.

    What one session holds is at most `max_queued_bytes` of messages that go out, and 512 messages that came too early,
    of 1,156 bytes at most.
    """

    max_queued_messages: int = 1024
    """How many messages of one session may wait to be acknowledged, sent or not."""

    max_queued_bytes: int = 256 * _KIB
    """How many bytes they may have."""

    max_sessions: int = 16_384
    """How many sessions one port has."""

    ack_delay_seconds: float = 0.025
    """How long an acknowledgement waits for something that it can go with."""

    give_up_seconds: float = 30.0
    """So long nothing that was sent is answered until the session ends; so long a message waits to be sent."""

    probe_timeout_seconds: float = 5.0
    """How long a client tries whether datagrams go through."""

    keepalive_interval_seconds: float = 25.0
    """After so long without an acknowledgement a client asks for one; networks forget a path within 30 seconds."""

    silence_timeout_seconds: float = 90.0
    """After so long without a datagram the session ends."""

    def __attrs_post_init__(self) -> None:
        _check_positive(self)


@attrs.frozen(kw_only=True)
class ChatLimits:
    """How much a chat takes and keeps."""

    max_devices: int = 10_000
    """Joined at the same time."""

    max_devices_of_identity: int = 16

    max_rooms: int = 1_000
    """With somebody in them at the same time."""

    max_rooms_of_device: int = 64

    max_unreceived: int = 256
    """Messages on their way to one device; further ones wait in the store."""

    max_unstored: int = 256
    """Messages of one device that are not on the disk yet; it has to wait with the next one."""

    max_notices: int = 4096
    """Events besides messages that wait for one device; one that takes none has to join again."""

    messages_per_second: float = 20.0
    """How many messages an identity may send in the long run."""

    messages_at_once: int = 200
    """How many it may send in one go after having been silent."""

    history_count: int = 1_000_000
    """Messages that are kept."""

    history_seconds: float = 90 * 86_400.0
    """How long they are kept, and how long mail waits for somebody."""

    def __attrs_post_init__(self) -> None:
        _check_positive(self)


def _check_positive(limits: attrs.AttrsInstance, *, or_none: bool = False) -> None:
    """Raises `ValueError` for a bound that nothing could keep to; with `or_none`, None is no bound."""
    for field in attrs.fields(type(limits)):
        value = getattr(limits, field.name)
        if not (or_none and value is None) and value <= 0:
            raise ValueError(f"{field.name} is {value}: it must be greater than 0")
