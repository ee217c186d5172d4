"""Files that appear whole or not at all, and JSON that is an object."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends well, and vanishes otherwise."""
    target = Path(path)
    with folder_above(target):
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def folder_above(target: Path) -> Iterator[None]:
    """Make the folders above ``target`` that are missing; they go again when the block fails and left them empty.

    Raises:
        OSError: of the block; with the target's name where the system gives none, as for a full disk.
    """
    new = [folder for folder in target.absolute().parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException as error:
        for folder in new:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise


def cache_folder(name: str) -> Path:
    """Where files that can be made or fetched again lie: ``posesplat/NAME`` in XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "posesplat" / name


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def load_json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        ValueError: when it is not JSON, or not an object.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be a JSON object; got: {error}. Export the file again.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} must be a JSON object; got {type(record).__name__}. Export the file again.")
    return record
