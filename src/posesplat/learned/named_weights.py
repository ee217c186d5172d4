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
    sha256: str | None
    """Of the file; None where it is not known: then it is not downloaded, since nothing would tell it from others."""
    size_bytes: int | None
    """Of the file; None where it is not known."""
    licence: str
    """Of the weights."""
    meaning: str
    """What they are, in one sentence."""

    @property
    def path(self) -> Path:
        """Where the file lies, or would lie after fetching or converting."""
        if self.source == "package":
            return _PACKAGED / f"{self.name}.safetensors"
        edition = "" if self.sha256 is None else f"-{self.sha256[:12]}"
        return weights_folder() / f"{self.name}{edition}.safetensors"

    @property
    def by_hand(self) -> str:
        """What to do to get weights that are not fetched."""
        return (
            f"Download {self.source} by hand and pass it with --weights FILE, or give it this name "
            f"(posesplat weights convert FILE --out {self.path})."
        )


_V1 = "https://huggingface.co/RanranHuang/SPFSplat/resolve/main/"
_V2 = "https://huggingface.co/RanranHuang/SPFSplatV2/resolve/main/"
_FROM_MASTR = "trained from MASt3R's weights, which are CC BY-NC-SA 4.0: not for commercial use"
_V1_LICENCE = f"not stated where posesplat could look; {_FROM_MASTR}"
_V2_LICENCE = f"MIT (that of the authors' repository); {_FROM_MASTR}"
_L_LICENCE = (
    "MIT (that of the authors' repository); trained from VGGT-1B's weights, which are CC BY-NC 4.0: not for commercial "
    "use"
)
_RE10K = "RealEstate10K"
_MIXED = "RealEstate10K, DL3DV, WildRGB-D and CO3Dv2"


def _official(name: str, source: str, licence: str, meaning: str) -> NamedWeights:
    return NamedWeights(name, source, "main", None, None, licence, meaning)


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
        _official(
            "spfsplatv2-re10k",
            f"{_V2}re10k_spfsplatv2.ckpt",
            _V2_LICENCE,
            f"SPFSplatV2 as published, 613 million parameters, trained on {_RE10K} at 256 x 256, 2 views.",
        ),
        _official(
            "spfsplatv2-re10k-10view",
            f"{_V2}re10k_spfsplatv2_10view.ckpt",
            _V2_LICENCE,
            f"SPFSplatV2, {_RE10K}, 2 to 10 views.",
        ),
        _official(
            "spfsplatv2-acid",
            f"{_V2}acid_spfsplatv2.ckpt",
            _V2_LICENCE,
            "SPFSplatV2, ACID (flights over coasts), 2 views.",
        ),
        _official(
            "spfsplatv2-l-re10k",
            f"{_V2}re10k_spfsplatv2l.ckpt",
            _L_LICENCE,
            f"SPFSplatV2-L as published, 1.2 billion parameters, trained on {_RE10K} at 224 x 224, 2 views.",
        ),
        _official(
            "spfsplatv2-l-re10k-10view",
            f"{_V2}re10k_spfsplatv2l_10view.ckpt",
            _L_LICENCE,
            f"SPFSplatV2-L, {_RE10K}, 2 to 10 views.",
        ),
        _official(
            "spfsplatv2-l-mixed", f"{_V2}mixed_spfsplatv2l.ckpt", _L_LICENCE, f"SPFSplatV2-L, {_MIXED}, 2 views."
        ),
        _official(
            "spfsplatv2-l-mixed-10view",
            f"{_V2}mixed_spfsplatv2l_10view.ckpt",
            _L_LICENCE,
            f"SPFSplatV2-L, {_MIXED}, 2 to 10 views.",
        ),
        _official("spfsplatv2-l-acid", f"{_V2}acid_spfsplatv2l.ckpt", _L_LICENCE, "SPFSplatV2-L, ACID, 2 views."),
        _official(
            "spfsplat-re10k",
            f"{_V1}re10k.ckpt",
            _V1_LICENCE,
            f"SPFSplat as published, 616 million parameters, trained on {_RE10K} at 256 x 256, 2 views.",
        ),
        _official("spfsplat-re10k-10view", f"{_V1}re10k_10view.ckpt", _V1_LICENCE, f"SPFSplat, {_RE10K}, 10 views."),
        _official(
            "spfsplat-re10k-dl3dv", f"{_V1}re10k_dl3dv.ckpt", _V1_LICENCE, f"SPFSplat, {_RE10K} and DL3DV, 2 views."
        ),
        _official(
            "spfsplat-re10k-nointrin",
            f"{_V1}re10k_nointrin.ckpt",
            _V1_LICENCE,
            f"SPFSplat, {_RE10K}, 2 views, for images of unknown intrinsics.",
        ),
        _official("spfsplat-acid", f"{_V1}acid.ckpt", _V1_LICENCE, "SPFSplat, ACID, 2 views."),
    )
}
"""All weights that have a name."""


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
            f"Weights must be one of {', '.join(WEIGHTS)}, a .safetensors file of posesplat train, or an official "
            f"checkpoint; got {name!r}. See posesplat weights list."
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
    if path.suffix in (".safetensors", ".ckpt") or len(path.parts) > 1:
        raise FileNotFoundError(
            2,
            "No weights of a network there; name a file made by posesplat train, or an official checkpoint",
            str(path),
        )
    row = named(str(name_or_path))
    if not row.path.is_file():
        cure = f". {row.by_hand}" if row.sha256 is None else f": posesplat weights fetch {row.name}"
        raise FileNotFoundError(2, f"Weights {row.name} are not here yet{cure}", str(row.path))
    return row.path


def fetched(row: NamedWeights) -> Path:
    """The file of weights, downloaded if it is not here, and told to be the right one by its SHA-256.

    Raises:
        OSError: when it cannot be downloaded.
        ValueError: when the file is another one than the table says, or the table does not know how to tell.
    """
    path = row.path
    if row.sha256 is None:
        raise ValueError(
            f"Weights {row.name} must have a known SHA-256 to be fetched; it is unknown, and nothing is downloaded "
            f"unchecked. {row.by_hand}"
        )
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
            f"Weights {row.name} need {megabytes(row)} from {row.source}, which cannot be reached ({error}). "
            f"Fetch them on a machine with a connection and copy the file to {path}."
        ) from error


def megabytes(row: NamedWeights) -> str:
    """The size of a file of weights, as it is told."""
    return "unknown" if row.size_bytes is None else f"{row.size_bytes / 1e6:.1f} MB"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
