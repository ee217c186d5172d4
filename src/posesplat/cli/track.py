"""``posesplat track VIDEO --out DIR``: how did the camera move in this short, nearly still video?"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from posesplat.align.smallgs_options import SmallgsOptions
from posesplat.cli.collecting import collected
from posesplat.cli.exit_status import ExitStatus
from posesplat.cli.frame_options import FrameOptions
from posesplat.methods.track_segment import TrustRule

if TYPE_CHECKING:
    from posesplat.datasets.sequences import FrameSequence
    from posesplat.evaluate.frame_errors import FrameErrors
    from posesplat.evaluate.run_record import RunRecord
    from posesplat.gaussians.gaussians import Gaussians
    from posesplat.geometry.estimate import PoseEstimate
    from posesplat.geometry.trajectory import Trajectory
    from posesplat.io.frame_poses import FramePoses
    from posesplat.methods.calibrate import CameraEstimate
    from posesplat.methods.track_answer import TrackAids
    from posesplat.methods.track_options import TrackOptions
    from posesplat.methods.track_state import TrackState
    from posesplat.providers.masks.provider import MaskProvider
    from posesplat.viewer.shown import ShownResult

_LOG = logging.getLogger(__name__)
_CHECKPOINT_S = 20.0
_FITTED_IMAGES = 32
_SCENE = "gaussians.ply"


@dataclass(frozen=True)
class Options:
    """A video, and where to write the answer."""

    video: Annotated[Positional[tuple[str, ...]], arg(metavar="VIDEO")]
    """A video, a folder of images, a quoted glob, or a list of images; --camera auto finds the focal length."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for trajectory.txt, result.json, gaussians.ply, report.html and exports; the world is the first frame."""
    depth: str = "auto"
    """Depth of reference frames: auto (the frames' own if they have any), none, sensor, a folder, relative:DIR,
    disparity:DIR, affine:DIR, or transformers:CHECKPOINT. Metric depth makes the answer metric."""
    features: str = "grey"
    """What is compared when poses are refined: grey, rgb, and on top of grey normalised or dinov2:CHECKPOINT."""
    masks: str = "auto"
    """Parts of the images not to use: a folder of masks (255 = use), auto (what moves), DIR+auto, or none."""
    refine: Literal["auto", "always", "never"] = "auto"
    """Whether rendered Gaussians refine the poses; auto where that is likely to help."""
    method: Literal["small-motion", "smallgs"] = "small-motion"
    """smallgs is the published method, for comparison; it needs depth, and minutes a second of video."""
    causal: bool = False
    """Use for each frame's pose the frames up to it only, as a live camera must."""
    resume: bool = False
    """Go on where an interrupted run with the same options stopped."""
    ground_truth: str = "auto"
    """auto (what the data set holds), a file of poses to compare with, or none."""
    export: Annotated[str, arg(metavar="FORMAT,...")] = ""
    """Also write colmap, colmap-binary, nerfstudio (these with images/), kitti, npz or json."""
    json: bool = False
    """Print result.json instead of a table."""
    pictures: int = 3
    """Frames shown in the report; 0 leaves out the scene in three dimensions as well."""
    no_report: bool = False
    """Write no report.html."""
    readout: float | None = None
    """How long a rolling shutter reads a frame, as a share of the time between frames; default: found from the motion,
    0 = a global shutter."""
    max_points: int = 1500
    """Most points followed from a reference frame."""
    max_segment_frames: int = 60
    """Most frames solved together."""
    seed: int = 0
    """Of random starts and samples."""
    reading: Annotated[FrameOptions, arg(name="")] = field(default_factory=FrameOptions)
    """How frames are read."""
    rule: TrustRule = field(default_factory=TrustRule)
    """When a translation is believed."""
    smallgs: SmallgsOptions = field(default_factory=SmallgsOptions)
    """Options of the published method."""


@dataclass(frozen=True)
class _Found:
    """What a run found, and of which frames."""

    frames: FrameSequence
    camera: CameraEstimate | None
    trajectory: Trajectory
    gaussians: Gaussians | None
    masks: MaskProvider | None
    interrupted: bool


def run(options: Options) -> int:
    """Track, write the output folder, print; an interrupted run writes the frames done so far."""
    from posesplat.evaluate.frame_errors import FrameErrors
    from posesplat.evaluate.run_record import RunRecord
    from posesplat.evaluate.tracking_errors import aligned_truth
    from posesplat.gaussians.ply import write_ply
    from posesplat.io.frame_poses import seen_from_first, true_poses
    from posesplat.io.results import check_output_folder, output_folder, parse_exports, write_results
    from posesplat.io.seen_images import small_images
    from posesplat.viewer.shown import ShownResult

    began = time.perf_counter()
    exports = parse_exports(options.export)
    check_output_folder(options.out, exports)
    record = RunRecord.begin("track", options, options.seed, threads=1)
    frames, camera = _calibrated(options, options.reading.open(options.video))
    true = true_poses(options.ground_truth, frames)
    found = _tracked(options, frames, camera)
    if not len(found.trajectory):
        sys.stderr.write("posesplat: interrupted before the first frames were done; nothing was written\n")
        return ExitStatus.INTERRUPTED
    count = len(found.trajectory)
    true = None if true is None else seen_from_first(true[:count])
    errors = None if true is None else FrameErrors.of(found.trajectory, true) if _is_metric(found) else None
    record = replace(record, duration_s=time.perf_counter() - began, interrupted=found.interrupted)
    shown = ShownResult(
        options.out.name,
        found.trajectory,
        (frames.camera,) * count,
        found.gaussians,
        aligned_truth(found.trajectory, true),
        {} if options.no_report else small_images(frames[:count]),
        metric=_is_metric(found),
    )
    with output_folder(options.out) as folder:
        if found.gaussians is not None:
            write_ply(folder / _SCENE, found.gaussians, ("world: the camera frame of the first image",))
        written = write_results(
            folder,
            record,
            found.trajectory,
            frames.camera,
            exports=exports,
            frames=frames,
            gaussians=found.gaussians,
            errors=errors,
            report=None if options.no_report else _report(options, record, found, true, shown),
            extra=_camera_record(found.camera),
            true=shown.true,
            seen=shown.seen,
        )
    if options.json:
        sys.stdout.write(json.dumps(written, indent=1, allow_nan=False) + "\n")
    else:
        _print_table(options, found, record.duration_s, errors)
    if found.interrupted:
        again = "; --resume goes on from there" if _checkpoint(options).is_file() else ""
        sys.stderr.write(f"posesplat: interrupted; {options.out} holds the {count} frames done by then{again}\n")
        return ExitStatus.INTERRUPTED
    return ExitStatus.of(int(found.trajectory.posed.sum()), count)


def _calibrated(options: Options, frames: FrameSequence) -> tuple[FrameSequence, CameraEstimate | None]:
    """The frames with the focal length found where the camera was to be guessed."""
    if options.reading.camera != "auto":
        return frames, None
    from posesplat.methods.calibrate import calibrate

    found = calibrate(frame for frame in frames)
    if found.camera is None:
        _LOG.warning("the guessed focal length stays: %s", found.reason)
        return frames, found
    low, high = found.focal_interval_px
    _LOG.warning("focal length found: %.0f px, between %.0f and %.0f (95 %%)", found.camera.fx, low, high)
    return frames.with_camera(found.camera), found


def _tracked(options: Options, frames: FrameSequence, camera: CameraEstimate | None) -> _Found:
    """The poses of the frames done, and whether the rest was interrupted."""
    if options.method == "smallgs":
        trajectory, masks, interrupted = _smallgs(options, frames)
        return _Found(frames, camera, trajectory, None, masks, interrupted)
    from posesplat.methods.track import Tracker
    from posesplat.methods.track_state import TrackState

    settings, aids = _settings(options), _aids(options, frames)
    checkpoint = _checkpoint(options)
    before = TrackState.load(checkpoint, frames.camera) if options.resume else None
    tracker: Tracker | None = None
    finished: list[Trajectory] = []

    def work(keep: Callable[[str, PoseEstimate], None]) -> None:
        nonlocal tracker
        for name, estimate in () if before is None else zip(before.done.names, before.done, strict=True):
            keep(name, estimate)
        tracker = Tracker(frames.camera, settings, keep, aids=aids, resume=before, on_state=_saver(checkpoint))
        for frame in frames[0 if before is None else len(before.done) :].readable():
            tracker.take(frame)
        finished.append(tracker.trajectory())

    trajectory, interrupted = collected("track", frames, work)
    if not interrupted:
        trajectory = finished[0]
        checkpoint.unlink(missing_ok=True)
    gaussians = None if tracker is None or not len(trajectory) else tracker.gaussians()
    return _Found(frames, camera, trajectory, gaussians, aids.masks.given, interrupted)


def _checkpoint(options: Options) -> Path:
    """Where an interrupted run leaves what the next one goes on from."""
    return options.out.with_name(f"{options.out.name}.unfinished.npz")


def _saver(path: Path) -> Callable[[TrackState], None]:
    """Writes the state of a long run every now and then."""
    last = time.monotonic()

    def save(state: TrackState) -> None:
        nonlocal last
        if time.monotonic() - last >= _CHECKPOINT_S:
            state.save(path)
            last = time.monotonic()

    return save


def _settings(options: Options) -> TrackOptions:
    from posesplat.align.small_motion_search import SearchOptions
    from posesplat.align.tracks import CornerOptions
    from posesplat.methods.track_disocclusion import DisocclusionOptions
    from posesplat.methods.track_options import TrackOptions
    from posesplat.methods.track_scene import SceneOptions

    channels: Literal["grey", "rgb"] = "rgb" if options.features == "rgb" else "grey"
    return TrackOptions(
        corners=CornerOptions(max_points=options.max_points),
        search=SearchOptions(seed=options.seed, readout=options.readout),
        rule=options.rule,
        scene=SceneOptions(channels=channels, keep=options.refine),
        disocclusion=DisocclusionOptions(),
        causal=options.causal,
        max_segment_frames=options.max_segment_frames,
    )


def _aids(options: Options, frames: FrameSequence) -> TrackAids:
    """Depth, features and masks, opened; features get to know the clip from a sample of it."""
    from posesplat.methods.track_answer import TrackAids
    from posesplat.providers.depth.open import open_depth
    from posesplat.providers.features.open import open_features
    from posesplat.providers.masks.open import MaskChoice, open_masks

    wanted = options.depth
    if wanted == "auto":
        wanted = "sensor" if frames.has_depth else "none"
    depth = None if wanted == "none" else open_depth(wanted, options.reading.depth_units())
    features = None
    if options.features not in ("grey", "rgb"):
        features = open_features(options.features)
        sample = range(0, len(frames), -(-len(frames) // _FITTED_IMAGES))
        images = (frames[index].image for index in sample)
        features.fit(image for image in images if image is not None)
    masks = MaskChoice() if options.masks == "none" else open_masks(options.masks)
    return TrackAids(depth, masks, features)


def _smallgs(options: Options, frames: FrameSequence) -> tuple[Trajectory, MaskProvider | None, bool]:
    from posesplat.methods.smallgs import track_smallgs

    aids = _aids(replace(options, features="grey" if options.features == "rgb" else options.features), frames)
    depth = aids.depth
    if depth is None:
        raise ValueError(
            "--method smallgs needs depth; these frames have none. Pass --depth with a folder or a network."
        )
    if depth.meaning != "metric":
        raise ValueError(
            f"--method smallgs needs depth in metres; {depth.name} is {depth.meaning}. Choose another one."
        )
    given = aids.masks.given
    settings = replace(options.smallgs, seed=options.seed)
    trajectory, interrupted = collected(
        "smallgs",
        frames,
        lambda keep: track_smallgs(
            iter(frames),
            None if depth.name == "sensor" else lambda frame: depth.depth(frame).values,
            None if given is None else given.mask,
            aids.features,
            settings,
            keep,
        ),
    )
    return trajectory, given, interrupted


def _is_metric(found: _Found) -> bool:
    posed = [estimate for estimate in found.trajectory if estimate.success]
    return bool(posed) and all(estimate.scale.metric for estimate in posed)


def _camera_record(camera: CameraEstimate | None) -> dict[str, Any]:
    if camera is None:
        return {}
    known = camera.camera is not None
    return {
        "estimated_camera": {
            "success": camera.success,
            "reason": camera.reason,
            "focal_px": camera.camera.fx if camera.camera is not None else None,
            "focal_interval_px": list(camera.focal_interval_px) if known else None,
            "frames": camera.frames,
        }
    }


def _report(options: Options, record: RunRecord, found: _Found, true: FramePoses | None, shown: ShownResult) -> str:
    from posesplat.evaluate.reports.tracking import tracking_report
    from posesplat.viewer.page import report_view

    frames = found.frames[: len(found.trajectory)]
    return tracking_report(
        record,
        frames,
        found.trajectory,
        found.gaussians,
        true,
        found.camera,
        options.pictures,
        masks=found.masks,
        view=report_view([shown]) if options.pictures else None,
    )


def _print_table(options: Options, found: _Found, seconds: float, errors: FrameErrors | None) -> None:
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(show_header=False)
    table.add_row("posed", f"{int(found.trajectory.posed.sum())} of {len(found.trajectory)}")
    scales = {estimate.scale for estimate in found.trajectory if estimate.success}
    told = {
        f"metres, from {scale.source}" if scale.metric else "1 = median depth in the first frame" for scale in scales
    }
    table.add_row("unit", "; ".join(sorted(told)) or "none")
    if found.camera is not None and found.camera.camera is not None:
        low, high = found.camera.focal_interval_px
        table.add_row("focal length", f"{found.camera.camera.fx:.0f} px, between {low:.0f} and {high:.0f} (95 %)")
    table.add_row("seconds", f"{seconds:.1f}")
    console.print(table)
    remarks = Counter(
        remark for estimate in found.trajectory for remark in (estimate.reason, *estimate.warnings) if remark
    )
    for remark, count in remarks.most_common(5):
        console.print(f"{count} frames: {remark}", highlight=False, markup=False)
    if len(remarks) > 5:
        console.print(f"... and {len(remarks) - 5} more; see {options.out / 'result.json'}", highlight=False)
    console.print(f"written to {options.out}", highlight=False, markup=False)
