"""The report of two images: the pose, how sure it is, and what speaks for it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.frame_errors import standard_deviations
from posesplat.evaluate.reports.page import HtmlTable, Page, SceneView, number_text
from posesplat.evaluate.reports.pair_pictures import aligned_pictures, match_picture, overlap_pictures
from posesplat.evaluate.run_record import RunRecord
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import pose_errors
from posesplat.methods.pair import PairEvidence, PairResult
from posesplat.methods.pair_scene import LiftedPair

_NORMAL_95 = 1.96


def baseline_interval(estimate: PoseEstimate) -> tuple[float, float, float]:
    """Distance between the cameras and its 95 % interval, in metres; NaN where they are not known."""
    pose, covariance = estimate.cam_from_world, estimate.covariance
    if pose is None or not estimate.scale.metric:
        return (float("nan"),) * 3
    length = float(np.linalg.norm(pose.translation))
    if covariance is None:
        return length, float("nan"), float("nan")
    direction = pose.translation / max(length, 1e-12)
    half = _NORMAL_95 * float(np.sqrt(max(direction @ covariance[3:, 3:] @ direction, 0.0)))
    return length, max(length - half, 0.0), length + half


def pair_facts(result: PairResult) -> dict[str, str]:
    """The answer in a few lines, for the table of the command line and the head of the report."""
    estimate, evidence = result.estimate, result.evidence
    facts = {"pose": "found" if estimate.success else "refused"}
    pose = estimate.cam_from_world
    if pose is not None:
        rotation, translation = standard_deviations(estimate)
        sure = "" if estimate.covariance is None else f", sigma {np.degrees(rotation):.2g} deg"
        facts["turn"] = f"{np.degrees(pose.rotation.magnitude()):.2f} deg{sure}"
        length, low, high = baseline_interval(estimate)
        if estimate.scale.metric:
            interval = f", between {_metres(low)} and {_metres(high)} (95 %)" if np.isfinite(low) else ""
            facts["distance"] = f"{_metres(length)}{interval}"
        else:
            way = ", ".join(f"{x:+.3f}" for x in pose.translation)
            facts["direction of translation"] = f"({way}), sigma {np.degrees(translation):.2g} deg"
    facts["scale"] = f"metres, from {estimate.scale.source}" if estimate.scale.metric else "unknown: direction only"
    facts["matches"] = f"{int(evidence.inliers.sum())} of {len(evidence.matches)} agree, by {evidence.matcher}"
    facts["evidence"] = f"{evidence.soft_inliers:.0f} soft inliers, {evidence.least_soft_inliers:.0f} needed"
    if np.isfinite(estimate.overlap):
        facts["overlap"] = f"{100 * estimate.overlap:.0f} %"
    if estimate.source:
        facts["source"] = estimate.source
    facts["milliseconds"] = f"{1e3 * estimate.runtime_s:.0f}"
    return facts


def pair_report(
    run: RunRecord,
    a: Frame,
    b: Frame,
    result: PairResult,
    lifted: LiftedPair,
    threads: int | None = None,
    view: SceneView | None = None,
) -> str:
    """The HTML page of a pair, without outside resources.

    Args:
        run: what was run.
        a: image A with the depth that was used.
        b: image B likewise.
        result: the answer.
        lifted: the Gaussians of both images.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
        view: the same in three dimensions.
    """
    estimate, evidence = result.estimate, result.evidence
    title = "The relative pose of two images" if estimate.success else "No pose for these two images"
    page = Page(title, f"A: {a.name}, B: {b.name}. The pose takes points of camera A to camera B (OpenCV axes).")
    page.add_run(run)
    page.add_facts(pair_facts(result))
    if not estimate.success:
        page.add_warning(estimate.reason)
    for warning in estimate.warnings:
        page.add_warning(warning)
    page.add_view(view if estimate.success else None)
    page.add_heading("Matches")
    page.add_pictures([match_picture(a, b, evidence.matches, evidence.inliers)])
    pose = estimate.cam_from_world
    if pose is not None:
        _add_pose(page, estimate, pose)
        page.add_heading("What both images show")
        page.add_pictures(overlap_pictures(a, b, pose, evidence.matches.select(evidence.inliers)))
        pictures = aligned_pictures(lifted, pose, b.camera, threads)
        if pictures:
            page.add_heading("Gaussians of both images, seen by camera B")
            page.add_pictures(pictures)
    if evidence.hypotheses:
        _add_hypotheses(page, evidence)
    page.add_heading("Time")
    page.add_facts({name: f"{1e3 * seconds:.0f} ms" for name, seconds in evidence.seconds.items()})
    page.add_options(run)
    return page.html()


def _add_pose(page: Page, estimate: PoseEstimate, pose: RigidTransform) -> None:
    page.add_heading("Pose")
    page.add_code("\n".join("  ".join(f"{x: .6f}" for x in row) for row in pose.as_matrix()))
    if estimate.covariance is not None:
        deviations = np.sqrt(np.diag(estimate.covariance))
        factor, unit = (1e3, "mm") if estimate.scale.metric else (1e3, "thousandths of the baseline")
        page.add_text(
            "Standard deviations of exp(xi) * b_from_a: rotation "
            + ", ".join(f"{x:.3g}" for x in np.degrees(deviations[:3]))
            + " deg; translation "
            + ", ".join(f"{factor * x:.3g}" for x in deviations[3:])
            + f" {unit}."
        )


def _add_hypotheses(page: Page, evidence: PairEvidence) -> None:
    best = evidence.hypotheses[0].fit
    rows = []
    for hypothesis in evidence.hypotheses:
        metres, degrees = pose_errors(hypothesis.fit.state.b_from_a, best.state.b_from_a)
        fit = hypothesis.fit
        cells = (fit.soft_inliers, fit.cost, float(degrees), float(metres))
        rows.append((hypothesis.source, *(number_text(cell) for cell in cells)))
    page.add_heading("Starts, each refined by the same objective")
    headings = ("start", "soft inliers", "cost", "turned from the best, deg", "moved from the best")
    page.add_table(HtmlTable(headings, tuple(rows), ("start",), frozenset({0})))


def _metres(length: float) -> str:
    return f"{length:.3f} m" if length >= 1 else f"{1e3 * length:.1f} mm"
