"""How far a rule reaches: which ones amount to everything that the account may do, though they do not say so.

The lists are of well-known programs. One that is in none of them may still do whatever its arguments say.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final

from sockserv.services.execution.policy.accounts import AccountFacts
from sockserv.services.execution.policy.commands import NamedCommand
from sockserv.services.execution.policy.configuration import Configuration
from sockserv.services.execution.policy.environment import RISKY, Names
from sockserv.services.execution.policy.rules import ANY, SHELL
from sockserv.services.files.folders import Folder
from sockserv.trust.identities import FilesAccess

__all__ = ["READS_FILES", "RUNS_OTHERS", "WRITES_FILES", "known_as", "warnings_about"]

_MAX_WARNINGS: Final = 20
_MAX_WARNING_CHARACTERS: Final = 500

_SHELLS: Final = (
    "sh bash rbash dash ash zsh ksh mksh pdksh fish csh tcsh rc elvish nu xonsh busybox toybox"
)
_INTERPRETERS: Final = (
    "python pypy ipython perl ruby irb node nodejs deno bun lua luajit tclsh wish expect php java javac jshell "
    "groovy scala kotlin guile racket sbcl clojure erl elixir iex julia octave R Rscript ghc ghci runghc ocaml swift "
    "dotnet mono pwsh awk gawk mawk nawk sed dc gdb lldb jq sqlite psql mysql mariadb mongosh redis-cli"
)
_EDITORS: Final = (
    "ed ex vi vim nvim view vimdiff rvim nano pico emacs emacsclient joe jed mcedit mc micro less more most pg man "
    "info pager sensible-editor sensible-pager editor"
)
_STARTERS: Final = (
    "env find fd xargs parallel nice ionice nohup setsid timeout time watch stdbuf strace ltrace perf valgrind "
    "script screen tmux xterm chroot unshare nsenter setpriv capsh sudo sudoedit doas su runuser pkexec login "
    "systemd-run systemctl journalctl loginctl machinectl at batch cron crontab flock taskset chrt choom prlimit "
    "start-stop-daemon run-parts logrotate dbus-send busctl ip tcpdump nmap socat nc ncat netcat telnet ftp lftp "
    "ssh sshpass autossh mosh scp sftp rsync rclone split openssl gpg wget"
)
_BUILDERS: Final = (
    "git hg svn make gmake cmake ninja meson bazel gcc g++ cc c++ clang ld cargo rustc go npm npx pnpm yarn pip "
    "pipx uv uvx gem bundle rake composer mvn gradle ant docker podman nerdctl lxc kubectl helm virsh qemu apt "
    "apt-get aptitude dpkg rpm yum dnf zypper pacman apk snap flatpak nix ansible ansible-playbook terraform puppet "
    "salt chef tar bsdtar zip 7z cpio ar twistd gunicorn uwsgi sockserv bwrap firejail run0"
)
_WRITERS: Final = (
    "cp mv ln install dd tee patch curl sort truncate shred rm chmod chown chgrp setfacl mount unzip gunzip pg_dump "
    "sponge mkfifo mknod"
)
_READERS: Final = (
    "cat tac nl head tail grep egrep fgrep zgrep rg zcat bzcat xzcat gzip bzip2 xz zstd base32 base64 basenc od xxd "
    "hexdump strings cut paste comm join column fold fmt pr rev uniq tr iconv diff diff3 cmp sdiff wdiff look date "
    "file readelf objdump xmllint yq sha256sum md5sum b2sum shuf ptx expand unexpand colrm ul bat lpr lp mail mailx "
    "sendmail logger wall"
)
RUNS_OTHERS: Final = frozenset(
    " ".join((_SHELLS, _INTERPRETERS, _EDITORS, _STARTERS, _BUILDERS)).split()
)
"""Programs that run whatever their arguments, their input or a file says."""

WRITES_FILES: Final = frozenset(_WRITERS.split())
"""Programs that write, or give away, any file that their arguments name."""

READS_FILES: Final = frozenset(_READERS.split())
"""Programs that show any file that their arguments name, some of them in their complaints: also the owner's token."""

_LOADERS: Final = ("ld-linux", "ld-musl", "ld.so", "ld-")


def warnings_about(
    rules: Sequence[str],
    configuration: Configuration,
    account: AccountFacts,
    folder: Folder | None,
) -> tuple[str, ...]:
    """A sentence for each rule that reaches further than it seems. Blocks.

    `account` is the one that commands run as, `folder` that of whom the rules are for.
    """
    found = list(_warnings(rules, configuration, account, folder))
    told = [warning[:_MAX_WARNING_CHARACTERS] for warning in found[:_MAX_WARNINGS]]
    if len(found) > len(told):
        told.append(f"There are {len(found) - len(told)} more warnings.")
    return tuple(told)


def _warnings(
    rules: Sequence[str],
    configuration: Configuration,
    account: AccountFacts,
    folder: Folder | None,
) -> Iterator[str]:
    everything = " and ".join(rule for rule in (ANY, SHELL) if rule in rules)
    reach = _reach(account.name)
    if everything:
        verb = "are" if " and " in everything else "is"
        yield f"{everything} {verb} {reach}, what this server keeps included."
    paths = [rule for rule in rules if rule.startswith("/")]
    for path in paths:
        if not everything:
            yield from _of_program(path, reach)
        yield from _of_file(path, path, folder)
    if (everything or paths) and _overlap(configuration.allowed_variables, RISKY):
        yield (
            "[environment] allow in commands.toml lets variables in that can make of any program another one."
        )
    for name in rules:
        named = configuration.commands.get(name)
        if named is not None:
            yield from _of_command(named, _reach(named.user or account.name))
            yield from _of_file(name, named.program, folder)
            yield from _of_words(named, folder)


def _reach(account: str) -> str:
    return f"everything that the account {account} may do"


def known_as(path: str) -> set[str]:
    """The names by which a program is known: of `/usr/bin/python3.11`, `python`; of a link, also what it leads to."""
    names = set()
    for name in (os.path.basename(path), os.path.basename(os.path.realpath(path))):
        if name.startswith(_LOADERS):
            names.add("ld")
        names |= {name, name.partition(".")[0].rstrip("0123456789-"), name.rstrip("0123456789.-")}
    return names


def _deed_of(path: str) -> str | None:
    """What a program does that reaches further than it seems; None where nothing is known."""
    names = known_as(path)
    if names & RUNS_OTHERS:
        return "runs what its arguments or its input say"
    if names & WRITES_FILES:
        return "changes whatever files its arguments name, those included that say what is run"
    if names & READS_FILES:
        return "shows whatever files its arguments name, the token of the owner included"
    return None


def _of_program(path: str, reach: str) -> Iterator[str]:
    deed = _deed_of(path)
    if deed is not None:
        yield f"{path} {deed}: with any of them it is {reach}."


def _of_command(named: NamedCommand, reach: str) -> Iterator[str]:
    chosen = [parameter.name for parameter in named.parameters if parameter.kind.is_free]
    if known_as(named.program) & RUNS_OTHERS:
        chosen += ["its input"] if named.stdin else []
        chosen += ["its terminal"] if named.terminal else []
    deed = _deed_of(named.program)
    if deed is not None and chosen:
        yield (
            f"{named.name} runs {named.program}, which {deed}; see that {', '.join(chosen)} cannot make it do so, "
            f"or it is {reach}."
        )
    if _overlap(named.env_allowed, RISKY):
        yield f"{named.name} lets variables in that can make of its program another one."


def _of_file(rule: str, path: str, folder: Folder | None) -> Iterator[str]:
    """What can be seen of a program's file."""
    try:
        status = os.stat(path)
        directory = os.stat(os.path.dirname(path))
    except OSError:
        yield f"{rule}: there is no program {path}, or it cannot be looked at."
        return
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
        yield f"{rule}: {path} is not a program that can be run."
    # Where a directory is sticky, nobody replaces the files of others.
    is_open = directory.st_mode & stat.S_IWOTH and not directory.st_mode & stat.S_ISVTX
    if status.st_mode & stat.S_IWOTH or is_open:
        yield f"{rule}: everybody on the machine can replace {path}, and so say what is run."
    if _is_writable(path, folder):
        yield f"{rule}: {path} is in the folder that its caller may write to, and so replace it."


def _of_words(named: NamedCommand, folder: Folder | None) -> Iterator[str]:
    """What a command is always given, and its caller may change."""
    for word in named.words[1:]:
        path = "" if word.places else "".join(word.filled({}))
        if path.startswith("/") and "\0" not in path and _is_writable(path, folder):
            yield f"{named.name} is given {path}, which its caller may write: see that it says nothing that is run."


def _is_writable(path: str, folder: Folder | None) -> bool:
    """Whether a path is in a folder whose files may be changed."""
    if folder is None or folder.access is not FilesAccess.READ_WRITE:
        return False
    root = os.path.realpath(os.path.join(os.getcwd(), *folder.place))
    return os.path.commonpath((root, os.path.realpath(path))) == root


def _overlap(names: Names, others: Names) -> bool:
    """Whether some name may be in both."""
    # A prefix stands for names that begin with it, of which it is the shortest one.
    mine, theirs = ((*each.exact, *each.prefixes) for each in (names, others))
    return any(name in others for name in mine) or any(name in names for name in theirs)
