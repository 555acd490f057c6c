"""The same echo as a grpc.aio unary call: bytes in, bytes out, nothing to compile."""

from __future__ import annotations

import asyncio

import grpc

from benchmarks.peers.announce import announce
from benchmarks.wires import GRPC_METHOD, GRPC_SERVICE

#: By default grpc cancels calls beyond 1,000 that wait to be taken up; 3,200 are in flight at most.
WAITING_CALLS = 10_000


async def echo(request: bytes, context: object) -> bytes:
    """Answer with the request."""
    return request


async def main() -> None:
    """Serve until the runner goes away."""
    server = grpc.aio.server(
        options=[
            ("grpc.server.max_pending_requests", WAITING_CALLS),
            ("grpc.server.max_pending_requests_hard_limit", WAITING_CALLS),
        ]
    )
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(GRPC_SERVICE, {GRPC_METHOD: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    announce(port)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
