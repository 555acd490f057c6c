"""The state directory: a daemon's private folder, and how a client of the same account finds that daemon.

What is in it, and what holds for it:

- The directory has mode 0700 and belongs to the account that the daemon runs as; a daemon refuses any other.
- `lock` is held by at most one daemon, for as long as it lives. It holds that daemon's process id.
- `owner-token` is absent or whole, with mode 0600: it is written beside and renamed.
- `listening.json`, the note of where the daemon listens, is locked by the daemon that wrote it before it gets its
  name. So a note that is locked is true, and one that is not was left by a daemon that died: a client does not believe
  it, and does not send the token to a stranger who has taken the port.

The locks are those of `flock(2)`: the kernel drops them with the process, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from shlex import quote

import attrs
import msgspec

from sockserv.atomic import explained, replace_file, written_beside
from sockserv.errors import StateError

__all__ = [
    "AUDIT_FOLDER",
    "CHAT_FILE",
    "COMMANDS_FILE",
    "ENVIRONMENT_VARIABLE",
    "FILES_FOLDER",
    "IDENTITIES_FILE",
    "JOBS_FOLDER",
    "HeldState",
    "RunningDaemon",
    "StateDirectory",
]

ENVIRONMENT_VARIABLE = "SOCKSERV_STATE"

AUDIT_FOLDER = "audit"
"""The folder of the audit log in a state directory."""

CHAT_FILE = "chat.sqlite"
"""What was said, in a state directory."""

FILES_FOLDER = "files"
"""Where the owner's files are in a state directory, unless the settings say otherwise."""

COMMANDS_FILE = "commands.toml"
"""The commands that others may run by their names, below the state directory."""

IDENTITIES_FILE = "identities.toml"
"""The file of those who may use the daemon, in a state directory."""

JOBS_FOLDER = "jobs"
"""Where the jobs are that are kept, in a state directory."""

_LOCK = "lock"
_OWNER_TOKEN = "owner-token"
_NOTE = "listening.json"
_TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_MAX_FILE_BYTES = 64 * 1024

_explained = partial(explained, StateError)


@attrs.frozen(kw_only=True)
class RunningDaemon:
    """The note that a daemon leaves: its process id, and the URLs it listens on."""

    pid: int
    listening: tuple[str, ...]


@attrs.frozen
class StateDirectory:
    """A state directory by its path; nothing is touched until a method is called."""

    path: Path

    @classmethod
    def locate(
        cls,
        chosen: str | os.PathLike[str] | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        base: Path | None = None,
    ) -> StateDirectory:
        """The directory to use: `chosen`, else `SOCKSERV_STATE` in `environ`, else the account's own.

        A relative path counts from `base`, or else from the current directory; `~` is the home directory.
        Raises `StateError` for what cannot be a path.
        """
        if chosen is None:
            chosen = environ.get(ENVIRONMENT_VARIABLE) or None
        if chosen is None:
            # Imported late: whoever names the directory does without.
            import platformdirs

            chosen = platformdirs.user_state_path("sockserv")
        try:
            path = (base or Path()) / Path(chosen).expanduser()
        except RuntimeError as error:
            raise StateError(f"cannot tell which directory {chosen} is: {error}") from error
        if "\0" in str(path):
            raise StateError(f"{str(path)!r} cannot be a directory: it has a zero byte in it")
        return cls(Path(os.path.abspath(path)))

    def open_for_daemon(self) -> HeldState:
        """Take the directory for a daemon: make it, check it, lock it, and make the owner token.

        Close what this returns when the daemon ends. `owner_token` gives a usable token after this.

        Raises `StateError` when it cannot be made, others can enter it, it belongs to another account, a
        daemon has it already, or the token in it is not usable.
        """
        with _explained("make", self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
        self._check_privacy()
        lock = self._take_lock()
        try:
            if not (self.path / _OWNER_TOKEN).exists():
                self._make_owner_token()
            self.owner_token()
        except BaseException:
            os.close(lock)
            raise
        return HeldState(self.path, lock=lock)

    def running(self) -> RunningDaemon:
        """The note of the daemon that runs on this directory now.

        Raises `StateError` when none does, or the note cannot be read.
        """
        path = self.path / _NOTE
        with _explained("read", path):
            try:
                note = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                raise self._nobody_runs() from None
        try:
            if _try_lock(note, fcntl.LOCK_SH):
                raise self._nobody_runs()
            with _explained("read", path):
                content = os.read(note, _MAX_FILE_BYTES)
        finally:
            os.close(note)
        try:
            return msgspec.json.decode(content, type=RunningDaemon)
        except msgspec.MsgspecError as error:
            raise StateError(
                f"{path} was not written by this version of sockserv: restart the daemon"
            ) from error

    def owner_token(self) -> str:
        """The token that makes its bearer the owner. Raises `StateError` when there is no usable one."""
        path = self.path / _OWNER_TOKEN
        with _explained("read", path), open(path, "rb", opener=_open_without_following) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_MAX_FILE_BYTES).decode("ascii", "replace").strip()
        if mode & 0o077:
            raise StateError(
                f"others can read the owner token {path} (mode {mode:04o}): remove it, "
                "and the daemon makes a new one when it starts"
            )
        if not _TOKEN.fullmatch(content):
            raise StateError(
                f"{path} does not hold a token: remove it, and the daemon makes a new one when it starts"
            )
        return content

    def _check_privacy(self) -> None:
        with _explained("examine", self.path):
            status = self.path.stat()
        if status.st_uid != os.geteuid():
            raise StateError(
                f"the state directory {self.path} belongs to the account with the number "
                f"{status.st_uid}, not to the one that runs the daemon ({os.geteuid()}): "
                "choose another with --state"
            )
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            raise StateError(
                f"others can enter the state directory {self.path} (mode {mode:04o}): "
                f"close it with `chmod 700 {quote(str(self.path))}`, or choose another with --state"
            )

    def _take_lock(self) -> int:
        path = self.path / _LOCK
        with _explained("lock", path):
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            with _explained("lock", path):
                if not _try_lock(lock, fcntl.LOCK_EX):
                    holder = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
                    raise StateError(
                        f"the daemon with process id {holder} already uses the state directory "
                        f"{self.path}: stop it, or choose another directory with --state"
                    )
                os.ftruncate(lock, 0)
                os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _make_owner_token(self) -> None:
        path = self.path / _OWNER_TOKEN
        with _explained("write", path):
            replace_file(path, secrets.token_urlsafe(_TOKEN_BYTES).encode() + b"\n")

    def _nobody_runs(self) -> StateError:
        return StateError(
            f"no daemon is running on the state directory {self.path}: "
            f"start one with `twistd --nodaemon sockserv --state {quote(str(self.path))}`, "
            "or name another directory with --state"
        )


class HeldState:
    """A state directory that this process holds as its daemon; made by `StateDirectory.open_for_daemon`."""

    def __init__(self, path: Path, *, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock
        self._note: int | None = None

    def announce(self, listening: Sequence[str]) -> None:
        """Leave the note that the daemon listens on these URLs, in place of an earlier one.

        Raises `StateError` when it cannot be written.
        """
        path = self.path / _NOTE
        content = msgspec.json.encode(RunningDaemon(pid=os.getpid(), listening=tuple(listening)))
        with _explained("write", path), written_beside(path) as file:
            os.write(file, content + b"\n")
            fcntl.flock(file, fcntl.LOCK_EX)
            # The lock lives as long as one descriptor of the file that was locked.
            note = os.dup(file)
        self._close_note()
        self._note = note

    def withdraw(self) -> None:
        """Remove the note: from now on no client finds this daemon. Does nothing when there is none."""
        if self._note is not None:
            with _explained("remove", self.path / _NOTE):
                (self.path / _NOTE).unlink(missing_ok=True)
            self._close_note()

    def close(self) -> None:
        """Remove the note and let another daemon have the directory. A second call does nothing."""
        try:
            self.withdraw()
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _close_note(self) -> None:
        if self._note is not None:
            os.close(self._note)
            self._note = None


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)
