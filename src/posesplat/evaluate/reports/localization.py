"""The report of a localised sequence: what was found, how sure it is, and how well the map agrees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.frame_errors import FrameErrors, standard_deviations
from posesplat.evaluate.reports import plots
from posesplat.evaluate.reports.frame_pictures import ShownFrame, add_frame_pictures, compared_frames
from posesplat.evaluate.reports.page import HtmlTable, Page, SceneView, number_text
from posesplat.evaluate.run_record import RunRecord
from posesplat.gaussians.splat_map import SplatMap
from posesplat.geometry.trajectory import Trajectory

SIGMA_NOTE = (
    "sigma is the root-mean-square length of the error that the covariance expects; the band in plots is two sigma. "
    "A measured truth has errors of its own, which sigma does not hold."
)


def localization_report(
    run: RunRecord,
    scene: SplatMap,
    frames: FrameSequence,
    trajectory: Trajectory,
    true: Sequence[RigidTransform | None] | None = None,
    pictures: int = 3,
    threads: int | None = None,
    view: SceneView | None = None,
) -> str:
    """The HTML page of a localised sequence, without outside resources.

    Args:
        run: what was run.
        scene: the map.
        frames: the frames of the trajectory, in its order; those that are shown are read again.
        trajectory: the answer.
        true: cam_from_world of each frame where it is known.
        pictures: how many frames are shown.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
        view: the same in three dimensions.
    """
    errors = None if true is None else FrameErrors.of(trajectory, true)
    errors = errors if errors is not None and errors.known.any() else None
    posed = int(trajectory.posed.sum())
    page = Page(
        f"{posed} of {len(trajectory)} frames found in the map",
        f"A map of {len(scene.gaussians):,} Gaussians from {len(scene.views)} views; poses are those of the camera in "
        "the world of the map.",
    )
    page.add_run(run)
    page.add_facts(summary_facts(trajectory, errors, scene.metric))
    page.add_view(view)
    add_plots(page, scene, trajectory, true, errors)
    page.add_heading("Frames")
    page.add_table(frame_table(trajectory, errors, scene.metric))
    page.add_text(SIGMA_NOTE)
    add_frame_pictures(page, shown_frames(scene, frames, trajectory, pictures, threads))
    page.add_options(run)
    return page.html()


def summary_facts(trajectory: Trajectory, errors: FrameErrors | None, metric: bool) -> dict[str, str]:
    """The numbers that a reader looks for first."""
    factor, unit = _unit(metric)
    posed = trajectory.successes()
    runtimes = [1e3 * estimate.runtime_s for estimate in trajectory]
    facts = {
        "posed": f"{len(posed)} of {len(trajectory)}",
        "median time a frame": f"{np.median(runtimes):.0f} ms" if runtimes else "none",
    }
    sigmas = np.array([standard_deviations(estimate) for estimate in posed]).reshape(-1, 2)
    if np.isfinite(sigmas).all() and len(sigmas):
        facts["median sigma"] = f"{factor * np.median(sigmas[:, 0]):.2g} {unit}, {np.median(sigmas[:, 1]):.2g} deg"
    statistics = None if errors is None else errors.statistics()
    if statistics is not None:
        translation, rotation = statistics
        facts["median error"] = f"{factor * translation.median:.3g} {unit}, {rotation.median:.3g} deg"
        facts["RMS error"] = f"{factor * translation.rmse:.3g} {unit}, {rotation.rmse:.3g} deg"
    return facts


def frame_table(trajectory: Trajectory, errors: FrameErrors | None, metric: bool) -> HtmlTable:
    """One row a frame: found or why not, sigma, evidence, error where the truth is known, time."""
    factor, unit = _unit(metric)
    headings = ["frame", "result", f"sigma {unit}", "sigma deg", "overlap %", "inliers %"]
    headings += [] if errors is None else [f"error {unit}", "error deg"]
    rows, refused = [], set()
    for index, (name, estimate) in enumerate(zip(trajectory.names, trajectory, strict=True)):
        if not estimate.success:
            refused.add(index)
        result = f"found from {estimate.source or 'its start'}" if estimate.success else estimate.reason
        sigma, sigma_deg = standard_deviations(estimate)
        row = [name, "; ".join((result, *estimate.warnings))]
        row += [number_text(factor * sigma), number_text(sigma_deg)]
        row += [number_text(100 * estimate.overlap, ".0f"), number_text(100 * estimate.inlier_fraction, ".0f")]
        if errors is not None:
            row += [
                number_text(factor * float(errors.translation[index])),
                number_text(float(errors.rotation_deg[index])),
            ]
        rows.append((*row, number_text(1e3 * estimate.runtime_s, ".0f")))
    return HtmlTable((*headings, "ms"), tuple(rows), ("frame", "result"), bad_rows=frozenset(refused))


def add_plots(
    page: Page,
    scene: SplatMap,
    trajectory: Trajectory,
    true: Sequence[RigidTransform | None] | None,
    errors: FrameErrors | None,
    level: int = 2,
) -> None:
    """The trajectory from above, and errors over frames where the truth is known."""
    if not plots.have_matplotlib():
        page.add_warning(plots.NO_PLOTS)
        return
    unit = "m" if scene.metric else "units of the map"
    tracks = trajectory_tracks(scene, trajectory, true)
    if tracks:
        page.add_heading("Trajectory", level)
        page.add_plot(
            plots.svg(plots.trajectory_figure(tracks, unit)),
            "Camera centres from above; short strokes show where each camera looks.",
        )
    if errors is not None:
        sigmas = np.array([standard_deviations(estimate) for estimate in trajectory])
        figure = plots.error_figure(
            trajectory.names, errors.translation, errors.rotation_deg, sigmas[:, 0], sigmas[:, 1], unit
        )
        gaps = "" if trajectory.posed.all() else " Gaps are refused frames."
        page.add_heading("Error", level)
        page.add_plot(plots.svg(figure), f"Errors against the given truth, without alignment.{gaps}")


def trajectory_tracks(
    scene: SplatMap, trajectory: Trajectory, true: Sequence[RigidTransform | None] | None
) -> list[plots.Track]:
    """What the plot of a trajectory shows: views of the map, truth, answer."""
    tracks = []
    if scene.views:
        views = RigidTransform.concatenate([view.cam_from_world for view in scene.views])
        tracks.append(plots.Track("views of the map", views, plots.GREY, "s", line=False))
    known = [pose for pose in true or () if pose is not None]
    if known:
        tracks.append(plots.Track("truth", RigidTransform.concatenate(known), plots.GREEN, "x"))
    if trajectory.posed.any():
        tracks.append(plots.Track("found", trajectory.cam_from_world(), plots.ORANGE, "."))
    return tracks


def shown_frames(
    scene: SplatMap, frames: FrameSequence, trajectory: Trajectory, count: int, threads: int | None = None
) -> Iterator[ShownFrame]:
    """Render the map for some frames, spread evenly over those that were found."""
    unit = "m" if scene.metric else "units"
    return compared_frames(scene.gaussians, frames, trajectory, trajectory.posed, count, unit, threads=threads)


def _unit(metric: bool) -> tuple[float, str]:
    return (1e3, "mm") if metric else (1.0, "units")
