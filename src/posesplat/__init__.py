"""posesplat: where was the camera? Poses from 3D Gaussians, on a CPU, with an honest covariance."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "BridgeEstimator": "posesplat.methods.bridge",
    "BridgeOptions": "posesplat.methods.bridge_options",
    "Camera": "posesplat.geometry.cameras",
    "Frame": "posesplat.geometry.frame",
    "Gaussians": "posesplat.gaussians.gaussians",
    "LocalizeOptions": "posesplat.methods.localize",
    "Localizer": "posesplat.methods.localize",
    "MapOptions": "posesplat.methods.mapping",
    "PairEstimator": "posesplat.methods.pair",
    "PairOptions": "posesplat.methods.pair_options",
    "PoseEstimate": "posesplat.geometry.estimate",
    "ReconstructOptions": "posesplat.learned.reconstruction",
    "Reconstruction": "posesplat.learned.reconstruction",
    "Scale": "posesplat.geometry.estimate",
    "SplatMap": "posesplat.gaussians.splat_map",
    "TrackOptions": "posesplat.methods.track_options",
    "Tracker": "posesplat.methods.track",
    "Trajectory": "posesplat.geometry.trajectory",
    "bridge": "posesplat.methods.bridge",
    "build_map": "posesplat.methods.mapping",
    "calibrate": "posesplat.methods.calibrate",
    "localize": "posesplat.methods.localize",
    "localize_sequence": "posesplat.methods.localize_sequence",
    "open_frames": "posesplat.datasets.open",
    "pair": "posesplat.methods.pair",
    "reconstruct": "posesplat.learned.reconstruction",
    "track": "posesplat.methods.track",
}
"""Public names and their modules, loaded at first use so that importing posesplat stays quick."""

if TYPE_CHECKING:
    from posesplat.datasets.open import open_frames as open_frames
    from posesplat.gaussians.gaussians import Gaussians as Gaussians
    from posesplat.gaussians.splat_map import SplatMap as SplatMap
    from posesplat.geometry.cameras import Camera as Camera
    from posesplat.geometry.estimate import PoseEstimate as PoseEstimate
    from posesplat.geometry.estimate import Scale as Scale
    from posesplat.geometry.frame import Frame as Frame
    from posesplat.geometry.trajectory import Trajectory as Trajectory
    from posesplat.learned.reconstruction import Reconstruction as Reconstruction
    from posesplat.learned.reconstruction import ReconstructOptions as ReconstructOptions
    from posesplat.learned.reconstruction import reconstruct as reconstruct
    from posesplat.methods.bridge import BridgeEstimator as BridgeEstimator
    from posesplat.methods.bridge import bridge as bridge
    from posesplat.methods.bridge_options import BridgeOptions as BridgeOptions
    from posesplat.methods.calibrate import calibrate as calibrate
    from posesplat.methods.localize import LocalizeOptions as LocalizeOptions
    from posesplat.methods.localize import Localizer as Localizer
    from posesplat.methods.localize import localize as localize
    from posesplat.methods.localize_sequence import localize_sequence as localize_sequence
    from posesplat.methods.mapping import MapOptions as MapOptions
    from posesplat.methods.mapping import build_map as build_map
    from posesplat.methods.pair import PairEstimator as PairEstimator
    from posesplat.methods.pair import pair as pair
    from posesplat.methods.pair_options import PairOptions as PairOptions
    from posesplat.methods.track import Tracker as Tracker
    from posesplat.methods.track import track as track
    from posesplat.methods.track_options import TrackOptions as TrackOptions

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'posesplat' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
