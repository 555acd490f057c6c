"""What both ends of a file transfer go by: the errors, the names that a file may have, what is said about one."""

from sockserv.files.errors import FilesError
from sockserv.files.facts import Digest, Entry, FileType, Stored, Usage
from sockserv.files.names import RESERVED_PREFIX, components, shown

__all__ = [
    "RESERVED_PREFIX",
    "Digest",
    "Entry",
    "FileType",
    "FilesError",
    "Stored",
    "Usage",
    "components",
    "shown",
]
