"""sockserv itself: a `Server` with the owner's token, the echo service and some of the benchmarks'."""

from __future__ import annotations

import secrets
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IListeningPort, IReactorCore, IStreamServerEndpoint
from twisted.python.failure import Failure

from benchmarks.peers.announce import BACKLOG, announce
from sockserv.endpoints import TlsEndpoint
from sockserv.limits import Limits
from sockserv.server import Server
from sockserv.services.api import Audit, Call, NoArguments, Service, operation
from sockserv.services.echo import Echo
from sockserv.tls.own import OWN_CERTIFICATE, OWN_KEY
from sockserv.tls.serving import ServerTls, TlsServerEndpoint
from sockserv.trust import EVERYTHING, Identity, TokenAuthenticator, hash_token
from sockserv.trust.audit import AuditSink


class Discard(Service):
    """Counts what it is sent and throws it away."""

    @operation("discard", permission="discard")
    async def discard(self, call: Call[NoArguments]) -> dict[str, int]:
        """The number of bytes in the body."""
        count = 0
        async for piece in call.body:
            count += len(piece)
        return {"bytes": count}


class Audited(Service):
    """What the audit log is told of, where there is one."""

    @operation("look", permission="look", audit=Audit.READS)
    def look(self, call: Call[NoArguments]) -> None:
        """Sends a small body back."""
        call.send_last(call.whole_body or b"")

    @operation("change", permission="change", audit=Audit.CHANGES)
    def change(self, call: Call[NoArguments]) -> None:
        """Does nothing, which is written down before and after."""


def main(audit: AuditSink | None = None, *, tls: Path | None = None) -> None:
    """Serve until the runner goes away.

    :param tls: a folder with a certificate and its key, to serve with TLS.
    """
    token = secrets.token_hex(32)
    server = Server(
        reactor,
        [Echo(), Discard(), Audited()],
        authenticator=TokenAuthenticator(
            {hash_token(token): Identity("owner", frozenset({EVERYTHING}))}
        ),
        # The clients of the idle benchmark answer no pings.
        limits=Limits(keepalive_interval_seconds=3600),
        audit=audit,
    )

    def listening(port: IListeningPort) -> None:
        announce(cast(IPv4Address, port.getHost()).port, token=token)

    def failed(failure: Failure) -> None:
        failure.printTraceback()
        cast(IReactorCore, reactor).stop()

    server.listen(_endpoint(tls)).addCallbacks(listening, failed)
    cast(IReactorCore, reactor).run()


def _endpoint(tls: Path | None) -> str | IStreamServerEndpoint:
    if tls is None:
        return f"tcp:0:interface=127.0.0.1:backlog={BACKLOG}"
    endpoint = TlsEndpoint(
        port=0,
        interface=ip_address("127.0.0.1"),
        certificate=tls / OWN_CERTIFICATE,
        key=tls / OWN_KEY,
        backlog=BACKLOG,
    )
    return TlsServerEndpoint(reactor, endpoint, ServerTls(endpoint))


if __name__ == "__main__":
    main(tls=Path(sys.argv[1]) if len(sys.argv) > 1 else None)
