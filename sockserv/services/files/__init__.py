"""Files: storing and sending them, whole and checked, and never out of the folder."""

from sockserv.services.files.service import Files

__all__ = ["Files"]
