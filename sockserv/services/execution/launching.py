"""A program that was decided on, as it is started: in bytes and numbers."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

from sockserv.execution.arguments import ResourceLimits
from sockserv.processes.starting import Launch, Limit
from sockserv.services.execution.child import Program

__all__ = ["launch_of"]


def launch_of(program: Program) -> Launch:
    """What to start for a program. Raises `UnicodeEncodeError` for what no text of the system can be."""
    account = program.account
    return Launch(
        arguments=tuple(map(os.fsencode, program.argv)),
        environment={
            os.fsencode(name): os.fsencode(value) for name, value in program.environment.items()
        },
        directory=os.fsencode(program.directory),
        account=None if account is None else (account.uid, account.gid, account.groups),
        limits=tuple(_limits_of(program.limits)),
        nice=program.nice,
        has_terminal=program.terminal is not None,
    )


def _limits_of(limits: ResourceLimits) -> Iterator[Limit]:
    if limits.cpu_seconds is not None:
        # Between the two it gets SIGXCPU, which tells more than SIGKILL.
        yield resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1
    for number, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
    ):
        if most is not None:
            yield number, most, most
