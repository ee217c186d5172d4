"""Tracking of real and rendered videos: windows of data sets, and the clips that SmallGS was evaluated on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.samples import MissingData, real_sequence
from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.protocols.report import skipped
from posesplat.evaluate.protocols.still_windows import is_static, still_clips
from posesplat.evaluate.protocols.track_clips import RATE_HZ, TrackClip
from posesplat.evaluate.protocols.track_settings import TrackBench, TrackSettings

_FEWEST = 3


@dataclass(frozen=True)
class Windows:
    """How a data set is cut into clips."""

    data: str
    """Its folder."""
    frames: int | None = None
    """Frames of a window; None for the whole sequence in one."""
    step: int | None = None
    """Frames from one window to the next; ``frames`` when None."""
    exact: bool = False
    """Whether its true poses are exact."""
    metres_per_unit: float = 1.0
    """Of its true poses."""

    @property
    def name(self) -> str:
        """As it stands in the tables."""
        return self.data if self.frames is None else f"{self.data}, {self.frames} frames"


WINDOWS = (
    Windows("tum_fr1_desk9"),
    Windows("tum_fr1_xyz10"),
    Windows("tum_fr1_rpy"),
    Windows("euroc_v101_micro"),
    Windows("newtsukuba150", 30, exact=True, metres_per_unit=0.01),
    Windows("newtsukuba150", 10, exact=True, metres_per_unit=0.01),
    Windows("iclaug_livingroom1", 30),
)
NOTES = (
    "True poses of TUM come from motion capture and are good to 1 to 3 mm and 0.3 degrees, those of iclaug from a "
    "reconstruction: compare with the static camera and with the line between true ends. newtsukuba's are exact.",
)


def run(bench: TrackBench) -> None:
    """All windows of all data sets that are there; the others become rows that say so."""
    settings = bench.settings
    missing: list[tuple[str, str]] = []
    clips = list(_clips(settings, missing))
    methods = settings.contenders()
    with bench.trials("real", "Real and rendered videos", NOTES) as trials:
        bench.put(clips, methods, trials, bench.advancing("real", len(clips)))
    if missing:
        bench.add([skipped("real/skipped", "Data sets that are missing", missing)])


def longest_dense_run(timestamps: Float[np.ndarray, " n"]) -> range:
    """The longest run of frames without a gap of more than 1.5 usual ones, where usual is what short gaps are.

    For sequences in which only some parts hold all frames of the video.
    """
    if len(timestamps) < 2:
        return range(len(timestamps))
    gaps = np.diff(timestamps)
    breaks = [0, *(np.flatnonzero(gaps > 1.5 * np.quantile(gaps, 0.2)) + 1).tolist(), len(timestamps)]
    return max((range(start, end) for start, end in pairwise(breaks)), key=len)


def window_clip(name: str, sequence: FrameSequence, exact: bool = False, metres_per_unit: float = 1.0) -> TrackClip:
    """The frames of a sequence that have true poses, as a clip; the first one's depth is kept if there is one."""
    poses = sequence.cam_from_world
    kept = [index for index, pose in enumerate(poses or ()) if pose is not None]
    if poses is None or len(kept) < _FEWEST:
        raise ValueError(
            f"The clip {name!r} must have at least {_FEWEST} frames with true poses; got {len(kept)}. Add poses.txt."
        )
    frames = [sequence[index] for index in kept]
    true = RigidTransform.concatenate([pose for index in kept if (pose := poses[index]) is not None])
    true = RigidTransform.from_components(metres_per_unit * true.translation, true.rotation)
    bare = tuple(replace(frame, depth=None) for frame in frames)
    gaps = np.diff([frame.timestamp for frame in frames])
    usual = float(np.median(gaps))
    # Sequences without a clock count frames.
    rate = 1.0 / usual if 0 < usual < 0.5 else RATE_HZ
    return TrackClip(name, bare, true, frames[0].depth, rate, exact)


def _clips(settings: TrackSettings, missing: list[tuple[str, str]]) -> Iterator[tuple[str, Callable[[], TrackClip]]]:
    """Clips by condition; the first few of each data set when ``clips`` is set."""
    for windows in WINDOWS:
        if not _wanted(windows.data, settings):
            continue
        try:
            sequence = real_sequence(windows.data, settings.data)
        except MissingData as error:
            missing.append((windows.data, str(error)))
            continue
        sequence = sequence.subset(longest_dense_run(sequence.timestamps))
        size = windows.frames or len(sequence)
        starts = range(0, len(sequence) - size + 1, windows.step or size)
        for start in starts[: settings.clips]:
            part = sequence[start : start + size]
            name = f"{windows.data} {start}"
            yield windows.name, partial(window_clip, name, part, windows.exact, windows.metres_per_unit)
    yield from _published(settings, missing)


def _published(
    settings: TrackSettings, missing: list[tuple[str, str]]
) -> Iterator[tuple[str, Callable[[], TrackClip]]]:
    """The clips that SmallGS was evaluated on, where the folder of data sets holds the sequences."""
    place = settings.data or os.environ.get("POSESPLAT_DATA")
    folders = sorted(folder for folder in Path(place).iterdir() if is_static(folder)) if place else []
    for folder in folders:
        if _wanted(folder.name, settings):
            for window, sequence in list(still_clips(folder))[: settings.clips]:
                name = f"{folder.name} {window.start}"
                yield f"still windows of {folder.name}", partial(window_clip, name, sequence)
    if not folders and _wanted("static", settings):
        why = "No folder whose name contains static, with rgb.txt and groundtruth.txt. Put TUM fr3 sequences there."
        missing.append(("still windows", why))


def _wanted(name: str, settings: TrackSettings) -> bool:
    return not settings.sequences or any(word in name for word in settings.sequences)
