"""sockserv with an audit log on a disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from benchmarks.peers.sockserv import main as serve
from sockserv.net.threads import OneThread
from sockserv.settings import AuditSettings
from sockserv.trust.audit.log import AuditLog
from sockserv.trust.audit.writer import AuditWriter


def main() -> None:
    """Serve until the runner goes away; the argument is the folder of the log."""
    settings = AuditSettings()
    log = AuditLog(
        cast(IReactorTime, reactor),
        AuditWriter(
            Path(sys.argv[1]),
            max_file_bytes=settings.max_file_bytes,
            keep_files=settings.keep_files,
        ),
        in_thread=OneThread(cast(IReactorFromThreads, reactor)),
    )
    log.open()
    serve(log)


if __name__ == "__main__":
    main()
