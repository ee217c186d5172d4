"""Draws the pictures of conventions.md: ``python docs/draw_conventions.py [FOLDER]``, by default docs/images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat import Camera
from posesplat.geometry.poses import exp

mpl.rcParams |= {"svg.hashsalt": "posesplat", "font.size": 11, "svg.fonttype": "path"}
COLOURS = ("#d62728", "#2ca02c", "#1f77b4")
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
GREY, INK, ACCENT = "#888888", "#222222", "#e67e00"
VIEW = (Rotation.from_euler("yx", [42, 24], degrees=True)).as_matrix()
"""From a world with y down to the drawing: turned a little, so that all three axes are seen."""


def flat(points: Any) -> np.ndarray:
    """Points of the drawn world (y down) on the page (y up), shape (..., 2)."""
    turned = np.asarray(points, float) @ VIEW.T
    return turned[..., :2] * (1.0, -1.0)


def arrow(axes: Any, start: Any, end: Any, colour: str, label: str = "", beyond: float = 0.12, **style: Any) -> None:
    """An arrow between two points of the drawn world, named at its tip."""
    a, b = flat(start), flat(end)
    axes.update_datalim([a, b])
    axes.annotate(
        "", b, a, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0} | style
    )
    if label:
        axes.text(
            *(b + beyond * (b - a) / np.linalg.norm(b - a)), label, color=colour, ha="center", va="center", bbox=PAPER
        )


def axes_of(axes: Any, world_from_frame: RigidTransform, length: float, names: tuple[str, str, str]) -> None:
    """The three axes of a frame."""
    origin = world_from_frame.translation
    for direction, colour, name in zip(np.eye(3), COLOURS, names, strict=True):
        arrow(axes, origin, world_from_frame.apply(length * direction), colour, name, 0.2)


def frustum(axes: Any, world_from_cam: RigidTransform, depth: float, colour: str, lens: Camera) -> np.ndarray:
    """A camera as the pyramid of its image's corners at a depth; returns these corners in the world."""
    pixels = np.array([[0, 0], [lens.width, 0], [lens.width, lens.height], [0, lens.height]], float)
    rays = np.column_stack([(pixels - (lens.cx, lens.cy)) / (lens.fx, lens.fy), np.ones(4)])
    corners = world_from_cam.apply(depth * rays)
    for corner, following in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        axes.plot(*flat([world_from_cam.translation, corner]).T, color=colour, lw=0.9)
        axes.plot(*flat([corner, following]).T, color=colour, lw=1.6)
    return corners


def camera_axes(axes: Any) -> None:
    """OpenCV axes, the image in front of the camera, and depth along z."""
    lens = Camera(100.0, 100.0, 60.0, 45.0, 120, 90)
    corners = frustum(axes, RigidTransform.identity(), 2.0, INK, lens)
    axes_of(axes, RigidTransform.identity(), 0.8, ("x right", "y down", ""))
    arrow(axes, [0, 0, 0], [0, 0, 4.2], COLOURS[2], "z forward", 0.55)
    right, down = (corners[1] - corners[0]) / lens.width, (corners[3] - corners[0]) / lens.height
    arrow(axes, corners[0], corners[0] + 45 * right, INK, "u, columns", 0.35)
    arrow(axes, corners[0], corners[0] + 45 * down, INK, "v, rows", 0.2)
    axes.text(*(flat(corners[0]) + (-0.1, 0.1)), "(0, 0)", ha="right")
    axes.text(*(flat(corners[2]) + (0.1, -0.1)), "(width, height)", va="top")
    point = np.array([-0.7, -0.9, 3.1])
    axes.plot(*flat([[0, 0, 0], point]).T, color=ACCENT, lw=1.2, ls=":")
    axes.plot(*flat([point, [0, 0, point[2]]]).T, color=ACCENT, lw=1.2, ls="--")
    axes.plot(*flat(point), "o", color=ACCENT)
    axes.text(*(flat(point) + (0.12, 0.05)), "X = z r\nr = ((u - cx)/fx, (v - cy)/fy, 1)", color=ACCENT, va="bottom")
    axes.text(*(flat([0, 0, point[2]]) + (0.1, -0.12)), "depth z,\nalong the axis", color=ACCENT, va="top", bbox=PAPER)
    axes.set_xlim(-0.6, 6.4)


def pixel_centres(axes: Any) -> None:
    """The top-left pixels with corner-based coordinates, and what OpenCV calls the same centres."""
    for line in range(4):
        axes.plot([line, line], [0, -3], color=GREY, lw=1)
        axes.plot([0, 3], [-line, -line], color=GREY, lw=1)
        axes.text(line, 0.12, f"{line}", ha="center")
        axes.text(-0.12, -line, f"{line}", ha="right", va="center")
    for row in range(3):
        for column in range(3):
            axes.plot(column + 0.5, -row - 0.5, "o", color=ACCENT, ms=5)
            if row < 2 and column < 2:
                axes.text(column + 0.5, -row - 0.32, f"({column}.5, {row}.5)", ha="center", color=ACCENT)
                axes.text(column + 0.5, -row - 0.76, f"OpenCV ({column}, {row})", ha="center", color=GREY, fontsize=8)
    axes.plot(0, 0, "s", color=INK, ms=6)
    axes.annotate("u", (3.0, 0), (3.6, 0), arrowprops={"arrowstyle": "<|-", "color": INK}, va="center")
    axes.annotate("v", (0, -3.0), (0, -3.5), arrowprops={"arrowstyle": "<|-", "color": INK}, ha="center")
    axes.text(3.4, -0.75, "image[0, 0] is the square from\n(0, 0) to (1, 1); its centre is\n(0.5, 0.5)", va="center")
    axes.text(3.4, -2.1, "The whole image ends at\n(width, height). Halving it\nhalves fx, fy, cx and cy.", va="center")
    axes.set_xlim(-0.4, 6.4)
    axes.set_ylim(-3.6, 0.5)


def transforms(axes: Any) -> None:
    """One point, two cameras and the world: what each transform turns into what."""
    a = RigidTransform.from_components([-0.6, -1.5, 0.6], Rotation.from_euler("y", 10, degrees=True))
    b = RigidTransform.from_components([2.6, -0.6, 0.2], Rotation.from_euler("y", -50, degrees=True))
    lens = Camera(100.0, 100.0, 50.0, 40.0, 100, 80)
    point = np.array([1.1, -1.9, 3.2])
    for name, frame in (("a", a), ("b", b)):
        frustum(axes, frame, 0.7, INK, lens)
        axes_of(axes, frame, 0.45, ("", "", ""))
        axes.plot(*flat([frame.translation, point]).T, color=ACCENT, lw=1.0, ls=":")
        axes.text(*(flat(frame.translation) + (0.0, -0.62)), f"camera {name}", ha="center", weight="bold")
    axes_of(axes, RigidTransform.identity(), 0.6, ("x", "y", "z"))
    axes.text(*(flat([0, 0, 0]) + (-0.15, 0.0)), "world", ha="right", va="center", weight="bold")
    axes.plot(*flat(point), "o", color=ACCENT, ms=7)
    axes.text(*(flat(point) + (0.12, 0.1)), "one point:\nx_in_world, x_in_a, x_in_b", color=ACCENT)
    bent = {"arrowstyle": "-|>", "color": COLOURS[2], "lw": 1.6, "shrinkA": 12, "shrinkB": 14}
    for start, end, curve, name, aside in (
        (RigidTransform.identity(), a, -0.35, "a_from_world", (-1.0, -0.1)),
        (RigidTransform.identity(), b, 0.35, "b_from_world", (0.0, -0.62)),
        (a, b, -0.35, "b_from_a", (0.1, 0.62)),
    ):
        first, last = flat(start.translation), flat(end.translation)
        axes.annotate("", last, first, arrowprops=bent | {"connectionstyle": f"arc3,rad={curve}"})
        axes.text(*((first + last) / 2 + aside), name, color=COLOURS[2], ha="center", family="monospace")
    axes.text(-1.7, -1.75, "b_from_a = b_from_world * a_from_world.inv()", family="monospace")
    axes.text(-1.7, -2.1, "x_in_b = b_from_a.apply(x_in_a)", family="monospace")
    axes.set_xlim(-1.8, 5.6)
    axes.set_ylim(-2.3, 2.9)


def left_tangent(axes: Any) -> None:
    """The same numbers v = (0.8, 0, 0) and omega = (0, 0.5, 0), applied from the left: in the camera's own axes."""
    cam_from_world = RigidTransform.from_rotation(Rotation.from_euler("y", -35, degrees=True).inv())
    lens = Camera(100.0, 100.0, 50.0, 40.0, 100, 80)
    for column, (xi, text) in enumerate(
        (([0, 0, 0, 0.8, 0, 0], "v = (0.8, 0, 0)"), ([0, 0.5, 0, 0, 0, 0], "ω = (0, 0.5, 0)"))
    ):
        aside = np.array([3.6 * column, 0.0, 0.0]) @ VIEW
        for pose, colour in ((cam_from_world, GREY), (exp(np.array(xi, float)) * cam_from_world, ACCENT)):
            placed = RigidTransform.from_translation(aside) * pose.inv()
            frustum(axes, placed, 1.1, colour, lens)
            axes_of(axes, placed, 0.6, ("x", "y", "z"))
        axes.text(*(flat(aside) + (0.2, 1.25)), text, ha="center", weight="bold")
    axes.text(-1.3, -1.15, "grey: cam_from_world      orange: exp((ω, v)) * cam_from_world", color=INK)
    axes.text(-1.3, -1.45, "Coordinates of points move by +v; the camera moves by -v along its own axes.", color=INK)
    axes.set_xlim(-1.4, 5.6)


PICTURES: dict[str, tuple[Callable[[Any], None], tuple[float, float]]] = {
    "axes.svg": (camera_axes, (7.5, 4.2)),
    "pixels.svg": (pixel_centres, (7.0, 4.0)),
    "transforms.svg": (transforms, (7.4, 5.2)),
    "tangent.svg": (left_tangent, (8.0, 4.2)),
}


def draw(folder: Path) -> None:
    """Write every picture into a folder."""
    for name, (picture, size) in PICTURES.items():
        figure = Figure(figsize=size, layout="tight")
        axes = figure.add_subplot()
        picture(axes)
        axes.set_aspect("equal")
        axes.axis("off")
        figure.savefig(folder / name, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "images")
