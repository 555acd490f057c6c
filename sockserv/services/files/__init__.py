"""Files: storing and sending them, whole and checked, and never out of the folder."""

from sockserv.services.files.service import DEFAULT_PARTIAL_EXPIRY_SECONDS, Files

__all__ = ["DEFAULT_PARTIAL_EXPIRY_SECONDS", "Files"]
