"""The environment of a job: what every job has, and which names may come from outside.

A variable can make of any program another one: what the loader loads, what an interpreter or a shell runs first, where
programs are looked for. Such names are never taken from outside unless the owner has named them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from sockserv.services.execution.policy.accounts import AccountFacts

__all__ = ["DEFAULT_PATH", "OURS", "RISKY", "Names", "own_environment"]

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@attrs.frozen
class Names:
    """Names of variables: those in `exact`, and all that begin with one of `prefixes`."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Names:
        """Those that names, and patterns like `LC_*`, stand for."""
        patterns = tuple(patterns)
        prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
        return cls(frozenset(patterns) - {f"{prefix}*" for prefix in prefixes}, prefixes)

    def __contains__(self, name: str) -> bool:
        return name in self.exact or name.startswith(self.prefixes)


OURS: Final = Names.of(["SOCKSERV_*"])
"""What a job is told about itself, and its processes are found by: it comes from nobody else."""

RISKY: Final = Names.of(
    [
        # The loader and the C library.
        *("LD_*", "_RLD*", "DYLD_*", "GLIBC_TUNABLES", "MALLOC_*", "GCONV_PATH", "LOCPATH"),
        *("NLSPATH", "PATH_LOCALE", "GETCONF_DIR", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS"),
        *("RESOLV_HOST_CONF", "NIS_PATH", "TZDIR", "SHLIB_PATH", "LIBPATH", "KRB5_CONFIG"),
        *("TERMINFO", "TERMINFO_DIRS", "TERMPATH", "TERMCAP"),
        # Shells.
        *("ENV", "IFS", "PATH", "CDPATH", "FPATH", "PS4", "SHELLOPTS", "GLOBIGNORE", "BASH*"),
        *("PROMPT_COMMAND", "NULLCMD", "READNULLCMD", "ZDOTDIR", "TMPPREFIX"),
        # Interpreters.
        *("PYTHON*", "PERL*", "RUBY*", "GEM_*", "BUNDLE_*", "NODE_*", "NPM_*", "npm_*", "LUA_*"),
        *("JAVA_*", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "PHP*", "TCL*", "R_*"),
        *("AWKPATH", "AWKLIBPATH", "GUILE_*", "ERL_*", "DOTNET_*", "CORECLR_*", "COR_*"),
        # Programs that run what a variable names.
        *("GIT_*", "LESSOPEN", "LESSCLOSE", "SSH_ASKPASS", "SUDO_*", "MAKEFLAGS", "MAKEFILES"),
        *(
            "TAR_OPTIONS",
            "RSYNC_*",
            "GCC_EXEC_PREFIX",
            "COMPILER_PATH",
            "OPENSSL_*",
            "SSLKEYLOGFILE",
        ),
        # Where programs look for their settings, and who they believe to be.
        *("HOME", "XDG_*", "CURL_HOME", "USER", "LOGNAME", "SHELL"),
    ]
)
"""Names that change what a program does, or which one it is."""


def own_environment(
    account: AccountFacts, *, identity: str, terminal_type: str | None, time_zone: str | None
) -> dict[str, str]:
    """What every job of an identity has, run as an account; `time_zone` is the daemon's `TZ`."""
    environment = {
        "PATH": DEFAULT_PATH,
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
        "LANG": "C.UTF-8",
        "SOCKSERV_IDENTITY": identity,
    }
    if time_zone is not None:
        environment["TZ"] = time_zone
    if terminal_type is not None:
        environment["TERM"] = terminal_type
    return environment
