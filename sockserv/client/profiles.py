"""Profiles: the servers that this account has logged in to, each by a name of its own.

A profile is a file `NAME.toml` in a folder of the account's configuration. What holds for it:

- It is absent or whole, with mode 0600 in a folder of mode 0700: it is written beside, synced and renamed. One that
  others can read is refused.
- Who writes or removes one holds a lock on the folder: of two processes that write, neither loses what the other one
  has written, and what has the name of the file beside was left by a crash.
- A name stays with the server and the identity that it was given for until it is removed: what may hold the only copy
  of a token is not replaced by a login of somebody else.
- While a token is being replaced by another, both are in it, so that whatever interrupts the replacement, one of them
  is good.

All methods that touch the disk block, for as long as it takes to write a few hundred bytes.
"""

from __future__ import annotations

import fcntl
import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Final

import attrs
import msgspec

from sockserv.atomic import explained, remove_file, replace_file
from sockserv.errors import ConnectError, ProfileError, UnknownServer
from sockserv.tables import converted
from sockserv.urls import DEFAULT_PORT, Scheme, ServerUrl, without_secrets

__all__ = ["ENVIRONMENT_VARIABLE", "Profile", "Profiles", "check_name", "is_name", "usual_name"]

ENVIRONMENT_VARIABLE: Final = "SOCKSERV_CONFIG"

_FOLDER: Final = "servers"
_SUFFIX: Final = ".toml"
_MAX_NAME_CHARACTERS: Final = 64
_MAX_NAME_BYTES: Final = 192
_MAX_FILE_BYTES: Final = 64 * 1024

_OR_A_URL: Final = "; a URL begins with sockserv://"

_explained = partial(explained, ProfileError)


@attrs.frozen(kw_only=True)
class Profile:
    """One server, and who we are to it.

    `url` is where it is, with the token to log in with, if it is by a token. `next_token` is the one that is to
    replace that, or has already: nobody knows before somebody tries. `identity` is what the server has called us, and
    `user` whom to log in as with a password, which is in no profile. `ca`, `certificate` and `key` are the paths of
    files, as `sockserv.client.connect` takes them.
    """

    name: str
    url: ServerUrl
    identity: str | None = None
    user: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    next_token: str | None = attrs.field(default=None, repr=False)

    def is_taken(self) -> ProfileError:
        """What is to be said to whoever wants this name for another login."""
        whose = f"{self.identity} at {self.url.address}" if self.identity else self.url.address
        return ProfileError(
            f"{self.name} is the name of {whose} already: choose another one with --name, "
            f"or `sockserv logout {self.name}` first"
        )


_AS_THEY_ARE: Final = ("identity", "user", "ca", "certificate", "key", "next_token")
"""The fields of a profile that are written as they are."""


class _File(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A profile as it is written."""

    url: str
    identity: str | None = None
    user: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    token: str | None = None
    next_token: str | None = None


def is_name(server: str) -> bool:
    """Whether somebody who writes this means a profile, and not a URL."""
    return "://" not in server


def check_name(name: str) -> str:
    """The name, in the one form in which it is the name of a file.

    Raises `ProfileError` for what is no name of a profile.
    """
    name = unicodedata.normalize("NFC", name)
    if (
        0 < len(name) <= _MAX_NAME_CHARACTERS
        and len(name.encode("utf-8", "replace")) <= _MAX_NAME_BYTES
        and name[0].isalnum()
        and all(_may_stand_in_a_name(character) for character in name)
    ):
        return name
    raise ProfileError(
        f"{without_secrets(name)[: 2 * _MAX_NAME_CHARACTERS]!r} is not a name for a server: up to {_MAX_NAME_CHARACTERS} letters, "
        "digits and . _ @ -, the first one a letter or a digit"
    )


def usual_name(url: ServerUrl) -> str | None:
    """What a server is called when nobody says it: its host, with the port where that is not the usual one."""
    if url.scheme is Scheme.UNIX:
        return None
    name = url.host if url.port == DEFAULT_PORT else f"{url.host}-{url.port}"
    try:
        return check_name(name.replace(":", "-"))
    except ProfileError:
        return None


@attrs.frozen
class Profiles:
    """The folder with the profiles of an account; nothing is touched until a method is called."""

    path: Path

    @classmethod
    def locate(cls, *, environ: Mapping[str, str] = os.environ) -> Profiles:
        """The profiles of this account.

        They are in the folder `servers` of the directory that `SOCKSERV_CONFIG` in `environ` names, or else of the
        account's own one for the configuration of sockserv.
        """
        chosen = environ.get(ENVIRONMENT_VARIABLE)
        if chosen:
            return cls(Path(os.path.abspath(chosen)) / _FOLDER)
        # Imported late: whoever connects to a URL does without.
        import platformdirs

        return cls(platformdirs.user_config_path("sockserv") / _FOLDER)

    def names(self) -> list[str]:
        """The names of all profiles, in order. Raises `ProfileError` when the folder cannot be read."""
        with _explained("read", self.path):
            try:
                found = os.listdir(self.path)
            except FileNotFoundError:
                return []
        return sorted(
            name.removesuffix(_SUFFIX)
            for name in found
            if name.endswith(_SUFFIX) and not name.startswith(".")
        )

    def load(self, name: str) -> Profile:
        """The profile of this name.

        Raises `UnknownServer` when there is none, `ProfileError` when it cannot be used.
        """
        path = self._path_of_known(name, hint=_OR_A_URL)
        with _explained("read", path):
            try:
                with open(path, "rb") as file:
                    mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                    content = file.read(_MAX_FILE_BYTES)
            except FileNotFoundError:
                raise self._there_is_none(name, hint=_OR_A_URL) from None
        if mode & 0o077:
            raise ProfileError(
                f"others can read the token in {path} (mode {mode:04o}): close it with `chmod 600 {quote(str(path))}`"
            )
        return _profile(name, path, content)

    def save(self, profile: Profile, *, instead_of: Profile | None = None) -> bool:
        """Keep a profile under its name; true when that is done, and on the disk.

        With `instead_of` it is done only if what has this name is still that: else somebody else was quicker, and
        knows more. Raises `ProfileError` when another server or identity has the name, and when the profile cannot be
        written; what was there before is there then.
        """
        path = self._path_of(profile.name)
        with self._locked():
            if instead_of is None:
                self._check_is_free_for(profile)
            elif not self._is_still(instead_of):
                return False
            try:
                content = _text(profile).encode()
            except UnicodeEncodeError as error:
                raise ProfileError(f"cannot write {path}: {error.object!r} is no text") from None
            with _explained("write", path):
                replace_file(path, content)
        return True

    def remove(self, name: str) -> None:
        """Forget a server, however broken its profile is. Raises `UnknownServer` when there is none."""
        path = self._path_of_known(name)
        with _explained("read", self.path):
            is_there = self.path.is_dir()
        if not is_there:
            raise self._there_is_none(name)
        with self._locked(), _explained("remove", path):
            try:
                remove_file(path)
            except FileNotFoundError:
                raise self._there_is_none(name) from None

    def _path_of(self, name: str) -> Path:
        return self.path / f"{check_name(name)}{_SUFFIX}"

    def _path_of_known(self, name: str, *, hint: str = "") -> Path:
        try:
            return self._path_of(name)
        except ProfileError:
            # It may be an invitation without its beginning.
            raise self._there_is_none(without_secrets(name), hint=hint) from None

    def _is_still(self, profile: Profile) -> bool:
        try:
            return self.load(profile.name) == profile
        except ProfileError:
            return False

    def _check_is_free_for(self, profile: Profile) -> None:
        if not self._path_of(profile.name).exists():
            return
        before = self.load(profile.name)
        if (before.url.address, before.identity) != (profile.url.address, profile.identity):
            raise before.is_taken()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder, which is made if it is not there."""
        with _explained("make", self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.mkdir(mode=0o700, exist_ok=True)
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with _explained("lock", self.path):
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _there_is_none(self, name: str, *, hint: str = "") -> UnknownServer:
        known = self.names()
        advice = (
            f"known are {', '.join(known)}"
            if known
            else "`sockserv login` makes one of the line that `sockserv invite` has printed"
        )
        return UnknownServer(f"no server is known as {name or repr(name)}: {advice}{hint}")


def _may_stand_in_a_name(character: str) -> bool:
    # Marks, too: the vowels of many scripts are some.
    return character.isalnum() or character in "._@-" or unicodedata.category(character)[0] == "M"


def _profile(name: str, path: Path, content: bytes) -> Profile:
    # Imported late: whoever connects to a URL does without.
    import tomllib

    try:
        file = converted(tomllib.loads(content.decode()), _File)
        url = ServerUrl.parse(file.url)
        url = attrs.evolve(url, token=file.token or url.token)
    except (ValueError, RecursionError, ConnectError) as error:
        raise ProfileError(
            f"{path} is not a profile ({error}): mend it, or `sockserv logout {name}` and log in again"
        ) from None
    return Profile(
        name=check_name(name),
        url=url,
        **{field: getattr(file, field) for field in _AS_THEY_ARE},
    )


def _text(profile: Profile) -> str:
    # Imported late: hardly any command writes a profile.
    import tomlkit

    file = _File(
        url=str(profile.url),
        token=profile.url.token,
        **{field: getattr(profile, field) for field in _AS_THEY_ARE},
    )
    head = f"# Written by `sockserv login`; `sockserv logout {profile.name}` removes it.\n"
    if file.token is not None or file.next_token is not None:
        head += "# Whoever has the token has the permissions: do not pass this file on.\n"
    return head + tomlkit.dumps(msgspec.to_builtins(file))
