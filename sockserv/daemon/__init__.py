"""The daemon: what `twistd sockserv` runs, and what joins all of the server's side by settings."""

from sockserv.daemon.daemon import Daemon, make_service
from sockserv.daemon.listening import ListenError

__all__ = ["Daemon", "ListenError", "make_service"]
