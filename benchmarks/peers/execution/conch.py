"""An SSH server of Twisted's, with its own sessions of Unix accounts, for who has the password."""

from __future__ import annotations

import getpass
import secrets
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.conch.avatar import ConchUser
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.unix import UnixConchUser
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorCore
from zope.interface import implementer

from benchmarks.peers.announce import announce


@implementer(IRealm)
class Realm:
    """Everybody is the account that this runs as."""

    def requestAvatar(self, name: bytes | tuple[()], mind: object, *interfaces: Any) -> Any:
        """The account."""
        user = UnixConchUser(cast(bytes, name).decode())
        return interfaces[0], cast(ConchUser, user), lambda: None


def main() -> None:
    """Serve until the runner goes away."""
    password = secrets.token_hex(16)
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    checker.addUser(getpass.getuser().encode(), password.encode())
    factory: Any = SSHFactory()
    factory.portal = Portal(Realm(), [checker])
    key = Key(ed25519.Ed25519PrivateKey.generate())
    factory.publicKeys = {b"ssh-ed25519": key.public()}
    factory.privateKeys = {b"ssh-ed25519": key}
    port = cast(Any, reactor).listenTCP(0, factory, interface="127.0.0.1")
    announce(port.getHost().port, password=password)
    cast(IReactorCore, reactor).run()


if __name__ == "__main__":
    main()
