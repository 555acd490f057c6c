"""Who is asking, how that is proved, and what they may do."""

from sockserv.trust.authentication import Anonymous, Authenticator, TokenAuthenticator, hash_token
from sockserv.trust.identities import EVERYTHING, Identity

__all__ = [
    "EVERYTHING",
    "Anonymous",
    "Authenticator",
    "Identity",
    "TokenAuthenticator",
    "hash_token",
]
