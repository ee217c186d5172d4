"""The report of two bridged images: what was put between, what each subset says, and which answer was chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from posesplat.align.consensus import PAIR_GROUP, Hypothesis
from posesplat.align.pair_evidence import EVIDENCE
from posesplat.align.tracks import evenly_spread
from posesplat.evaluate.reports import plots
from posesplat.evaluate.reports.page import HtmlTable, Page, number_text
from posesplat.evaluate.reports.pictures import Picture
from posesplat.evaluate.run_record import RunRecord
from posesplat.geometry.frame import Frame
from posesplat.methods.bridge import BridgeEvidence, BridgeResult

_SHOWN = 6
_COLOURS = (plots.BLUE, plots.ORANGE, plots.GREEN, "#a05fc4", "#c8483c", "#4bb3b0", "#b8962e", "#7a6cf0")


def bridge_facts(result: BridgeResult) -> dict[str, str]:
    """The answer in a few lines, for the table of the command line and the head of the report."""
    estimate, evidence = result.estimate, result.evidence
    posed = sum(one.b_from_a is not None for one in evidence.hypotheses[:-1])
    facts = {"pose": "found" if estimate.success else "refused"}
    pose = estimate.cam_from_world
    if pose is not None:
        facts["turn"] = f"{np.degrees(pose.rotation.magnitude()):.1f} deg"
        if np.linalg.norm(pose.translation) > 0:
            facts["translation"] = "(" + ", ".join(f"{x:+.3f}" for x in pose.translation) + ")"
        else:
            facts["translation"] = "not observable"
    if evidence.chosen is not None:
        facts["probability within 15 deg"] = number_text(float(evidence.probabilities[evidence.chosen]), ".2f")
        if np.isfinite(evidence.spread_deg()):
            facts["spread of its clip"] = f"{evidence.spread_deg():.1f} deg"
        facts["best hypothesis"] = evidence.hypotheses[evidence.chosen].source
    facts["subsets posed"] = f"{posed} of {len(evidence.hypotheses) - 1}, in {len(evidence.clips)} clips"
    facts["the pair alone"] = _pair_words(evidence)
    facts["seconds"] = f"{estimate.runtime_s:.1f}"
    return facts


def bridge_report(run: RunRecord, a: Frame, b: Frame, result: BridgeResult) -> str:
    """The HTML page of a bridged pair, without outside resources.

    Args:
        run: what was run.
        a: image A.
        b: image B.
        result: the answer.
    """
    estimate, evidence = result.estimate, result.evidence
    title = "Two images bridged" if estimate.success else "No pose for these two images"
    page = Page(title, f"A: {a.name}, B: {b.name}. The pose takes points of camera A to camera B (OpenCV axes).")
    page.add_run(run)
    page.add_facts(bridge_facts(result))
    if not estimate.success:
        page.add_warning(estimate.reason)
    for warning in estimate.warnings:
        page.add_warning(warning)
    if estimate.cam_from_world is not None:
        page.add_heading("Pose")
        rows = estimate.cam_from_world.as_matrix()
        page.add_code("\n".join("  ".join(f"{x: .6f}" for x in row) for row in rows))
    if any(one.b_from_a is not None for one in evidence.hypotheses):
        _add_sphere(page, evidence)
        _add_scores(page, evidence)
    page.add_heading("Frames")
    for clip in evidence.clips:
        if clip.reason:
            page.add_warning(f"{clip.name} ({clip.about}): {clip.reason}")
            continue
        chosen = evenly_spread(len(clip.frames), _SHOWN)
        pictures = [_picture(a, "A"), *(Picture(clip.frames[k], f"frame {k + 1}") for k in chosen), _picture(b, "B")]
        page.add_pictures(pictures, f"{clip.name}: {clip.about}")
    if evidence.hypotheses:
        page.add_heading("All hypotheses")
        page.add_table(_hypothesis_table(evidence))
        page.add_text("; ".join(f"{name}: {meaning}" for name, meaning in EVIDENCE.items()) + ".")
    page.add_heading("Time")
    page.add_facts({name: f"{seconds:.2f} s" for name, seconds in evidence.seconds.items()})
    page.add_options(run)
    return page.html()


def sphere_figure(evidence: BridgeEvidence) -> Any:
    """Where B looks and where B stands, seen from A, for every hypothesis; a Figure with two maps of the sphere."""
    posed = [index for index, one in enumerate(evidence.hypotheses) if one.b_from_a is not None]
    with plots.page_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        maps = [figure.add_subplot(1, 2, k + 1, projection="mollweide") for k in range(2)]
        groups = list(dict.fromkeys(evidence.hypotheses[index].group for index in posed))
        for number, group in enumerate(groups):
            members = [evidence.hypotheses[index] for index in posed if evidence.hypotheses[index].group == group]
            looks, stands = _directions(members)
            marker, size = ("D", 36) if group == PAIR_GROUP else ("o", 16)
            colour = plots.GREY if group == PAIR_GROUP else _COLOURS[number % len(_COLOURS)]
            for axes, vectors in zip(maps, (looks, stands), strict=True):
                azimuth, elevation = _angles(vectors)
                axes.scatter(azimuth, elevation, s=size, marker=marker, color=colour, alpha=0.75, label=group)
        if evidence.chosen is not None and evidence.hypotheses[evidence.chosen].b_from_a is not None:
            looks, stands = _directions([evidence.hypotheses[evidence.chosen]])
            for axes, vectors in zip(maps, (looks, stands), strict=True):
                azimuth, elevation = _angles(vectors)
                label = "best"
                axes.scatter(azimuth, elevation, s=110, marker="*", color="#d0342c", zorder=5, label=label)
        for axes, name in zip(maps, ("where B looks", "where B stands"), strict=True):
            axes.set_title(f"{name}, seen from A", fontsize=9)
            axes.set_xticklabels([])
            axes.tick_params(labelsize=6)
        handles, labels = maps[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 7))
        return figure


def _directions(hypotheses: list[Hypothesis]) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "m 3"]]:
    """Optical axes of B in A's frame, and directions of B's centre where they are observed."""
    looks, stands = [], []
    for one in hypotheses:
        assert one.b_from_a is not None
        a_from_b = one.b_from_a.inv()
        looks.append(a_from_b.rotation.apply([0.0, 0.0, 1.0]))
        length = float(np.linalg.norm(a_from_b.translation))
        if one.translation_observed and length > 0:
            stands.append(a_from_b.translation / length)
    return np.array(looks).reshape(-1, 3), np.array(stands).reshape(-1, 3)


def _angles(vectors: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Azimuth to the right of A's optical axis and elevation above it, radians."""
    return np.arctan2(vectors[:, 0], vectors[:, 2]), -np.arcsin(np.clip(vectors[:, 1], -1.0, 1.0))


def _add_sphere(page: Page, evidence: BridgeEvidence) -> None:
    page.add_heading("Hypotheses on the sphere")
    if not plots.have_matplotlib():
        page.add_warning(plots.NO_PLOTS)
        return
    page.add_plot(
        plots.svg(sphere_figure(evidence)),
        "The middle of each map is A's optical axis, right and up are A's. One dot a subset, one colour a clip. Clips "
        "whose dots lie together agree with themselves; clips that agree with each other, or with what the real images "
        "share, are to be believed.",
    )


def _add_scores(page: Page, evidence: BridgeEvidence) -> None:
    page.add_heading("Clips, by their published scores")
    rows = []
    for one in evidence.consensus:
        probability = float(evidence.probabilities[one.medoid])
        numbers = (one.spread_deg, one.total_deg)
        cells = (f"{one.posed} of {one.tried}", *(number_text(x, ".1f") for x in numbers), f"{probability:.2f}")
        rows.append((one.group, *cells, evidence.hypotheses[one.medoid].source))
    headings = ("clip", "posed", "D_med deg", "D_total deg", "probability of its medoid", "medoid")
    page.add_table(HtmlTable(headings, tuple(rows), ("clip", "medoid"), frozenset({0} if rows else ())))
    page.add_text(
        "D_med is the mean distance (rotation plus direction of translation) of a clip's poses to their medoid; "
        "D_total adds the distance to the pose of the pair alone. The first row is the published choice. "
        f"The pair alone: {_pair_words(evidence)}."
    )


def _hypothesis_table(evidence: BridgeEvidence) -> HtmlTable:
    names = [name for name in EVIDENCE if any(name in one.evidence for one in evidence.hypotheses)]
    extra = sorted({name for one in evidence.hypotheses for name in one.evidence} - set(EVIDENCE))
    headings = ("from", "result", "probability", "turn deg", *names, *extra)
    order = sorted(range(len(evidence.hypotheses)), key=lambda k: -np.nan_to_num(evidence.probabilities[k], nan=-1.0))
    rows, bad = [], set()
    for number, index in enumerate(order):
        one = evidence.hypotheses[index]
        if one.b_from_a is None:
            bad.add(number)
        turn = float("nan") if one.b_from_a is None else float(np.degrees(one.b_from_a.rotation.magnitude()))
        said = one.reason or ("pose" if one.translation_observed else "rotation only")
        cells = [number_text(float(evidence.probabilities[index]), ".2f"), number_text(turn, ".1f")]
        cells += [number_text(float(one.evidence.get(name, float("nan")))) for name in (*names, *extra)]
        rows.append((one.source, said, *cells))
    return HtmlTable(headings, tuple(rows), ("from", "result"), frozenset({0}), frozenset(bad))


def _pair_words(evidence: BridgeEvidence) -> str:
    estimate = evidence.pair.estimate
    if estimate.cam_from_world is None:
        return f"refused: {estimate.reason}"
    turn = np.degrees(estimate.cam_from_world.rotation.magnitude())
    return f"a turn of {turn:.1f} deg, {evidence.pair.evidence.soft_inliers:.0f} soft inliers"


def _picture(frame: Frame, caption: str) -> Picture:
    assert frame.image is not None
    return Picture(frame.image, caption)
