"""The viewer's first view as a picture, by the renderer of this package: for paper, and before a page is opened."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.reports.plots import GREEN, GREY
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import looking_at
from posesplat.render.cpu import CpuRenderer
from posesplat.viewer.drawing import FOUND, REFUSED, VIEW_SIZE, Rgb, hex_rgb
from posesplat.viewer.layout import Layout, first_view, overlaid, refused_runs, side_by_side
from posesplat.viewer.shown import ShownResult
from posesplat.viewer.splats import splat_arrays, thinned

FOV_DEG = 56.0
"""Vertical angle of the first view."""
_WIDTH, _HEIGHT = 1056, 544
_BACKGROUND = 255.0
_SPLATS = 150_000
_CAMERAS = 24
_LINE_PX = 1
_FINER = 16
"""Parts of a pixel at which lines are drawn."""
_SHIFT = 4
"""Bits of that."""


def poster(
    results: Sequence[ShownResult], overlay: bool = False, threads: int | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """RGB picture of splats, cameras, paths and refused frames from where the viewer looks first.

    Args:
        results: what is drawn; at least one.
        overlay: all in one place instead of side by side.
        threads: of the renderer.
    """
    layouts = [Layout.of(result) for result in results]
    places = overlaid(layouts) if overlay else side_by_side(layouts)
    eye, target = first_view(layouts, places)
    focal = 0.5 * _HEIGHT / np.tan(np.radians(0.5 * FOV_DEG))
    camera = Camera(focal, focal, 0.5 * _WIDTH, 0.5 * _HEIGHT, _WIDTH, _HEIGHT)
    cam_from_scene = looking_at(eye, target, -layouts[0].up)
    image = np.full((_HEIGHT, _WIDTH, 3), _BACKGROUND, np.float32)
    scene = _merged(results, places)
    if scene is not None:
        view = CpuRenderer(scene, "rgb", eye, threads).planes(camera, cam_from_scene)
        assert view.channels is not None
        alpha = view.alpha[..., None]
        image = 255.0 * alpha * view.channels.clip(0, 1) + (1 - alpha) * image
    canvas = np.rint(image).astype(np.uint8)
    for number, (result, layout, scene_from_world) in enumerate(zip(results, layouts, places, strict=True)):
        pen = _Pen(canvas, camera, cam_from_scene * scene_from_world)
        _draw(pen, result, layout, FOUND[number % len(FOUND)])
    return canvas


class _Pen:
    """Draws lines of one result's world into a picture."""

    def __init__(self, canvas: UInt8[np.ndarray, "h w 3"], camera: Camera, cam_from_world: RigidTransform) -> None:
        self._canvas, self._camera, self._cam_from_world = canvas, camera, cam_from_world

    def line(self, points_in_world: Float[np.ndarray, "n 3"], colour: Rgb) -> None:
        """Straight lines from point to point, as far as they lie before the camera."""
        import cv2

        points = self._cam_from_world.apply(points_in_world)
        nearest = 1e-3 * float(np.abs(points[:, 2]).max() or 1.0)
        for first, second in itertools.pairwise(points):
            if min(first[2], second[2]) > nearest:
                ends = np.rint(_FINER * (self._camera.project(np.stack([first, second])) - 0.5)).astype(int)
                if np.abs(ends).max() < 2**20:
                    cv2.line(self._canvas, ends[0], ends[1], colour, _LINE_PX, cv2.LINE_AA, _SHIFT)

    def dot(self, point_in_world: Float[np.ndarray, " 3"], colour: Rgb) -> None:
        """A filled circle."""
        import cv2

        point = self._cam_from_world.apply(point_in_world)
        if point[2] > 0:
            x, y = self._camera.project(point[None])[0]
            if 0 <= x < self._camera.width and 0 <= y < self._camera.height:
                cv2.circle(self._canvas, (round(x), round(y)), 5, colour, -1, cv2.LINE_AA)


def _draw(pen: _Pen, result: ShownResult, layout: Layout, colour: Rgb) -> None:
    for view in result.views:
        _draw_camera(pen, view.camera, view.cam_from_world, VIEW_SIZE * layout.frustum, hex_rgb(GREY))
    paths = ((result.true_poses(), hex_rgb(GREEN)), (result.posed_poses(), colour))
    for poses, path_colour in paths:
        if poses:
            pen.line(RigidTransform.concatenate(poses).inv().translation, path_colour)
    for index in result.drawn_frames(_CAMERAS):
        pose = result.trajectory[index].cam_from_world
        if pose is not None:
            _draw_camera(pen, result.cameras[index], pose, layout.frustum, colour)
    for run in refused_runs(result.trajectory):
        for place in run.places:
            pen.dot(place, REFUSED)


def _draw_camera(pen: _Pen, camera: Camera, cam_from_world: RigidTransform, length: float, colour: Rgb) -> None:
    """A pyramid from the centre through the corners of the image."""
    size = np.array([[0, 0], [camera.width, 0], [camera.width, camera.height], [0, camera.height]], dtype=np.float64)
    world_from_cam = cam_from_world.inv()
    corners = world_from_cam.apply(length * camera.rays_at(size))
    centre = world_from_cam.translation
    pen.line(np.stack([*corners, corners[0]]), colour)
    for corner in corners:
        pen.line(np.stack([centre, corner]), colour)


def _merged(results: Sequence[ShownResult], places: Sequence[RigidTransform]) -> Gaussians | None:
    """The splats of all results where they stand in the scene, in one colour from everywhere."""
    share = _SPLATS // max(1, sum(result.gaussians is not None for result in results))
    parts = []
    for result, scene_from_world in zip(results, places, strict=True):
        if result.gaussians is not None and len(result.gaussians):
            few = thinned(result.gaussians, share)
            plain = Gaussians(few.means_in_world, few.quats_wxyz, few.scales, few.opacities, splat_arrays(few).rgbs)
            parts.append(plain.transformed(scene_from_world))
    return Gaussians.merge(parts) if parts else None
