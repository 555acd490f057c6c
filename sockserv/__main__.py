"""`python -m sockserv` is the `sockserv` command."""

from __future__ import annotations

from sockserv.cli import main

if __name__ == "__main__":
    main()
