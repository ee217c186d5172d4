"""The report of a reconstruction: where the cameras were, what the scene looks like from there and in between."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.frame_errors import standard_deviations
from posesplat.evaluate.reports import plots
from posesplat.evaluate.reports.page import HtmlTable, Page, SceneView, number_text
from posesplat.evaluate.reports.pictures import Picture, compare_frame, rendered_depth
from posesplat.evaluate.run_record import RunRecord
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import interpolated
from posesplat.geometry.trajectory import Trajectory
from posesplat.learned.reconstruction import Reconstruction
from posesplat.learned.working_views import reduced_frame
from posesplat.render.cpu import CpuRenderer

_WIDTH_PX = 320
_STEPS = (0.25, 0.5, 0.75)
_SHOWN_S = 0.005
"""Stages that take less are not told."""


def reconstruction_facts(found: Reconstruction) -> dict[str, str]:
    """The answer in a few lines, for the table of the command line and the head of the report."""
    posed = int(found.trajectory.posed.sum())
    facts = {"scene": "found" if found.success else "refused"}
    facts["posed"] = f"{posed if found.success else 0} of {len(found.trajectory)}"
    if found.scene is not None:
        facts["Gaussians"] = f"{len(found.scene.gaussians):,}"
    facts["unit"] = "free: that of the depth which the network told for the first image"
    if found.focal is not None and found.focal.focal_px is not None:
        low, high = found.focal.interval_px
        facts["focal length"] = f"{found.focal.focal_px:.0f} px, between {low:.0f} and {high:.0f}"
    elif found.focal is not None:
        facts["focal length"] = f"a guess: {found.focal.reason}"
    facts["seconds"] = ", ".join(
        f"{name} {seconds:.2f}" for name, seconds in found.seconds.items() if seconds >= _SHOWN_S
    )
    return facts


def pose_rows(found: Reconstruction, trajectory: Trajectory) -> tuple[tuple[str, ...], ...]:
    """One row for each image: name, position, deviations, evidence, remarks.

    Args:
        found: the scene.
        trajectory: its images, and any that were located in it.
    """
    rows = []
    fits = [*found.fits, *[None] * len(trajectory)]
    for name, estimate, fit in zip(trajectory.names, trajectory, fits, strict=False):
        place, turn, shift = "-", float("nan"), float("nan")
        if estimate.cam_from_world is not None:
            place = ", ".join(f"{x:.3f}" for x in estimate.cam_from_world.inv().translation.round(3) + 0.0)
            shift, turn = standard_deviations(estimate)
        agree = "-" if fit is None else f"{int(fit.inliers.sum())} of {len(fit.matches)}"
        remark = " ".join((estimate.reason, *estimate.warnings)).strip() or estimate.source
        rows.append((name, place, number_text(turn), number_text(shift), agree, remark))
    return tuple(rows)


POSE_HEADINGS = ("image", "centre", "sigma turn, deg", "sigma centre", "matches that agree", "remark")


def reconstruction_report(
    run: RunRecord,
    frames: Sequence[Frame],
    found: Reconstruction,
    trajectory: Trajectory,
    threads: int | None = None,
    view: SceneView | None = None,
) -> str:
    """The HTML page, without outside resources.

    Args:
        run: what was run.
        frames: the images of the trajectory.
        found: the scene.
        trajectory: its images, and any that were located in it.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
        view: the same in three dimensions.
    """
    title = "Scene and cameras of a few images" if found.success else "No scene from these images"
    page = Page(title, "The world is the camera of the first image (OpenCV axes: x right, y down, z forward).")
    page.add_run(run)
    page.add_facts(reconstruction_facts(found))
    if found.reason:
        page.add_warning(found.reason)
    page.add_heading("Cameras")
    rows = pose_rows(found, trajectory)
    bad = frozenset(index for index, estimate in enumerate(trajectory) if not estimate.success)
    page.add_table(HtmlTable(POSE_HEADINGS, rows, ("image", "remark"), bad_rows=bad))
    if found.scene is not None:
        page.add_view(view)
        _add_scene(page, [reduced_frame(frame, _WIDTH_PX) for frame in frames], found, trajectory, threads)
    page.add_options(run)
    return page.html()


def _add_scene(
    page: Page, frames: Sequence[Frame], found: Reconstruction, trajectory: Trajectory, threads: int | None
) -> None:
    assert found.scene is not None
    scene = found.scene.gaussians
    if plots.have_matplotlib():
        track = plots.Track("found", trajectory.cam_from_world(), plots.ORANGE, line=False)
        page.add_heading("Cameras from above")
        page.add_plot(
            plots.svg(plots.trajectory_figure([track], unit="units")),
            "Camera centres; short strokes show where each camera looks.",
        )
    page.add_heading("Rendered at the found poses, and what was seen")
    for frame, estimate in zip(frames, trajectory, strict=True):
        if estimate.cam_from_world is not None:
            pictures = [*compare_frame(scene, frame, estimate.cam_from_world, None, threads).colour]
            pictures.append(rendered_depth(scene, frame.camera, estimate.cam_from_world, "units", threads))
            page.add_pictures(pictures, frame.name)
    page.add_heading("Views that nobody took")
    posed = [(frame, each) for frame, each in zip(frames, trajectory, strict=True) if each.success]
    for (frame, first), (_, second) in itertools.pairwise(posed):
        page.add_pictures(_between(found, frame.camera, first, second, threads), f"from {frame.name} on")


def _between(
    found: Reconstruction, camera: Camera, first: PoseEstimate, second: PoseEstimate, threads: int | None
) -> list[Picture]:
    assert found.scene is not None and first.cam_from_world is not None and second.cam_from_world is not None
    pictures = []
    for step in _STEPS:
        pose = interpolated(first.cam_from_world, second.cam_from_world, step)
        pictures.append(Picture(novel_view(found, camera, pose, threads), f"{100 * step:.0f} % of the way"))
    return pictures


def novel_view(
    found: Reconstruction, camera: Camera, cam_from_world: RigidTransform, threads: int | None = None
) -> np.ndarray:
    """The scene from anywhere as RGB, uint8, black where it has nothing.

    Raises:
        ValueError: when there is no scene.
    """
    if found.scene is None:
        raise ValueError(f"There is no scene to render. {found.reason}")
    seen_from = np.asarray(cam_from_world.inv().translation)
    view = CpuRenderer(found.scene.gaussians, "rgb", seen_from, threads).planes(camera, cam_from_world)
    assert view.channels is not None
    shown = view.channels * view.alpha[..., None]
    return np.rint(255 * shown.clip(0, 1)).astype(np.uint8)
