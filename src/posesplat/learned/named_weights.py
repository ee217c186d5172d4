"""Weights by name: where they come from, how they are told from others, and how they get here.

Nothing is downloaded unless :func:`fetched` is called.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from posesplat.files import cache_folder, whole_file

_PACKAGED = Path(__file__).parent
_CHUNK = 1 << 20
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class NamedWeights:
    """One row of the table of weights."""

    name: str
    """What ``--weights`` calls them."""
    source: str
    """URL of the file, or "package" for weights that come with posesplat."""
    revision: str
    """Which edition of them."""
    sha256: str
    """Of the file."""
    size_bytes: int
    """Of the file."""
    licence: str
    """Of the weights."""
    meaning: str
    """What they are, in one sentence."""

    @property
    def path(self) -> Path:
        """Where the file lies, or would lie after fetching."""
        if self.source == "package":
            return _PACKAGED / f"{self.name}.safetensors"
        return weights_folder() / f"{self.name}-{self.sha256[:12]}.safetensors"


WEIGHTS: dict[str, NamedWeights] = {
    row.name: row
    for row in (
        NamedWeights(
            "tiny",
            "package",
            "1",
            "8f97c22ced7f0fb9e1e228b116ed25333cfce301195f57d9258440b5ae989f20",
            16633804,
            "Apache-2.0",
            "8.3 million parameters, trained on 2600 synthetic rooms at 128 x 128 by posesplat train; see tiny.json.",
        ),
    )
}
"""All weights that have a name."""

MISSING = (
    "Not in this table: the official checkpoints of SPFSplat, SPFSplatV2 and SPFSplatV2-L. The names of their tensors "
    "are not known here, so that no complete and strict key map could be written. Of the published sizes, "
    "posesplat train --size large trains anew."
)
"""What one may look for in the table in vain, and why."""


def weights_folder() -> Path:
    """Where fetched weights lie: ``posesplat/weights`` in XDG_CACHE_HOME or ~/.cache."""
    return cache_folder("weights")


def named(name: str) -> NamedWeights:
    """A row of the table.

    Raises:
        ValueError: for a name that is not in it.
    """
    if name not in WEIGHTS:
        raise ValueError(
            f"Weights must be one of {', '.join(WEIGHTS)}, or a .safetensors file of posesplat train; got {name!r}. "
            "See posesplat weights list."
        )
    return WEIGHTS[name]


def located(name_or_path: str | os.PathLike[str]) -> Path:
    """The file of weights: a path as it is, a name by the table.

    Raises:
        FileNotFoundError: when the file is not there.
        ValueError: for an unknown name.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix == ".safetensors" or len(path.parts) > 1:
        raise FileNotFoundError(2, "No weights of a network there; name a file made by posesplat train", str(path))
    row = named(str(name_or_path))
    if not row.path.is_file():
        raise FileNotFoundError(
            2, f"Weights {row.name} are not here yet: posesplat weights fetch {row.name}", str(row.path)
        )
    return row.path


def fetched(row: NamedWeights) -> Path:
    """The file of weights, downloaded if it is not here, and told to be the right one by its SHA-256.

    Raises:
        OSError: when it cannot be downloaded.
        ValueError: when the file is another one than the table says.
    """
    path = row.path
    if not path.is_file():
        if row.source == "package":
            raise FileNotFoundError(2, "These weights come with posesplat; install it again", str(path))
        _download(row, path)
    found = _sha256(path)
    if found != row.sha256:
        raise ValueError(
            f"{path} must have SHA-256 {row.sha256}; got {found}. Delete the file and fetch {row.name} again."
        )
    return path


def _download(row: NamedWeights, path: Path) -> None:
    try:
        with urllib.request.urlopen(row.source, timeout=_TIMEOUT_S) as answer, whole_file(path) as temporary:
            digest = hashlib.sha256()
            with temporary.open("wb") as file:
                while chunk := answer.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != row.sha256:
                raise ValueError(
                    f"{row.source} must have SHA-256 {row.sha256}; got {digest.hexdigest()}. Nothing was kept."
                )
    except (urllib.error.URLError, TimeoutError) as error:
        raise OSError(
            f"Weights {row.name} need {row.size_bytes / 1e6:.0f} MB from {row.source}, which cannot be reached "
            f"({error}). Fetch them on a machine with a connection and copy the file to {path}."
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
