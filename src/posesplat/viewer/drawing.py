"""One result drawn into a viser scene: splats, cameras with pictures, paths, ellipsoids, refused frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.reports.plots import GREEN, GREY
from posesplat.geometry.cameras import Camera
from posesplat.images import reduced_image
from posesplat.viewer.layout import Ellipsoids, Layout, RefusedRun, ellipsoids, refused_runs
from posesplat.viewer.rendered import rendered_picture
from posesplat.viewer.shown import ShownResult
from posesplat.viewer.splats import splat_arrays, thinned

Rgb = tuple[int, int, int]
CameraPictures = Literal["seen", "rendered", "none"]

REFUSED: Rgb = (208, 52, 44)
NOW: Rgb = (196, 38, 190)
FOUND: tuple[Rgb, ...] = ((224, 131, 26), (58, 134, 208), (160, 95, 196), (75, 179, 176), (184, 150, 46))
"""Colours of the answers: one result after the other."""
FOUND_NAMES = ("orange", "blue", "violet", "teal", "ochre")
_PATH_PX = 2.5
_VIEW_PX = 1.0
_NOW_LARGER = 1.35
VIEW_SIZE = 0.6
"""Of cameras of the map's views, beside those of the answer."""
_LARGEST_ELLIPSOID = 1.0
"""Of the depth of the scene; larger half axes say that the place is not known."""
_SPHERE_SUBDIVISIONS = 2
_REFUSED_BALL = 0.12
"""Of a drawn camera."""
_LONGEST_REASON = 90


@dataclass(frozen=True)
class Amount:
    """How much of a result is drawn."""

    splats: int = 400_000
    cameras: int = 60
    """Drawn frustums, evenly spread over the posed frames."""
    picture_px: int = 320
    """Longer side of the pictures on frustums."""
    jpeg_quality: int = 80
    compact: bool = False
    """Whether splats are rounded so that they pack well."""
    rendered: bool = False
    """Whether rendered pictures are made at once, hidden, beside those seen."""
    ellipsoids: int = 2000
    threads: int | None = None


@dataclass
class DrawnResult:
    """The handles of one result's parts; viser's nodes are hidden and shown through them."""

    result: ShownResult
    layout: Layout
    scene_from_world: RigidTransform
    root: Any
    """The node under which all of it hangs."""
    parts: dict[str, Any] = field(default_factory=dict)
    """By name: ``Gaussians``, ``cameras seen``, ``path found`` ...; hiding one hides all below it."""
    now: Any = None
    """The frustum that moves along the answer."""
    splats: int = 0
    """Most Gaussians that are drawn."""
    magnification: int = 1
    """Of the ellipsoids as drawn."""
    regions: Ellipsoids | None = None


def draw_result(
    scene: Any, result: ShownResult, layout: Layout, scene_from_world: RigidTransform, number: int, amount: Amount
) -> DrawnResult:
    """Draw everything that there is to see of one result.

    Args:
        scene: a viser scene.
        result: what is drawn.
        layout: its sizes.
        scene_from_world: where the result's world stands in the scene.
        number: chooses the colour of the answer.
        amount: how much is drawn.
    """
    base = "/" + node_name(result.label)
    root = scene.add_frame(base, show_axes=False)
    place(root, scene_from_world.inv())
    drawn = DrawnResult(result, layout, scene_from_world, root)
    drawn.splats, colour = amount.splats, FOUND[number % len(FOUND)]
    if result.gaussians is not None and len(result.gaussians):
        arrays = splat_arrays(thinned(result.gaussians, amount.splats), amount.compact)
        drawn.parts["Gaussians"] = scene.add_gaussian_splats(
            f"{base}/Gaussians", arrays.centers, arrays.covariances, arrays.rgbs, arrays.opacities, scale=arrays.scale
        )
    _draw_views(scene, base, drawn)
    _draw_cameras(scene, base, drawn, colour, amount)
    paths = {"path true": (result.true_poses(), hex_rgb(GREEN))}
    paths["path found"] = (result.posed_poses(), colour)
    for name, (poses, path_colour) in paths.items():
        segments = _segments(poses)
        if len(segments):
            drawn.parts[name] = scene.add_line_segments(
                f"{base}/{name}", segments, path_colour, thickness=_PATH_PX, thickness_units="screen"
            )
    _draw_ellipsoids(scene, base, drawn, colour, amount)
    _draw_refused(scene, base, drawn)
    _draw_now(scene, base, drawn)
    return drawn


def node_name(label: str) -> str:
    """A label as one part of the name of a node."""
    return label.replace("/", " ").strip() or "result"


def place(handle: Any, cam_from_world: RigidTransform) -> None:
    """Move a node to the frame of a camera, in whose OpenCV axes frustums are drawn."""
    world_from_cam = cam_from_world.inv()
    handle.wxyz = world_from_cam.rotation.as_quat(scalar_first=True)
    handle.position = world_from_cam.translation


def draw_rendered(scene: Any, drawn: DrawnResult, colour: Rgb, amount: Amount, visible: bool) -> None:
    """Draw the cameras with what the Gaussians show there in place of what was seen; once only."""
    if "cameras rendered" in drawn.parts or drawn.result.gaussians is None:
        return
    frames = drawn.result.drawn_frames(amount.cameras)
    pictures = {index: rendered_picture(drawn.result, index, amount.picture_px, amount.threads) for index in frames}
    _draw_frustums(
        scene, f"/{node_name(drawn.result.label)}/cameras rendered", drawn, pictures, colour, amount, visible
    )


def _draw_cameras(scene: Any, base: str, drawn: DrawnResult, colour: Rgb, amount: Amount) -> None:
    result = drawn.result
    frames = result.drawn_frames(amount.cameras)
    if not frames:
        return
    pictures = {
        index: reduced_image(result.seen[index], amount.picture_px) if index in result.seen else None
        for index in frames
    }
    _draw_frustums(scene, f"{base}/cameras seen", drawn, pictures, colour, amount, True)
    if amount.rendered:
        draw_rendered(scene, drawn, colour, amount, False)


def _draw_frustums(
    scene: Any,
    name: str,
    drawn: DrawnResult,
    pictures: dict[int, UInt8[np.ndarray, "_ _ 3"] | None],
    colour: Rgb,
    amount: Amount,
    visible: bool,
) -> None:
    result = drawn.result
    drawn.parts[name.rsplit("/", 1)[1]] = scene.add_frame(name, show_axes=False, visible=visible)
    for index, picture in pictures.items():
        pose = result.trajectory[index].cam_from_world
        assert pose is not None
        handle = scene.add_camera_frustum(
            f"{name}/{index:06d} {node_name(result.trajectory.names[index])}",
            **_frustum(result.cameras[index], drawn.layout.frustum),
            color=colour,
            thickness=_VIEW_PX,
            thickness_units="screen",
            image=picture,
            format="jpeg",
            jpeg_quality=amount.jpeg_quality,
        )
        place(handle, pose)


def _draw_views(scene: Any, base: str, drawn: DrawnResult) -> None:
    """Where the map was seen from: small grey cameras."""
    if not drawn.result.views:
        return
    drawn.parts["views of the map"] = scene.add_frame(f"{base}/views of the map", show_axes=False)
    for number, view in enumerate(drawn.result.views):
        handle = scene.add_camera_frustum(
            f"{base}/views of the map/{number:06d} {node_name(view.name)}",
            **_frustum(view.camera, VIEW_SIZE * drawn.layout.frustum),
            color=hex_rgb(GREY),
            thickness=_VIEW_PX,
            thickness_units="screen",
        )
        place(handle, view.cam_from_world)


def _draw_now(scene: Any, base: str, drawn: DrawnResult) -> None:
    """The camera of the frame that is looked at; hidden until there is one."""
    if not drawn.result.trajectory.posed.any():
        return
    drawn.now = scene.add_camera_frustum(
        f"{base}/this frame",
        **_frustum(drawn.result.cameras[0], _NOW_LARGER * drawn.layout.frustum),
        color=NOW,
        thickness=_PATH_PX,
        thickness_units="screen",
        visible=False,
    )


def _draw_ellipsoids(scene: Any, base: str, drawn: DrawnResult, colour: Rgb, amount: Amount) -> None:
    regions = ellipsoids(drawn.result.trajectory, _LARGEST_ELLIPSOID * drawn.layout.depth)
    if not len(regions.frames):
        return
    drawn.regions = regions
    drawn.magnification = regions.magnification(drawn.layout.frustum)
    draw_regions(scene, drawn, colour, amount.ellipsoids)


def draw_regions(scene: Any, drawn: DrawnResult, colour: Rgb, most: int) -> None:
    """Draw the 95 % ellipsoids at the current magnification, in place of those drawn before."""
    import trimesh

    regions = drawn.regions
    if regions is None:
        return
    before = drawn.parts.pop("covariance", None)
    visible = True if before is None else bool(before.visible)
    if before is not None:
        before.remove()
    ball = trimesh.creation.icosphere(subdivisions=_SPHERE_SUBDIVISIONS)
    step = -(-len(regions.frames) // most)
    handle = scene.add_batched_meshes_simple(
        f"/{node_name(drawn.result.label)}/{covariance_name(drawn.magnification)}",
        ball.vertices,
        ball.faces,
        batched_wxyzs=regions.quats_wxyz[::step],
        batched_positions=regions.centres[::step],
        batched_scales=(drawn.magnification * regions.radii[::step]).astype(np.float32),
        batched_colors=colour,
        opacity=0.35,
        cast_shadow=False,
        receive_shadow=False,
        lod="off",
        visible=visible,
    )
    drawn.parts["covariance"] = handle


def covariance_name(magnification: int) -> str:
    """What the ellipsoids are called in the tree of nodes; it says how much larger than true they are."""
    return "covariance 95 %" + (f", {magnification} x its size" if magnification > 1 else "")


def _draw_refused(scene: Any, base: str, drawn: DrawnResult) -> None:
    runs = refused_runs(drawn.result.trajectory)
    if not runs:
        return
    drawn.parts["refused"] = scene.add_frame(f"{base}/refused", show_axes=False)
    for run in runs:
        for index, where in zip(run.frames, run.places, strict=True):
            scene.add_icosphere(
                f"{base}/refused/{index:06d}",
                radius=_REFUSED_BALL * drawn.layout.frustum,
                color=REFUSED,
                position=where,
                cast_shadow=False,
                receive_shadow=False,
            )
        scene.add_label(
            f"{base}/refused/{run.frames[0]:06d}/reason",
            refused_text(drawn.result, run),
            anchor="bottom-left",
            font_screen_scale=0.8,
        )


def refused_text(result: ShownResult, run: RefusedRun) -> str:
    """One line for frames in a row that were refused."""
    first = result.trajectory.names[run.frames[0]]
    names = first if len(run.frames) == 1 else f"{len(run.frames)} frames from {first}"
    reason = run.reason if len(run.reason) <= _LONGEST_REASON else run.reason[: _LONGEST_REASON - 3].rstrip() + "..."
    return f"{names} refused: {reason}"


def _segments(poses: Sequence[RigidTransform]) -> Float[np.ndarray, "n 2 3"]:
    """Straight lines from camera centre to camera centre."""
    if len(poses) < 2:
        return np.zeros((0, 2, 3))
    centres = RigidTransform.concatenate(list(poses)).inv().translation
    return np.stack([centres[:-1], centres[1:]], axis=1)


def _frustum(camera: Camera, length: float) -> dict[str, float]:
    """Vertical angle, side ratio and size of a frustum of that length; viser knows no principal point.

    viser draws frustums of equal volume: with half sides x, y at distance 1, all three times scale / cbrt(x y / 3).
    """
    x, y = 0.5 * camera.width / camera.fx, 0.5 * camera.height / camera.fy
    return {"fov": 2.0 * float(np.arctan(y)), "aspect": x / y, "scale": length * float(np.cbrt(x * y / 3.0))}


def hex_rgb(colour: str) -> Rgb:
    """The colour of ``#rrggbb``."""
    return (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16))
