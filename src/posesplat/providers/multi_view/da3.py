"""Poses of subsets by Depth Anything 3: one forward pass of a network for any number of views.

It needs torch, depth-anything-3 and a few small packages, installed without what the first one lists, which is a GUI,
a server and another numpy: see docs/bridge.md.
Source: Lin et al., Depth Anything 3: recovering the visual space from any views, arXiv 2511.10647, 2025.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.providers.multi_view.provider import PosedSubset, check_subsets

_PACKAGES = ("torch", "safetensors", "depth_anything_3", "omegaconf", "addict", "einops")
_INSTALL = (
    "pip install --no-deps depth-anything-3 omegaconf addict einops imageio antlr4-python3-runtime==4.9.3, "
    "and pip install posesplat[learned]"
)
_PATCH = 14
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SOURCE = "da3"
_STRIDE = 4


@dataclass(frozen=True)
class Da3Options:
    """How the network is run, and what is believed."""

    longest_px: int = 504
    """Longer side of the images, as the network was trained; both sides become multiples of 14."""
    device: str = "auto"
    """``auto`` takes the first GPU, else the CPU."""
    relative_depth: float = 0.1
    """Two depths of one point agree within this share."""
    min_consistent: float = 0.1
    """Least share of an image's depths that must agree with those of one other image of the subset."""
    min_baseline: float = 0.01
    """Shortest translation, in median depths, whose direction counts as observed."""


@dataclass(frozen=True)
class Da3Views:
    """What the network says of the images of one subset."""

    cam_from_world: tuple[RigidTransform | None, ...]
    """None where the matrix is none of a pose."""
    intrinsics: Float[np.ndarray, "n 3 3"]
    """Of the images as the network saw them, corner-based pixels."""
    depths: Float32[np.ndarray, "n h w"]


class Da3Poses:
    """The network on each subset; loaded at the first one."""

    def __init__(self, checkpoint: str, options: Da3Options = Da3Options()) -> None:
        """Remember the checkpoint.

        Args:
            checkpoint: a folder with ``config.json`` (``model_name``, or the network's own ``config``) and
                ``model.safetensors``, as published.
            options: size, device, thresholds.

        Raises:
            FileNotFoundError: when there is no such folder, or a file is missing.
            ImportError: when a package is not installed.
        """
        missing = [package for package in _PACKAGES if find_spec(package) is None]
        if missing:
            raise ImportError(f"da3:{checkpoint} needs {missing[0]}; it is not installed. {_INSTALL}")
        self.folder = Path(checkpoint).expanduser()
        for name in ("config.json", "model.safetensors"):
            if not (self.folder / name).is_file():
                raise FileNotFoundError(
                    f"da3 needs a folder with config.json and model.safetensors; {self.folder} has no {name}. "
                    "On a machine with network: hf download depth-anything/DA3-SMALL --local-dir DIR"
                )
        self.options = options
        self.name = f"da3 {self.folder.resolve().name}"
        self._network: Any = None

    def pose_subsets(
        self,
        frames: Sequence[Frame],
        subsets: Sequence[Sequence[int]],
        on_done: Callable[[], None] | None = None,
    ) -> list[PosedSubset]:
        """See :class:`posesplat.providers.multi_view.provider.MultiViewProvider`; intrinsics are the network's own.

        Raises:
            OSError: when the weights cannot be read.
            ValueError: when they are of another network.
        """
        check_subsets(frames, subsets)
        answers = []
        for subset in subsets:
            images = [np.asarray(frames[image].image) for image in subset]
            answers.append(self._posed(frames, subset, self.views(images)))
            if on_done is not None:
                on_done()
        return answers

    def views(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Da3Views:
        """One forward pass.

        Args:
            images: RGB, 8 bit, of any sizes; the largest middle part that they share after resizing is seen.
        """
        import torch

        network = self._loaded()
        batch = torch.from_numpy(prepared(images, self.options.longest_px))[None]
        with torch.inference_mode():
            found = network(batch.to(next(network.parameters()).device))
        extrinsics, intrinsics, depths = (
            found[name][0].float().cpu().numpy() for name in ("extrinsics", "intrinsics", "depth")
        )
        return Da3Views(tuple(map(_rigid, extrinsics)), intrinsics.astype(np.float64), depths)

    def _loaded(self) -> Any:
        if self._network is None:
            import torch
            from depth_anything_3.cfg import create_object, load_config
            from depth_anything_3.registry import MODEL_REGISTRY
            from omegaconf import OmegaConf
            from safetensors.torch import load_file

            record = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
            name, config = record.get("model_name"), record.get("config")
            if config is None and name not in MODEL_REGISTRY:
                raise ValueError(
                    f"{self.folder / 'config.json'} must name a network in model_name ({', '.join(MODEL_REGISTRY)}) or "
                    f"hold its config; got {name!r}. Download the folder again."
                )
            foreign = [path for path in _classes(config) if not path.startswith("depth_anything_3.")]
            if foreign:
                raise ValueError(
                    f"{self.folder / 'config.json'} must be made of parts of depth_anything_3; it names {foreign[0]}. "
                    "It would run code from elsewhere: do not use it."
                )
            network = create_object(load_config(MODEL_REGISTRY[name]) if config is None else OmegaConf.create(config))
            if getattr(network, "cam_dec", None) is None:
                raise ValueError(
                    f"{self.folder} must be a network that tells poses; {name} does not. Choose DA3-SMALL."
                )
            weights = load_file(self.folder / "model.safetensors")
            lacking, _ = network.load_state_dict(
                {key.removeprefix("model."): value.float() for key, value in weights.items()}, strict=False
            )
            if lacking:
                raise ValueError(
                    f"{self.folder / 'model.safetensors'} must have all weights of {name}; {len(lacking)} are missing, "
                    f"the first is {lacking[0]}. Download the folder again."
                )
            device = self.options.device
            if device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            self._network = network.eval().requires_grad_(False).to(device)
        return self._network

    def _posed(self, frames: Sequence[Frame], subset: Sequence[int], views: Da3Views) -> PosedSubset:
        options, poses = self.options, views.cam_from_world
        shares = consistent_shares(views, options.relative_depth)
        estimates, observed = [], []
        first = poses[0]
        for place, pose in enumerate(poses):
            if first is None or pose is None:
                reason = "The network's pose is no rotation and translation of finite numbers."
            elif (least := min(shares[0], shares[place])) < options.min_consistent:
                reason = (
                    f"{100 * least:.0f} % of the predicted depths agree with another image of the subset; "
                    f"{100 * options.min_consistent:.0f} % are needed."
                )
            else:
                relative = RigidTransform.identity() if place == 0 else pose * first.inv()
                estimates.append(PoseEstimate(True, "", relative, inlier_fraction=shares[place], source=_SOURCE))
                near = options.min_baseline * float(np.median(views.depths[0]))
                observed.append(bool(np.linalg.norm(relative.translation) > near))
                continue
            estimates.append(PoseEstimate.failure(reason, source=_SOURCE))
            observed.append(False)
        return PosedSubset.of(frames, subset, estimates, observed)


def prepared(images: Sequence[UInt8[np.ndarray, "_ _ 3"]], longest_px: int) -> Float32[np.ndarray, "n 3 h w"]:
    """Images as the network was trained: resized, both sides multiples of 14, standardised, cut to one size."""
    import cv2

    def resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
        if image.shape[:2] == (height, width):
            return image
        grows = width > image.shape[1] or height > image.shape[0]
        return np.asarray(
            cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC if grows else cv2.INTER_AREA)
        )

    def nearest(pixels: int) -> int:
        return max(_PATCH * int(np.floor(pixels / _PATCH + 0.5)), _PATCH)

    deviation = np.array(_DEVIATION, np.float32)
    made: list[Float32[np.ndarray, "_ _ 3"]] = []
    for image in images:
        scale = longest_px / max(image.shape[:2])
        height, width = (max(round(side * scale), 1) for side in image.shape[:2])
        sized = resized(resized(image, width, height), nearest(width), nearest(height))
        made.append((sized.astype(np.float32) / np.float32(255) - np.array(_MEAN, np.float32)) / deviation)
    height, width = (min(one.shape[axis] for one in made) for axis in (0, 1))
    cut = []
    for one in made:
        top, left = ((one.shape[axis] - side) // 2 for axis, side in ((0, height), (1, width)))
        cut.append(one[top : top + height, left : left + width])
    return np.ascontiguousarray(np.stack(cut).transpose(0, 3, 1, 2), dtype=np.float32)


def consistent_shares(views: Da3Views, relative: float) -> list[float]:
    """For each image, the largest share of its depths that agree with those of one other image; 0 without a pose.

    A depth agrees where its point, seen from the other image, lies within ``relative`` of the depth there.
    """
    shares = []
    for place in range(len(views.depths)):
        others = (other for other in range(len(views.depths)) if other != place)
        shares.append(max((float(_agreeing(views, place, other, relative).mean()) for other in others), default=0.0))
    return shares


def _agreeing(views: Da3Views, place: int, other: int, relative: float) -> Bool[np.ndarray, " n"]:
    own, theirs = views.cam_from_world[place], views.cam_from_world[other]
    depth = views.depths[place][_STRIDE // 2 :: _STRIDE, _STRIDE // 2 :: _STRIDE].ravel().astype(np.float64)
    if own is None or theirs is None:
        return np.zeros(len(depth), dtype=bool)
    height, width = views.depths.shape[1:]
    columns, rows = np.meshgrid(np.arange(_STRIDE // 2, width, _STRIDE), np.arange(_STRIDE // 2, height, _STRIDE))
    pixels = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5, np.ones(columns.size)])
    points = (np.linalg.inv(views.intrinsics[place]) @ pixels * depth).T
    moved = (theirs * own.inv()).apply(points)
    before = (moved[:, 2] > 0) & np.isfinite(depth) & (depth > 0)
    z = np.where(before, moved[:, 2], 1.0)
    seen = (views.intrinsics[other] @ (moved / z[:, None]).T).T
    x, y = (np.floor(np.clip(np.nan_to_num(seen[:, axis], nan=-1.0), -1e6, 1e6)).astype(int) for axis in (0, 1))
    inside = before & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    there = views.depths[other][np.where(inside, y, 0), np.where(inside, x, 0)]
    return np.asarray(inside & (np.abs(z - there) <= relative * np.abs(there)))


def _rigid(matrix: Float[np.ndarray, "_ 4"]) -> RigidTransform | None:
    """cam_from_world of the network's 3x4 matrix, its rotation made one."""
    if not np.isfinite(matrix).all() or np.linalg.det(matrix[:3, :3]) <= 0:
        return None
    whole = np.eye(4)
    whole[:3] = matrix[:3]
    return RigidTransform.from_matrix(whole)


def _classes(config: Any) -> Iterator[str]:
    """Every module that a configuration would import."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "__object__" and isinstance(value, dict):
                yield str(value.get("path", ""))
            if key == "__inherit__":
                yield str(value)
            yield from _classes(value)
    elif isinstance(config, list):
        for value in config:
            yield from _classes(value)
