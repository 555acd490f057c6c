"""The SFTP server of asyncssh, which lets everybody in."""

from __future__ import annotations

import asyncio
import sys

import asyncssh

from benchmarks.peers.announce import announce


class Open(asyncssh.SSHServer):
    """Asks nobody who they are."""

    def begin_auth(self, username: str) -> bool:
        return False


async def main() -> None:
    """Serve until the runner goes away."""
    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Open,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=sys.argv[1].encode()),
    )
    announce(listener.get_port())
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
