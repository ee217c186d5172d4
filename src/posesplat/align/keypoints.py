"""SIFT keypoints of a map: its rendered views' keypoints, lifted onto the rendered surface."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.align.viewpoints import map_views
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.kernels.splatting import View
from posesplat.render.cpu import CpuRenderer


@dataclass(frozen=True)
class KeypointOptions:
    """How keypoints are found, in rendered views and in frames alike."""

    max_views: int = 40
    """Most views of the map that are rendered."""
    max_width: int = 640
    """Images wider than this are reduced to it."""
    max_keypoints: int = 2000
    """Strongest keypoints kept for each image."""
    contrast_threshold: float = 0.02
    """SIFT's contrast threshold; rendered views are softer than photographs."""
    min_alpha: float = 0.8
    """Least opacity around a keypoint of a rendered view."""
    gate: float = 1e-3
    """Largest relative variance of inverse depth at a keypoint; beyond it the pixel mixes surfaces."""
    margin_px: int = 4
    """Distance kept from where the rendered view shows nothing."""


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one image, strongest first."""

    pixels: Float[np.ndarray, "n 2"]
    """Places in corner-based pixels."""
    descriptors: Float32[np.ndarray, "n 128"]
    """RootSIFT: unit vectors whose dot product is the Hellinger kernel (Arandjelovic and Zisserman, 2012)."""

    def __len__(self) -> int:
        return len(self.pixels)

    def select(self, index: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"] | slice) -> Keypoints:
        """The keypoints picked by a mask, an index array or a slice."""
        return Keypoints(self.pixels[index], self.descriptors[index])


@dataclass(frozen=True)
class ViewKeypoints:
    """Keypoints of one rendered view and where they lie in the world."""

    view: MapView
    """The view, with the camera it was rendered with."""
    keypoints: Keypoints
    """In that camera's pixels."""
    points_in_world: Float[np.ndarray, "n 3"]
    """On the rendered surface, in the unit of the map."""


def detect(
    image: UInt8[np.ndarray, "h w 3"],
    options: KeypointOptions = KeypointOptions(),
    mask: Bool[np.ndarray, "h w"] | None = None,
) -> Keypoints:
    """SIFT keypoints of an RGB image with RootSIFT descriptors.

    Args:
        image: RGB, 8 bit.
        options: number and threshold.
        mask: where keypoints may lie; None allows all of the image.
    """
    import cv2

    # Without the precise upscaling, OpenCV's keypoints are off by up to a quarter of a pixel.
    sift = cv2.SIFT.create(
        options.max_keypoints, contrastThreshold=options.contrast_threshold, enable_precise_upscale=True
    )
    allowed = None if mask is None else mask.astype(np.uint8)
    found, descriptors = sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), allowed)
    if not found:
        return Keypoints(np.zeros((0, 2)), np.zeros((0, 128), dtype=np.float32))
    # Keypoints of equal strength come in no fixed order, and OpenCV may return a few more than asked for.
    places = np.array([(*keypoint.pt, keypoint.response, keypoint.angle) for keypoint in found])
    order = np.lexsort((places[:, 3], places[:, 1], places[:, 0], -places[:, 2]))[: options.max_keypoints]
    roots = np.sqrt(np.maximum(descriptors[order], 0) / np.maximum(descriptors[order].sum(axis=1, keepdims=True), 1e-9))
    return Keypoints(places[order, :2] + 0.5, roots.astype(np.float32))


def detect_in_frame(frame: Frame, options: KeypointOptions = KeypointOptions()) -> tuple[Camera, Keypoints]:
    """Keypoints of a frame's image, reduced to ``options.max_width``, and the camera of the reduced image.

    Raises:
        ValueError: for a frame without an image.
    """
    import cv2

    if frame.image is None:
        raise ValueError(
            f"Frame {frame.name!r} must hold an image to have keypoints; got depth only. Use depth_starts for it."
        )
    camera = reduced(frame.camera, options.max_width)
    image = frame.image
    if camera is not frame.camera:
        image = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return camera, detect(np.asarray(image, dtype=np.uint8), options)


def reduced(camera: Camera, max_width: int) -> Camera:
    """The camera of the image reduced to at most ``max_width`` pixels of width."""
    if camera.width <= max_width:
        return camera
    return camera.resized(max_width, max(round(camera.height * max_width / camera.width), 1))


def lifted(
    view: View, pixels: Float[np.ndarray, "n 2"], min_alpha: float, gate: float
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Intersect the rays of corner-based pixels with the rendered planes.

    The plane of the pixel that holds the place is met by the place's own ray: exact on planes.

    Returns:
        which pixels show one clean surface, and the world points of all (meaningless where not clean).
    """
    assert view.planes is not None and view.variance is not None
    camera = view.camera
    columns = np.clip(np.floor(pixels[:, 0]).astype(np.int64), 0, camera.width - 1)
    rows = np.clip(np.floor(pixels[:, 1]).astype(np.int64), 0, camera.height - 1)
    rays = camera.rays_at(pixels)
    inverse = np.einsum("nk,nk->n", view.planes[rows, columns].astype(np.float64), rays)
    clean = (view.alpha[rows, columns] >= min_alpha) & (view.variance[rows, columns] <= gate) & (inverse > 1e-6)
    depth = np.divide(1.0, inverse, where=clean, out=np.ones_like(inverse))
    return clean, view.cam_from_world.inv().apply(rays * depth[:, None])


class KeypointIndex:
    """The keypoints of a map's views; rendered and detected on first use, once."""

    def __init__(
        self,
        splat_map: SplatMap,
        camera: Camera | None = None,
        options: KeypointOptions = KeypointOptions(),
        threads: int | None = None,
    ) -> None:
        """Remember what to index.

        Args:
            splat_map: a map with colour.
            camera: pinhole with which to look at maps that have no views of their own.
            options: how keypoints are found.
            threads: see :func:`posesplat.kernels.threads.thread_count`.

        Raises:
            ValueError: for a map without colour, or one without views when no camera is given.
        """
        if not splat_map.gaussians.has_color:
            raise ValueError(
                "A keypoint index needs a map with colour; got Gaussians without colors and sh. "
                "Use depth_starts, or a map built from frames with images."
            )
        if not splat_map.views and camera is None:
            raise ValueError(
                "A keypoint index of a map without views needs a camera to look at it with; got camera=None. "
                "Pass the camera of the frames that will be localised."
            )
        self.splat_map = splat_map
        self.camera = camera
        self.options = options
        self.threads = threads

    @cached_property
    def views(self) -> tuple[ViewKeypoints, ...]:
        """The views with their keypoints; views that show none are left out."""
        gaussians = self.splat_map.gaussians
        view_dependent = gaussians.sh is not None and gaussians.sh.shape[1] > 1
        shared = None if view_dependent else CpuRenderer(gaussians, "rgb", threads=self.threads)
        found = []
        for view in map_views(self.splat_map, self.camera, self.options.max_views, self.threads):
            renderer = shared or CpuRenderer(
                gaussians, "rgb", view.cam_from_world.inv().translation, threads=self.threads
            )
            keypoints = self._view_keypoints(view, renderer)
            if len(keypoints.keypoints):
                found.append(keypoints)
        return tuple(found)

    def _view_keypoints(self, view: MapView, renderer: CpuRenderer) -> ViewKeypoints:
        import cv2

        options = self.options
        camera = reduced(view.camera.pinhole, options.max_width)
        rendered = renderer.planes(camera, view.cam_from_world)
        assert rendered.channels is not None
        image = np.rint(255 * np.clip(rendered.channels, 0, 1)).astype(np.uint8)
        covered = (rendered.alpha >= options.min_alpha).astype(np.uint8)
        size = 2 * options.margin_px + 1
        inner = cv2.erode(covered, np.ones((size, size), np.uint8), borderType=cv2.BORDER_REPLICATE)
        keypoints = detect(image, options, np.asarray(inner) > 0)
        clean, points = lifted(rendered, keypoints.pixels, options.min_alpha, options.gate)
        drawn = MapView(camera, view.cam_from_world, view.name)
        return ViewKeypoints(drawn, keypoints.select(clean), points[clean])


def reprojection_errors(
    camera: Camera,
    cam_from_world: RigidTransform,
    points_in_world: Float[np.ndarray, "n 3"],
    pixels: Float[np.ndarray, "n 2"],
) -> Float[np.ndarray, " n"]:
    """Distances in pixels between projected points and where they were seen; infinite behind the camera."""
    projected = camera.project(cam_from_world.apply(points_in_world))
    errors = np.linalg.norm(projected - pixels, axis=1)
    return np.where(np.isfinite(errors), errors, np.inf)
