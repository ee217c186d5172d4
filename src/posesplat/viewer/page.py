"""Results as one page without outside resources, which plays the motion and opens offline; also inside reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from posesplat.align.tracks import evenly_spread
from posesplat.evaluate.reports.page import SceneView
from posesplat.evaluate.reports.pictures import Picture
from posesplat.images import reduced_image
from posesplat.viewer.drawing import Amount, DrawnResult, place
from posesplat.viewer.poster import poster
from posesplat.viewer.server import NO_VIEWER, have_viser, viser_server
from posesplat.viewer.shown import ShownResult
from posesplat.viewer.stage import Stage

PAGE_SPLATS = 60_000
"""Gaussians that a page holds unless told otherwise."""
_PAGE = Amount(splats=PAGE_SPLATS, cameras=24, picture_px=160, jpeg_quality=70, compact=True, rendered=True)
_STEP_S = 0.6
_MOST_STEPS = 60
_LONGEST_S = 12.0
_HOW = (
    "Once open: click into it, then drag to turn, right-drag to move, scroll to come closer. The tree below, at the "
    "right, hides parts and shows what the map renders at each camera."
)
_THINNED = "Splats are thinned for this page; posesplat view shows them all."
_POSTER_PX = 1056


def scene_page(
    results: Sequence[ShownResult], splats: int = PAGE_SPLATS, overlay: bool = False, threads: int | None = None
) -> str:
    """One HTML page that shows results in three dimensions and opens offline.

    Below 2 MB with the default of splats, besides pictures of some 10 kB a drawn camera.

    Args:
        results: what is shown.
        splats: how many of them at most, over all results; the most visible ones are kept.
        overlay: all in one place instead of side by side.
        threads: of the renderer.

    Raises:
        ValueError: when viser is not installed, or no port of the loopback can be opened.
    """
    share = max(1, splats // max(1, sum(result.gaussians is not None for result in results)))
    amount = replace(_PAGE, splats=share, cameras=max(4, _PAGE.cameras // max(1, len(results))), threads=threads)
    with viser_server() as server:
        stage = Stage.set(server, results, amount, overlay)
        serializer = server.get_scene_serializer()
        _record_motion(stage, serializer)
        return str(serializer.as_html())


def report_view(results: Sequence[ShownResult], threads: int | None = None) -> SceneView:
    """What a report shows of results in three dimensions: a picture, and the page where viser can make it.

    Args:
        results: what is shown.
        threads: of the renderer.
    """
    picture = Picture(poster(results, threads=threads), "first view", largest_width=_POSTER_PX)
    legend = _legend(results)
    if not have_viser():
        return SceneView(None, f"{legend} {NO_VIEWER}", picture)
    try:
        page = scene_page(results, threads=threads)
    except ValueError as error:
        return SceneView(None, f"{legend} The view in three dimensions was left out: {error}", picture)
    thinned = any(result.gaussians is not None and len(result.gaussians) > PAGE_SPLATS for result in results)
    return SceneView(page, " ".join([legend, _HOW, *([_THINNED] if thinned else [])]), picture)


def _legend(results: Sequence[ShownResult]) -> str:
    parts = []
    if any(result.views for result in results):
        parts.append("Grey cameras: views of the map.")
    if any(len(result.trajectory) for result in results):
        parts.append("Orange: the cameras found." if len(results) == 1 else "Orange, blue, ...: the cameras found.")
    if any(result.true_poses() for result in results):
        parts.append("Green: the truth.")
    if any(result.trajectory.posed.any() and not result.trajectory.posed.all() for result in results):
        parts.append("Red dots: refused frames, on the way between their neighbours.")
    return " ".join(parts)


def _record_motion(stage: Stage, serializer: Any) -> None:
    """Let a marked camera run along each answer; the page repeats it."""
    drawn = [one for one in stage.drawn if one.now is not None]
    count = max((len(one.result.trajectory) for one in drawn), default=0)
    if count < 3:
        return
    steps = evenly_spread(count, _MOST_STEPS)
    duration = min(_STEP_S, _LONGEST_S / len(steps))
    for step in steps:
        for one in drawn:
            _move(one, min(int(step), len(one.result.trajectory) - 1))
        serializer.insert_sleep(duration)


def _move(one: DrawnResult, index: int) -> None:
    pose = one.result.trajectory[index].cam_from_world
    one.now.visible = pose is not None
    if pose is not None:
        place(one.now, pose)
        seen = one.result.seen.get(index)
        if seen is not None:
            one.now.image = np.asarray(reduced_image(seen, _PAGE.picture_px))
