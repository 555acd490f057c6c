"""The same echo on asyncio streams, with a length prefix made by hand."""

from __future__ import annotations

import asyncio

from benchmarks.peers.announce import BACKLOG, announce


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send every message back, prefix and all."""
    try:
        while True:
            prefix = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(prefix, "big"))
            writer.write(prefix + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve until the runner goes away."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
