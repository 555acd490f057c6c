"""A Twisted application with a streaming service of its own, and a client that watches it for a while."""

import os
from typing import Any

import attrs
from twisted.internet import task

from sockserv import Anonymous, Call, Identity, Server, Service, connect, operation


@attrs.frozen
class WatchArguments:
    every_seconds: float = 1.0


class Load(Service):
    @operation("load.watch", args=WatchArguments, permission="load")
    async def watch(self, call: Call[WatchArguments]) -> None:
        while True:  # until the caller has seen enough, or is gone
            await call.send(b"%.2f %.2f %.2f\n" % os.getloadavg())
            await task.deferLater(call.clock, call.args.every_seconds)


async def main(reactor: Any) -> None:
    guests = Anonymous(Identity("guest", frozenset({"load"})))
    server = Server(reactor, [Load()], authenticator=guests)
    port: Any = await server.listen("tcp:0:interface=127.0.0.1")
    client = await connect(reactor, f"tcp://127.0.0.1:{port.getHost().port}")
    call = await client.open("load.watch", WatchArguments(every_seconds=0.2))
    for _ in range(5):
        print((await anext(call.body)).decode(), end="")
    await client.close()
    await server.stop()


if __name__ == "__main__":
    task.react(main)
