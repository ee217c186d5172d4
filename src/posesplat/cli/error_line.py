"""One line for an error that whoever typed the command can cure: what, and what to do."""

from __future__ import annotations

import errno

from posesplat.cli.extras import install_command, missing_extra

_CURES = {
    errno.EACCES: "Choose another place, or change its permissions.",
    errno.EPERM: "Choose another place, or change its permissions.",
    errno.EROFS: "Choose a place that can be written, with --out.",
    errno.ENOSPC: "Free some space, or choose another --out.",
    errno.EDQUOT: "Free some space, or choose another --out.",
    errno.EFBIG: "Files of this size are not allowed there: choose another --out, or see ulimit -f.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EMFILE: "Raise the limit of open files: ulimit -n 4096.",
    errno.ENOENT: "Check the path.",
    errno.EISDIR: "It is a folder: name the file.",
    errno.ENOTDIR: "A part of the path is a file: choose another path.",
    errno.EEXIST: "Choose another path, or move it away.",
}


def error_line(error: Exception) -> str | None:
    """The line to show for ``error``; None for one that only a programmer can cure."""
    if isinstance(error, ImportError):
        return _import_line(error)
    if isinstance(error, MemoryError):
        return f"not enough memory: {_joined(error) or 'an array does not fit'}. Use fewer or smaller frames."
    if isinstance(error, OSError):
        return _file_line(error)
    return _joined(error) or type(error).__name__ if isinstance(error, ValueError) else None


def _import_line(error: ImportError) -> str | None:
    if "pip install" in str(error):
        return _joined(error)
    extra = missing_extra(error)
    if extra is None:
        return None
    package = (error.name or "").partition(".")[0]
    return f"this needs {package}, which is not installed. Install it with: {install_command(extra)}"


def _file_line(error: OSError) -> str:
    """The system's own errors say neither what to do nor, when a disk is full, where."""
    cure = _CURES.get(error.errno or 0, "")
    if error.strerror and error.filename is not None:
        known = error.strerror.rstrip(".")
        return f"{error.filename}: {known}. {cure if error.strerror == _strerror(error) else ''}".strip()
    if error.strerror and cure:
        return f"{error.strerror}. {cure}"
    return _joined(error) or type(error).__name__


def _strerror(error: OSError) -> str:
    import os

    return os.strerror(error.errno or 0)


def _joined(error: Exception) -> str:
    return " ".join(str(error).split())
