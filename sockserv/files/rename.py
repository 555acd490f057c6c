"""Renaming that replaces nothing: `os.rename` takes the place of what is there."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, Final

__all__ = ["rename_exclusively"]

_RENAME_NOREPLACE: Final = 1
_RENAME_EXCL: Final = 4

_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


def rename_exclusively(source: str, target: str, *, source_fd: int, target_fd: int) -> None:
    """Rename `source` in the directory `source_fd` to `target` in `target_fd`, where nothing may have that name.

    Raises `OSError`: `FileExistsError` when something has. The system does both at once. Where it cannot, for want
    of the call or on a file system that does not know it, this looks first: then callers keep each other out, and
    only a program that does not take part can get in between. A directory that is moved into itself is `EINVAL`.
    """
    if _rename is not None:
        if _rename(source_fd, os.fsencode(source), target_fd, os.fsencode(target)) == 0:
            return
        number = ctypes.get_errno()
        if number not in _UNSUPPORTED:
            raise OSError(number, os.strerror(number))
    rename_after_looking(source, target, source_fd=source_fd, target_fd=target_fd)


def rename_after_looking(source: str, target: str, *, source_fd: int, target_fd: int) -> None:
    """The same in two steps, which works on any file system."""
    try:
        os.stat(target, dir_fd=target_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _find_rename() -> Callable[[int, bytes, int, bytes], int] | None:
    """The system's own call, if it has one; it sets ctypes' errno."""
    name, flag = (
        ("renameatx_np", _RENAME_EXCL)
        if sys.platform == "darwin"
        else ("renameat2", _RENAME_NOREPLACE)
    )
    call: Any = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if call is None:
        return None
    call.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    )

    def rename(source_fd: int, source: bytes, target_fd: int, target: bytes) -> int:
        if b"\0" in source + target:
            raise ValueError("embedded null byte")  # which would end the name, as C sees it
        result: int = call(source_fd, source, target_fd, target, flag)
        return result

    return rename


_rename = _find_rename()
