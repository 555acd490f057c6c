"""Calls with streams both ways, over one small open protocol: a daemon, a client, and protocols to embed."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
