"""The report of a tracked video: how the camera moved, how sure that is, and what was refused and why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.frame_errors import standard_deviations
from posesplat.evaluate.reports import plots
from posesplat.evaluate.reports.frame_pictures import add_frame_pictures, compared_frames
from posesplat.evaluate.reports.localization import SIGMA_NOTE
from posesplat.evaluate.reports.page import Page, SceneView
from posesplat.evaluate.reports.pictures import rendered_depth
from posesplat.evaluate.reports.tracking_facts import (
    Unit,
    camera_facts,
    error_table,
    grouped_remarks,
    remark_table,
    summary_facts,
    times_of,
    truth_note,
)
from posesplat.evaluate.run_record import RunRecord
from posesplat.evaluate.tracking_errors import TrackingErrors, observable
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.poses import inverse_left_jacobian, rescaled
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.calibrate import CameraEstimate
from posesplat.providers.masks.provider import MaskProvider

_LEAST_COVERED = 0.05
"""Share of a frame that the Gaussians must cover for it to be shown."""
_REFERENCES = "The Gaussians were made from reference frames, usually the first among them, which agree best."


def tracking_report(
    run: RunRecord,
    frames: FrameSequence,
    trajectory: Trajectory,
    gaussians: Gaussians | None,
    true: Sequence[RigidTransform | None] | None = None,
    camera: CameraEstimate | None = None,
    pictures: int = 3,
    threads: int | None = None,
    masks: MaskProvider | None = None,
    view: SceneView | None = None,
) -> str:
    """The HTML page of a tracked video, without outside resources.

    Args:
        run: what was run.
        frames: the frames of the trajectory, in its order; those that are shown are read again. There may be more of
            them, after an interruption.
        trajectory: the answer of :func:`posesplat.track`.
        gaussians: what was seen, in the world of the trajectory; None where there are none.
        true: cam_from_world in metres of each frame of the trajectory, None where it is not known.
        camera: how the camera was found, where it was not given.
        pictures: how many frames are shown.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
        masks: which pixels were used, where not all were.
        view: the same in three dimensions.

    Raises:
        ValueError: when there are fewer frames, or not as many true poses, as the trajectory has.
    """
    if len(frames) < len(trajectory):
        raise ValueError(
            f"A report needs the frames of the trajectory; got {len(frames)} frames for {len(trajectory)} estimates."
        )
    errors = None if true is None else TrackingErrors.of(trajectory, true)
    unit = Unit.of(trajectory)
    page = Page(f"{int(trajectory.posed.sum())} of {len(trajectory)} frames posed", unit.sentence)
    page.add_run(run)
    page.add_facts(summary_facts(trajectory, unit))
    page.add_facts(camera_facts(frames, camera))
    if not trajectory.posed.any():
        page.add_warning("No frame has a pose. The reasons are below.")
    page.add_view(view)
    _add_plots(page, trajectory, true, errors, unit)
    if errors is not None:
        _add_errors(page, trajectory, errors)
    groups = grouped_remarks(trajectory)
    if groups:
        page.add_heading("Refusals and warnings")
        page.add_table(remark_table(groups))
    if gaussians is not None and len(gaussians):
        _add_pictures(page, frames, trajectory, gaussians, unit, pictures, threads, masks)
    page.add_options(run)
    return page.html()


def _add_plots(
    page: Page,
    trajectory: Trajectory,
    true: Sequence[RigidTransform | None] | None,
    errors: TrackingErrors | None,
    unit: Unit,
) -> None:
    if not plots.have_matplotlib():
        page.add_warning(plots.NO_PLOTS)
        return
    if trajectory.posed.sum() < 2:
        return
    thinned = _thinned_note(len(trajectory))
    tracks = trajectory_tracks(trajectory, true, errors, unit)
    page.add_heading("Trajectory")
    if tracks:
        figure = plots.trajectory_figure(tracks, unit.drawn[1], ("above", "behind"))
        page.add_plot(
            plots.svg(figure),
            "Camera centres from above and from behind the camera; short strokes show where it looks."
            + ("" if unit.metric or unit.mixed else " 1 depth = the median depth of the first frame.")
            + ("" if trajectory.posed.all() else " Lines run straight on where frames were refused.")
            + (" The truth is aligned to the answer." if len(tracks) > 1 else "")
            + thinned,
        )
    else:
        page.add_text("There is no path to draw: the translation is unobservable. The rotation is below.")
    gaps = []
    if not trajectory.posed.all():
        gaps.append("Gaps are refused frames.")
    if (trajectory.posed & ~observable(trajectory)).any():
        gaps.append("Translations are left out where they are unobservable.")
    times, label = times_of(trajectory)
    figure = plots.motion_figure(times, label, motion_components(trajectory, true, errors, unit))
    page.add_heading("Motion")
    page.add_plot(
        plots.svg(figure),
        " ".join(["Camera against the first posed frame; bands are two standard deviations of the covariance.", *gaps])
        + thinned,
    )


def _add_errors(page: Page, trajectory: Trajectory, errors: TrackingErrors) -> None:
    page.add_heading("Against the truth")
    page.add_table(error_table(errors))
    page.add_text(truth_note(errors))
    if not plots.have_matplotlib():
        return
    scale = 1.0 if errors.true_from_world is None else errors.true_from_world.scale
    sigmas = np.array([standard_deviations(estimate) for estimate in trajectory])
    sigmas[~np.isfinite(errors.translation), 0] = np.nan
    times, label = times_of(trajectory)
    figure = plots.error_figure(
        trajectory.names,
        errors.translation,
        errors.rotation_deg,
        scale * sigmas[:, 0],
        sigmas[:, 1],
        times=times,
        time_label=label,
    )
    compared = "Translation after alignment, rotation" if np.isfinite(errors.translation).any() else "Rotation"
    page.add_plot(
        plots.svg(figure),
        f"{compared} against the first frame. Gaps are frames with nothing to compare.{_thinned_note(len(trajectory))}",
    )
    page.add_text(SIGMA_NOTE)


def trajectory_tracks(
    trajectory: Trajectory,
    true: Sequence[RigidTransform | None] | None,
    errors: TrackingErrors | None,
    unit: Unit,
) -> list[plots.Track]:
    """The paths that a plot shows, in its unit: the aligned truth and the answer; none where nothing is observable."""
    seen = observable(trajectory)
    if seen.sum() < 2:
        return []
    tracks = []
    factor, _ = unit.drawn
    if errors is not None and errors.true_from_world is not None and true is not None:
        truth = RigidTransform.concatenate(
            [pose for pose, shown in zip(true, seen, strict=True) if shown and pose is not None]
        )
        aligned = errors.true_from_world.inverse().moved_cameras(truth)
        tracks.append(plots.Track("truth", rescaled(aligned, factor), plots.GREEN, "x"))
    answer = trajectory.select(seen).cam_from_world()
    tracks.append(plots.Track("found", rescaled(answer, factor), plots.ORANGE, "."))
    return tracks


def motion_components(
    trajectory: Trajectory,
    true: Sequence[RigidTransform | None] | None,
    errors: TrackingErrors | None,
    unit: Unit,
) -> list[plots.Components]:
    """Place and orientation of the camera in the first posed frame, with their deviations, for a plot.

    Deviations are those of the poses in the world of :func:`posesplat.track`, which is the first posed frame's camera.
    The truth is taken against the same frame and, for an answer without scale, in the unit of the best alignment.
    Translations are left out where they are unobservable, all of them when fewer than two are not.
    """
    count, seen = len(trajectory), observable(trajectory)
    first = int(np.argmax(trajectory.posed))
    centres, vectors = _motion([estimate.cam_from_world for estimate in trajectory], first)
    deviations = np.full((count, 2, 3), np.nan)
    sure = np.flatnonzero([e.success and e.covariance is not None for e in trajectory])
    if len(sure):
        spread = np.array([trajectory[int(index)].covariance for index in sure])
        turned = trajectory.select(sure).cam_from_world().rotation.as_matrix().transpose(0, 2, 1)
        bent = inverse_left_jacobian(np.pad(vectors[sure], ((0, 0), (0, 3))))[:, :3, :3] @ turned
        for part, change, block in ((0, turned, spread[:, 3:, 3:]), (1, bent, spread[:, :3, :3])):
            variances = np.einsum("nij,njk,nik->ni", change, block, change)
            deviations[sure, part] = np.sqrt(variances.clip(min=0.0))
    centres[~seen] = np.nan
    deviations[~seen, 0] = np.nan
    true_centres = true_vectors = None
    if true is not None and true[first] is not None and errors is not None:
        true_centres, true_vectors = _motion(true, first)
    factor, name = unit.drawn
    parts = []
    if seen.sum() >= 2:
        if true_centres is not None:
            fit = None if errors is None else errors.true_from_world
            true_centres = true_centres * (np.nan if fit is None else factor / fit.scale)
        parts.append(
            plots.Components(
                f"translation ({name})",
                ("x right", "y down", "z ahead"),
                factor * centres,
                factor * deviations[:, 0],
                true_centres,
            )
        )
    names = ("about x", "about y", "about z")
    true_turns = None if true_vectors is None else np.degrees(true_vectors)
    turns = plots.Components("rotation (deg)", names, np.degrees(vectors), np.degrees(deviations[:, 1]), true_turns)
    return [*parts, turns]


def _motion(
    cam_from_world: Sequence[RigidTransform | None], first: int
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Centres and rotation vectors of first_from_cam; NaN for cameras that are not known."""
    centres, vectors = np.full((2, len(cam_from_world), 3), np.nan)
    origin = cam_from_world[first]
    known = np.array([pose is not None for pose in cam_from_world])
    if origin is not None:
        poses = RigidTransform.concatenate([pose for pose in cam_from_world if pose is not None])
        first_from_cam = origin * poses.inv()
        centres[known], vectors[known] = first_from_cam.translation, first_from_cam.rotation.as_rotvec()
    return centres, vectors


def _add_pictures(
    page: Page,
    frames: FrameSequence,
    trajectory: Trajectory,
    gaussians: Gaussians,
    unit: Unit,
    count: int,
    threads: int | None,
    masks: MaskProvider | None,
) -> None:
    seen = observable(trajectory)
    shown = list(
        compared_frames(
            gaussians, frames, trajectory, seen, count, "m" if unit.metric else None, masks=masks, threads=threads
        )
    )
    overlapping = [frame for frame in shown if frame.comparison.covered >= _LEAST_COVERED]
    add_frame_pictures(page, overlapping, heading="Gaussians and camera", note=_REFERENCES)
    if len(overlapping) < len(shown):
        names = ", ".join(frame.name for frame in shown if frame.comparison.covered < _LEAST_COVERED)
        page.add_text(f"Not shown, because the Gaussians hardly reach there: {names}.")
    pose = trajectory[int(np.argmax(seen))].cam_from_world
    if pose is not None and not any(frame.comparison.depth for frame in overlapping):
        name = "m" if unit.metric else "units" if unit.mixed else "median depths"
        page.add_heading("Depth of the Gaussians")
        page.add_pictures([rendered_depth(gaussians, frames.camera, pose, name, threads)], "Seen from the first frame.")


def _thinned_note(count: int) -> str:
    return f" Of {count:,} frames, {plots.MOST_DRAWN} are drawn." if count > plots.MOST_DRAWN else ""
