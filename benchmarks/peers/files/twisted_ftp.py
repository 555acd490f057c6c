"""Twisted's own FTP server."""

from __future__ import annotations

import sys
from typing import Any, cast

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IReactorCore, IReactorTCP
from twisted.protocols.ftp import FTPFactory, FTPShell, IFTPShell
from twisted.python.filepath import FilePath
from zope.interface import implementer

from benchmarks.peers.announce import announce


@implementer(IRealm)
class Everybody:
    """Gives everybody the whole folder."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return IFTPShell, FTPShell(FilePath(sys.argv[1])), lambda: None


def main() -> None:
    """Serve until the runner goes away."""
    factory = FTPFactory(Portal(Everybody(), [AllowAnonymousAccess()]))
    factory.noisy = False
    port = cast(IReactorTCP, reactor).listenTCP(0, factory, interface="127.0.0.1")
    announce(cast(IPv4Address, port.getHost()).port)
    cast(IReactorCore, reactor).run()


if __name__ == "__main__":
    main()
