"""What is the scene, and where were the cameras, from a few unposed photos? docs/reconstruct.md."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float32
from scipy.spatial.transform import RigidTransform

from posesplat.align.degenerate_pairs import LEAST_PARALLAX
from posesplat.align.shared_focal import SharedFocal
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import composed_covariance, rescaled, rescaled_covariance
from posesplat.geometry.trajectory import Trajectory
from posesplat.learned.clips import Batch
from posesplat.learned.network import MAX_VIEWS, MIN_VIEWS, Prediction, SplatNetwork
from posesplat.learned.points import camera_depth
from posesplat.learned.two_view import frames_batch, predict, rigid
from posesplat.learned.unposed_images import ImageLike, as_frame, distinct_names, with_shared_focal
from posesplat.learned.view_alignment import (
    DepthSamples,
    MatchSource,
    PredictedView,
    ViewFit,
    align_view,
    depth_correction,
    length_factor,
    network_matches,
)
from posesplat.learned.weights import load_network
from posesplat.learned.working_views import reduced_frame, working_frame, working_size

_ALONE = (
    "Reconstruction needs 2 to 10 images of one scene from different places; got {}. Name the images, or one "
    "folder that holds them."
)


@dataclass(frozen=True)
class ReconstructOptions:
    """How images become a scene."""

    weights: str = "tiny"
    """Name of weights, a file of ``posesplat train``, or an official checkpoint."""
    side_px: int | None = None
    """The network sees images of about this many pixels squared; default: of as many as it was trained with."""
    longest_px: int = 640
    """Matches are made exact in images whose longer side has at most so many pixels."""
    matches: MatchSource = "both"
    """Which matches decide about poses: the network's, those of SIFT keypoints, or both."""
    seed: int = 0
    """Of the random samples."""
    threads: int | None = None
    """Threads of the kernels; default POSESPLAT_THREADS or all processors."""

    def __post_init__(self) -> None:
        if (self.side_px is not None and self.side_px < 32) or self.longest_px < 64:
            raise ValueError(f"ReconstructOptions needs side_px >= 32 and longest_px >= 64; got {self}.")


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A scene and its cameras; the world is the camera of the first image.

    The unit of length is free: it is the one in which the network told the depth of the first image.
    """

    trajectory: Trajectory
    """cam_from_world of every image with covariance, or why there is none."""
    cameras: tuple[Camera, ...]
    """Pinhole of every image at its original size."""
    scene: SplatMap | None
    """Gaussians of the images that were posed against the first, with their views; None without two of them."""
    reason: str
    """Empty, or one sentence: why there is no scene."""
    focal: SharedFocal | None = None
    """What the matches say of a focal length that nobody knew."""
    network_poses: tuple[RigidTransform, ...] = ()
    """cam_from_world as the network alone has it."""
    fits: tuple[ViewFit | None, ...] = ()
    """Evidence for each image; None for the first."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each part."""
    _anchors: tuple[tuple[PoseEstimate, PredictedView], ...] = ()
    _network: SplatNetwork | None = None
    _options: ReconstructOptions = ReconstructOptions()

    @property
    def success(self) -> bool:
        """Whether there is a scene."""
        return self.scene is not None

    def locate(self, image: ImageLike, camera: Camera | None = None) -> PoseEstimate:
        """The pose of another image in this scene, which stays as it is.

        Args:
            image: a frame, a file or RGB pixels.
            camera: its pinhole; left out, that of a frame, of EXIF, or of the first image where the sizes agree.

        Returns:
            cam_from_world with covariance in the scene's unit, or a refusal with its reason.
        """
        began = time.perf_counter()
        if self.scene is None or self._network is None:
            return PoseEstimate.failure(f"There is no scene to be located in. {self.reason}")
        frame, guessed = as_frame(image, camera, "image")
        same = (frame.camera.width, frame.camera.height) == (self.cameras[0].width, self.cameras[0].height)
        if guessed and same:
            frame = replace(frame, camera=self.cameras[0])
        view = _view(frame, self._anchors[0][1])
        best, _ = _best_of(self._network, self._anchors, view, self._options)
        return best.replace(runtime_s=time.perf_counter() - began)


def reconstruct(
    images: Sequence[ImageLike],
    camera: Camera | Sequence[Camera] | None = None,
    options: ReconstructOptions = ReconstructOptions(),
    network: SplatNetwork | None = None,
) -> Reconstruction:
    """Gaussians and cameras from 2 to 10 unposed images.

    The network gives matches, depth and poses in one forward pass; each pose is then refined on all matches and the
    predicted depth as in ``pair``, with covariance and refusals; a second pass with the refined poses gives Gaussians.

    Args:
        images: frames, files, or RGB arrays; the first one's camera is the world.
        camera: the pinhole of all images, or of each. Left out, frames have theirs; else EXIF tells the focal length;
            else images of one size share one that their matches tell; else it is a guess.
        options: how.
        network: takes the place of ``options.weights``.

    Raises:
        ValueError: for fewer than 2 or more than 10 images, or images that are none.
        FileNotFoundError: when a file is missing.

    Example:
        >>> found = reconstruct(["left.jpg", "right.jpg"])
        >>> found.trajectory[1].cam_from_world, len(found.scene.gaussians)

    Source: SPFSplat, arXiv 2508.01171; SPFSplatV2, arXiv 2509.17246; the refinement is our own.
    """
    clock = _Clock()
    count = len(images)
    if not MIN_VIEWS <= count <= MAX_VIEWS:
        raise ValueError(_ALONE.format("1 image" if count == 1 else f"{count} images"))
    lenses: list[Camera | None] = [camera] * count if isinstance(camera, Camera) or camera is None else list(camera)
    if len(lenses) != count:
        raise ValueError(f"reconstruct needs one camera, or one for each of {count} images; got {len(lenses)}.")
    opened = [as_frame(*each, f"image {index}") for index, each in enumerate(zip(images, lenses, strict=True))]
    return reconstruct_frames([frame for frame, _ in opened], [guess for _, guess in opened], options, network, clock)


class _Clock:
    """Wall time of the parts of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def reconstruct_frames(
    frames: Sequence[Frame],
    guessed: Sequence[bool],
    options: ReconstructOptions = ReconstructOptions(),
    network: SplatNetwork | None = None,
    clock: _Clock | None = None,
) -> Reconstruction:
    """:func:`reconstruct` for frames that are open.

    Args:
        frames: with images.
        guessed: for each, whether the focal length of its camera is a guess.
        options: how.
        network: takes the place of ``options.weights``.
        clock: to go on with.
    """
    clock = clock or _Clock()
    if not MIN_VIEWS <= len(frames) <= MAX_VIEWS:
        raise ValueError(_ALONE.format("1 image" if len(frames) == 1 else f"{len(frames)} images"))
    network = load_network(options.weights) if network is None else network
    clock.lap("weights")
    frames, focal = with_shared_focal(frames, guessed, options.longest_px, options.seed)
    clock.lap("focal length")
    views = _views(frames, network, options)
    prediction = predict(network, _batch(views))
    poses = tuple(rigid(pose) for pose in prediction.cam_from_first[0])
    views = _with_depth(views, prediction)
    clock.lap("network")
    estimates, fits = _aligned(network, prediction, views, options)
    clock.lap("poses")
    names = distinct_names(frames)
    cameras = tuple(frame.camera for frame in frames)

    def done(estimates: Sequence[PoseEstimate], scene: SplatMap | None, reason: str) -> Reconstruction:
        path = Trajectory(tuple(estimates), np.arange(len(frames), dtype=np.float64), names)
        anchors = tuple(zip((estimates[index] for index in chosen), (views[index] for index in chosen), strict=True))
        kept = (poses, tuple(fits), clock.seconds, anchors, network, options)
        return Reconstruction(path, cameras, scene, reason, focal, *kept)

    chosen = [index for index, estimate in enumerate(estimates) if estimate.success]
    if len(chosen) < MIN_VIEWS:
        told = next((estimate.reason for estimate in estimates[1:] if estimate.reason), "")
        return done(estimates, None, f"No other image could be posed against the first. {told}".strip())
    seen_most = max((fit.parallax for fit in fits if fit is not None and fit.estimate.success), default=0.0)
    if seen_most < LEAST_PARALLAX:
        reason = (
            f"No parallax: turns of the camera explain the matches to {seen_most:.1f} standard deviations, so nothing "
            "tells depth. Add an image from another place."
        )
        first, *others = estimates
        return done([first, *(each if not each.success else _refused(each, reason) for each in others)], None, reason)
    estimates, views, gaussians = _scene(network, views, estimates, fits, chosen)
    seen = tuple(
        MapView(cameras[index], pose, names[index])
        for index in chosen
        if (pose := estimates[index].cam_from_world) is not None
    )
    clock.lap("Gaussians")
    _chain(network, estimates, views, chosen[1:], options)
    clock.lap("other images")
    return done(estimates, SplatMap(gaussians, seen, metric=False), "")


def _refused(estimate: PoseEstimate, reason: str) -> PoseEstimate:
    return PoseEstimate.failure(reason, scale=estimate.scale, source=estimate.source)


def _views(frames: Sequence[Frame], network: SplatNetwork, options: ReconstructOptions) -> list[PredictedView]:
    width, height = working_size(frames[0].camera, options.side_px, network.config)
    longest = min(options.longest_px, *(max(frame.camera.width, frame.camera.height) for frame in frames))
    return [PredictedView(reduced_frame(frame, longest), working_frame(frame, width, height)) for frame in frames]


def _view(frame: Frame, like: PredictedView) -> PredictedView:
    """Another image at the sizes of a view that there is already."""
    camera, working = like.frame.camera, like.working.camera
    longest = max(camera.width, camera.height)
    return PredictedView(reduced_frame(frame, longest), working_frame(frame, working.width, working.height))


def _batch(views: Sequence[PredictedView]) -> Batch:
    return frames_batch([view.working for view in views], len(views))


def _with_depth(views: Sequence[PredictedView], prediction: Prediction) -> list[PredictedView]:
    depths = camera_depth(prediction.points, prediction.cam_from_first)[0].cpu().numpy().astype(np.float32)
    return [replace(view, depth=depth) for view, depth in zip(views, depths, strict=True)]


def _aligned(
    network: SplatNetwork, prediction: Prediction, views: Sequence[PredictedView], options: ReconstructOptions
) -> tuple[list[PoseEstimate], list[ViewFit | None]]:
    """The pose of every view against the first."""
    origin = PoseEstimate(True, "", RigidTransform.identity(), np.zeros((6, 6)), source="the world")
    fits: list[ViewFit | None] = [None]
    estimates = [origin]
    for index in range(1, len(views)):
        matches = network_matches(prediction, index, views[0], views[index])
        fit = align_view(views[0], views[index], matches, options.matches, options.seed, options.threads)
        fits.append(fit)
        estimates.append(fit.estimate)
    return estimates, fits


def _chain(
    network: SplatNetwork,
    estimates: list[PoseEstimate],
    views: list[PredictedView],
    known: Sequence[int],
    options: ReconstructOptions,
) -> None:
    """Pose the views that do not see what the first one sees by those that are known, and others by these in turn."""
    left = [index for index, estimate in enumerate(estimates) if not estimate.success]
    while left and known:
        posed = [(estimates[index], views[index]) for index in known]
        found = {}
        for index in left:
            estimate, view = _best_of(network, posed, replace(views[index], depth=None), options)
            if estimate.success:
                found[index] = (estimate, view)
        for index, answer in found.items():
            estimates[index], views[index] = answer
        known = list(found)
        left = [index for index in left if index not in found]


def _best_of(
    network: SplatNetwork,
    posed: Sequence[tuple[PoseEstimate, PredictedView]],
    view: PredictedView,
    options: ReconstructOptions,
) -> tuple[PoseEstimate, PredictedView]:
    """The pose of a view against that one of the scene with which most of its matches agree, and its depth there."""
    best: tuple[float, PoseEstimate, PredictedView] | None = None
    for estimate, known in posed:
        pose, covariance = estimate.cam_from_world, estimate.covariance
        prediction = predict(network, _batch([known, view]))
        matches = network_matches(prediction, 1, known, view)
        fit = align_view(known, view, matches, options.matches, options.seed, options.threads, corrected=True)
        relative, seen = fit.estimate, view
        if relative.cam_from_world is not None and pose is not None:
            seen = _with_depth([known, view], prediction)[1]
            samples = DepthSamples.of(fit, (known.frame.camera, view.frame.camera), relative.cam_from_world)[1]
            seen = replace(seen, depth=seen.depth * depth_correction(seen, samples))
            spread = None
            if relative.covariance is not None and covariance is not None:
                spread = composed_covariance(relative.cam_from_world, relative.covariance, covariance)
            relative = relative.replace(cam_from_world=relative.cam_from_world * pose, covariance=spread)
        score = fit.soft_inliers + (1e9 if relative.success else 0.0)
        if best is None or score > best[0]:
            best = (score, relative, seen)
    assert best is not None
    return best[1], best[2]


def _scene(
    network: SplatNetwork,
    views: Sequence[PredictedView],
    estimates: Sequence[PoseEstimate],
    fits: Sequence[ViewFit | None],
    chosen: Sequence[int],
) -> tuple[list[PoseEstimate], list[PredictedView], Gaussians]:
    """Gaussians of a second pass with the found poses; lengths are brought into the unit of the first view's depth."""
    poses = [estimates[index].cam_from_world for index in chosen]
    matrices = np.stack([pose.as_matrix() for pose in poses if pose is not None]).astype(np.float32)
    prediction = predict(network, _batch([views[index] for index in chosen]), torch.from_numpy(matrices)[None])
    final = list(views)
    for index, view in zip(chosen, _with_depth([views[index] for index in chosen], prediction), strict=True):
        final[index] = view
    answers = list(estimates)
    samples: dict[int, list[DepthSamples]] = {index: [] for index in chosen}
    for index in chosen[1:]:
        estimate, fit = estimates[index], fits[index]
        pose = estimate.cam_from_world
        if pose is None or fit is None or not fit.estimate.success:
            continue
        unit = length_factor(final[0], final[index], fit, pose)
        if unit is not None and unit > 0:
            pose = rescaled(pose, unit)
            spread = None if estimate.covariance is None else rescaled_covariance(estimate.covariance, unit)
            answers[index] = estimate.replace(cam_from_world=pose, covariance=spread)
            cameras = (final[0].frame.camera, final[index].frame.camera)
            of_first, of_own = DepthSamples.of(fit, cameras, pose)
            samples[0].append(of_first)
            samples[index].append(of_own)
    parts = []
    for place, index in enumerate(chosen):
        pose, depth = answers[index].cam_from_world, final[index].depth
        assert pose is not None and depth is not None
        factor = depth_correction(final[index], DepthSamples.joined(samples[index]))
        final[index] = replace(final[index], depth=depth * factor)
        predicted = rigid(prediction.cam_from_first[0, place])
        own = _stretched(_gaussians(prediction, place).transformed(predicted), factor)
        parts.append(own.transformed(pose.inv()))
    return answers, final, Gaussians.merge(parts)


def _stretched(in_camera: Gaussians, factor: Float32[np.ndarray, "h w"]) -> Gaussians:
    """A view's Gaussians farther along their rays, and larger, by the factors of their pixels."""
    grow = factor.reshape(-1, 1)
    return replace(in_camera, means_in_world=grow * in_camera.means_in_world, scales=grow * in_camera.scales)


def _gaussians(prediction: Prediction, view: int) -> Gaussians:
    """The Gaussians of one view, in the frame of the first, with the part of their colour that no direction changes."""
    height, width = prediction.points.shape[2:4]
    part = slice(view * height * width, (view + 1) * height * width)
    splats = prediction.splats

    def numbers(values: torch.Tensor) -> Float32[np.ndarray, "..."]:
        return np.asarray(values[0, part].detach().cpu().numpy(), dtype=np.float32)

    return Gaussians(
        numbers(splats.means),
        numbers(splats.quats_wxyz),
        numbers(splats.scales),
        numbers(splats.opacities).clip(0.0, 1.0),
        sh=numbers(splats.harmonics)[:, :1],
    )
