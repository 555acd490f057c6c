"""Logging in to stay: a profile is made of an invitation, and its token replaced by one that nobody has seen.

The token of an invitation has stood in a chat, on a screen or in the arguments of a process. So the first thing done
with it is to have the server take another one for it, made here. The profile holds both before the server is asked, and
the new one alone when it has answered: whatever fails in between, one of the two logs in, and the next connection ends
what was begun.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import attrs
from twisted.internet.defer import Deferred

from sockserv.client.client import Client
from sockserv.client.profiles import Profile, Profiles
from sockserv.errors import (
    AuthenticationFailed,
    CallError,
    PermissionDenied,
    ProfileError,
    UnknownOperation,
)
from sockserv.urls import ServerUrl

__all__ = ["Connect", "LoggedIn", "connect_as", "log_in"]

Connect: TypeAlias = Callable[[Profile], Deferred[Client]]
"""Connects to the server of a profile, and logs in with the token that the URL in it has, or what else there is."""

_TOKEN_BYTES: Final = 32
_MAX_IDENTITY_CHARACTERS: Final = 256
_REPLACE: Final = "identity.replace-token"


@attrs.frozen
class LoggedIn:
    """What has come of a login: the profile as it is stored, and why its token is still the one of the invitation."""

    profile: Profile
    not_replaced: CallError | None = None


async def log_in(
    connect: Connect, profile: Profile, profiles: Profiles, *, timeout_seconds: float
) -> LoggedIn:
    """Find out that `profile` gets us in, keep it under its name, and have its token replaced.

    A server that cannot replace tokens keeps the one that it knows. The replacement may take `timeout_seconds`.

    Raises what connecting raises, with nothing stored; `ProfileError` when the name is that of another server or
    identity, or the profile cannot be written, and then the token is not replaced; and `ConnectionEnded` when nobody
    knows whether the token is replaced: the profile works all the same. To be cancelled is no danger to it, either.
    """
    before = _before(profile, profiles)
    if before is not None and before.next_token and _is_for_the_same(profile.url, before.url):
        # This very login was interrupted; its token may be replaced already.
        client = await connect_as(connect, before, profiles, timeout_seconds=timeout_seconds)
        await client.close()
        return LoggedIn(profiles.load(profile.name))
    client = await connect(profile)
    try:
        # Our own daemon is known by its note, which nobody may find where the profile is used.
        url = attrs.evolve(profile.url, pin=profile.url.pin or client.server_pin)
        profile = attrs.evolve(profile, url=url, identity=_presentable(client.identity))
        if profile.url.token is None:
            profiles.save(profile)
            return LoggedIn(profile)
        profile = attrs.evolve(profile, next_token=secrets.token_urlsafe(_TOKEN_BYTES))
        profiles.save(profile)
        client, not_replaced = await _replace_token(
            connect, client, profile, profiles, timeout_seconds
        )
        return LoggedIn(profiles.load(profile.name), not_replaced)
    finally:
        await client.close()


async def connect_as(
    connect: Connect, profile: Profile, profiles: Profiles, *, timeout_seconds: float
) -> Client:
    """Connect to the server of a profile, and end the replacement of its token if that was interrupted.

    Raises what connecting raises.
    """
    if profile.next_token is None:
        return await connect(profile)
    replaced = _replaced(profile)
    # Somebody else may end the same replacement while we try: then the first one is right, after all.
    for attempt in (replaced, profile, replaced):
        try:
            client = await connect(attempt)
        except AuthenticationFailed as error:
            failure = error
            continue
        if attempt is replaced:
            _keep(replaced, profile, profiles)
            return client
        try:
            client, _ = await _replace_token(connect, client, profile, profiles, timeout_seconds)
        except BaseException:
            await client.close()
            raise
        return client
    raise failure


def _before(profile: Profile, profiles: Profiles) -> Profile | None:
    """What is stored under the name of `profile`: the same server, or None."""
    if profile.name not in profiles.names():
        return None
    before = profiles.load(profile.name)
    if before.url.address != profile.url.address:
        raise before.is_taken()
    return before


def _is_for_the_same(url: ServerUrl, stored: ServerUrl) -> bool:
    """Whether this is the URL that was stored, perhaps with the pin that it lacks."""
    return attrs.evolve(url, pin=url.pin or stored.pin) == stored


def _presentable(identity: str | None) -> str | None:
    """It is shown, and written to a file; and a server may say anything."""
    is_one = identity and len(identity) <= _MAX_IDENTITY_CHARACTERS and identity.isprintable()
    return identity if is_one else None


def _unchanged(profile: Profile) -> Profile:
    """The profile when its next token is none."""
    return attrs.evolve(profile, next_token=None)


def _replaced(profile: Profile) -> Profile:
    """The profile when its next token is its token."""
    return attrs.evolve(
        profile, url=attrs.evolve(profile.url, token=profile.next_token), next_token=None
    )


async def _replace_token(
    connect: Connect, client: Client, profile: Profile, profiles: Profiles, timeout_seconds: float
) -> tuple[Client, CallError | None]:
    """Have the server take the next token in the place of the one that `client` has logged in with.

    Gives the client to go on with. When the server could not, both tokens stay in the profile, for the next connection
    to try it again, and the reason is what is given. Raises `ConnectionEnded`.
    """
    assert profile.next_token is not None
    digest = hashlib.sha256(profile.next_token.encode()).hexdigest()
    try:
        await client.call(_REPLACE, {"sha256": digest}, timeout_seconds=timeout_seconds)
    except UnknownOperation:
        _keep(_unchanged(profile), profile, profiles)
    except PermissionDenied:
        return await _find_out(connect, client, profile, profiles), None
    except CallError as error:
        return client, error
    else:
        _keep(_replaced(profile), profile, profiles)
    return client, None


async def _find_out(
    connect: Connect, client: Client, profile: Profile, profiles: Profiles
) -> Client:
    """Keep the token that is good, where a replacement is denied: it is impossible, or somebody else has done it.

    Gives a client that has logged in by that: the server cuts off who came in by a token that is no more.
    """
    replaced = _replaced(profile)
    try:
        other = await connect(replaced)
    except AuthenticationFailed:
        _keep(_unchanged(profile), profile, profiles)
        return client
    _keep(replaced, profile, profiles)
    await client.close()
    return other


def _keep(settled: Profile, pending: Profile, profiles: Profiles) -> None:
    # Where it cannot be written, what is there still logs in.
    with suppress(ProfileError):
        profiles.save(settled, instead_of=pending)
