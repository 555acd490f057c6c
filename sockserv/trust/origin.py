"""Where a connection comes from, as far as its transport proves it."""

from __future__ import annotations

import attrs

__all__ = ["Origin", "PeerCertificate"]


@attrs.frozen
class PeerCertificate:
    """The certificate that a peer has shown and whose key it holds.

    `pin` is `sha256:` and the base64url SHA-256 of its public key. `names` are those that stand in it (the common
    name, and the alternative names), and mean something only if `is_trusted`: an authority that this
    listener trusts has signed it.
    """

    pin: str
    names: tuple[str, ...] = ()
    is_trusted: bool = False


@attrs.frozen
class Origin:
    """Where a connection comes from.

    `address` is the peer's IP address, or None for a Unix socket; `uid` the account of the process at the other end
    of a Unix socket, where the system tells.
    """

    address: str | None = None
    port: int | None = None
    uid: int | None = None
    certificate: PeerCertificate | None = None

    def __str__(self) -> str:
        if self.address is not None:
            return self.address if self.port is None else f"{self.address} port {self.port}"
        return "a local socket" if self.uid is None else f"a local socket of the account {self.uid}"
