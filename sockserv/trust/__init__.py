"""Who is asking, how that is proved, and what they may do."""

from sockserv.trust.authentication import Anonymous, Authenticator, TokenAuthenticator, hash_token
from sockserv.trust.identities import EVERYTHING, FilesAccess, FilesGrant, Identity, Login
from sockserv.trust.origin import Origin, PeerCertificate

__all__ = [
    "EVERYTHING",
    "Anonymous",
    "Authenticator",
    "FilesAccess",
    "FilesGrant",
    "Identity",
    "Login",
    "Origin",
    "PeerCertificate",
    "TokenAuthenticator",
    "hash_token",
]
