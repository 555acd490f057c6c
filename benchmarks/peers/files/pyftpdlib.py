"""pyftpdlib with sendfile; with a certificate and its key as further arguments it is FTPS."""

from __future__ import annotations

import logging
import sys
import warnings

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

from benchmarks.peers.announce import announce


def main() -> None:
    """Serve until the runner goes away."""
    logging.basicConfig(level=logging.ERROR)
    warnings.simplefilter("ignore")  # that it lets everybody write
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(sys.argv[1], perm="elradfmwMT")
    handler = FTPHandler
    if len(sys.argv) > 2:
        handler = TLS_FTPHandler
        handler.certfile, handler.keyfile = sys.argv[2:]
        handler.tls_control_required = handler.tls_data_required = True
    handler.authorizer = authorizer
    server = FTPServer(("127.0.0.1", 0), handler)
    announce(server.address[1])
    server.serve_forever(handle_exit=False)


if __name__ == "__main__":
    main()
