"""An asyncssh server that runs what it is asked to, for everybody."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import warnings
from typing import Any

import asyncssh

from benchmarks.peers.announce import announce
from benchmarks.peers.files.asyncssh import Open


async def handle(process: Any) -> None:
    """Run one command."""
    child = subprocess.Popen(  # noqa: ASYNC220  # faster than asyncio's own, and output of any size comes through
        shlex.split(process.command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    code = await asyncio.to_thread(child.wait)
    await process.stdout.drain()
    await process.stderr.drain()
    process.exit(code)


async def main() -> None:
    """Serve until the runner goes away."""
    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Open,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=handle,
        encoding=None,
    )
    announce(listener.get_port())
    await asyncio.Event().wait()


if __name__ == "__main__":
    # asyncssh forgets to await something where its output goes to pipes, and says so each time.
    warnings.simplefilter("ignore", RuntimeWarning)
    asyncio.run(main())
