"""``posesplat pair A B --out DIR``: what is the metric relative pose of these two images?"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from posesplat.cli.exit_status import ExitStatus
from posesplat.cli.frame_options import FrameOptions
from posesplat.cli.two_images import TwoImages, pair_trajectory, print_answer

if TYPE_CHECKING:
    from posesplat.methods.pair import PairResult

_SCENE = "gaussians.ply"


@dataclass(frozen=True)
class Options:
    """Two images, what is known of them, and where to write the answer."""

    a: Annotated[Positional[Path], arg(metavar="A")]
    """Image A; the answer is in its camera frame."""
    b: Annotated[Positional[Path], arg(metavar="B")]
    """Image B."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for trajectory.txt, result.json, gaussians.ply, report.html and exports; the world is camera A."""
    depth: Annotated[str, arg(metavar="auto|none|DIR|transformers:CHECKPOINT")] = "auto"
    """Depth of both images: auto (--depth-a and --depth-b, else none), a folder with their base names, or a network
    that gives metres. Without depth the direction of the translation is found, not its length."""
    depth_a: Annotated[Path | None, arg(metavar="FILE")] = None
    """Depth map of image A."""
    depth_b: Annotated[Path | None, arg(metavar="FILE")] = None
    """Depth map of image B; one of both is enough for metres."""
    camera_b: str | None = None
    """Camera of image B where it is not that of A; as --camera. Without any camera, EXIF tells the focal length, or
    else both images share one that is found from their matches."""
    matcher: Annotated[str, arg(metavar="sift|descriptor|loftr:CHECKPOINT|lightglue:CHECKPOINT|file:PATH")] = "sift"
    """Where matches come from."""
    method: Literal["matches", "garps"] = "matches"
    """garps is the published method, for comparison: mixture overlap alone, from the pose of matches, with depth."""
    no_dense: bool = False
    """Stop after the matches; measured depth then refines nothing."""
    min_soft_inliers: float | None = None
    """Matches that must agree, softly counted; default: what was calibrated for matcher and depth."""
    export: Annotated[str, arg(metavar="FORMAT,...")] = ""
    """Also write colmap, colmap-binary, nerfstudio (these with images/), kitti, npz or json."""
    no_report: bool = False
    """Leave report.html out."""
    json: bool = False
    """Print result.json instead of a table."""
    seed: int = 0
    """Of the random samples."""
    threads: int | None = None
    """Threads; default POSESPLAT_THREADS or all processors."""
    reading: Annotated[FrameOptions, arg(name="")] = field(default_factory=FrameOptions)
    """How the images are read."""


def run(options: Options) -> int:
    """Pose the pair, write the output folder, print."""
    from posesplat.evaluate.reports.pairing import pair_facts, pair_report
    from posesplat.evaluate.run_record import RunRecord
    from posesplat.gaussians.ply import write_ply
    from posesplat.io.results import check_output_folder, output_folder, parse_exports, write_results
    from posesplat.io.seen_images import small_images
    from posesplat.methods.pair_scene import LiftedPair
    from posesplat.viewer.page import report_view
    from posesplat.viewer.shown import ShownResult

    began = time.perf_counter()
    exports = parse_exports(options.export)
    check_output_folder(options.out, exports)
    record = RunRecord.begin("pair", options, options.seed, options.threads)
    try:
        images = TwoImages.open(
            (options.a, options.b),
            options.reading,
            options.camera_b,
            (options.depth_a, options.depth_b),
            matcher=options.matcher,
            seed=options.seed,
        )
        a, b = images.a, images.b
        result = _posed(options, images)
    except KeyboardInterrupt:
        sys.stderr.write("posesplat: interrupted; nothing was written\n")
        return ExitStatus.INTERRUPTED
    record = replace(record, duration_s=time.perf_counter() - began)
    pose = result.estimate.cam_from_world
    lifted = LiftedPair(None, None) if pose is None else LiftedPair.of(a, b, options.threads)
    scene = None if pose is None else lifted.in_camera_a(pose)
    shown = ShownResult(
        options.out.name,
        pair_trajectory(a, b, result.estimate),
        (a.camera, b.camera),
        scene,
        seen={} if options.no_report else small_images([a, b]),
        metric=result.estimate.scale.metric,
    )
    with output_folder(options.out) as folder:
        if scene is not None:
            write_ply(folder / _SCENE, scene, ("world: the camera frame of image A",))
        written = write_results(
            folder,
            record,
            shown.trajectory,
            (a.camera, b.camera),
            exports=exports,
            frames=(a, b),
            gaussians=scene,
            report=None
            if options.no_report
            else pair_report(record, a, b, result, lifted, options.threads, report_view([shown], options.threads)),
            extra={"pair": _pair_record(images, result)},
            seen=shown.seen,
        )
    if options.json:
        sys.stdout.write(json.dumps(written, indent=1, allow_nan=False) + "\n")
    else:
        print_answer(pair_facts(result), result.estimate, options.out)
    return ExitStatus.ALL_POSED if result.estimate.success else ExitStatus.NONE_POSED


def _posed(options: Options, images: TwoImages) -> PairResult:
    from posesplat.align.pair_starts import PairStartOptions
    from posesplat.methods.garps import garps
    from posesplat.methods.pair import PairEstimator
    from posesplat.methods.pair_options import PairOptions
    from posesplat.providers.depth.open import open_depth

    settings = PairOptions(
        depth=options.depth,
        min_soft_inliers=options.min_soft_inliers,
        dense=not options.no_dense and options.method == "matches",
        start=PairStartOptions(seed=options.seed),
        threads=options.threads,
    )
    if options.method == "garps" and options.depth in ("auto", "none") and not images.has_depth:
        raise ValueError(
            "--method garps needs depth of both images; they have none. Pass --depth-a and --depth-b, or --depth."
        )
    depth = None
    if options.depth not in ("auto", "none"):
        depth = open_depth(options.depth, options.reading.depth_units())
    result = PairEstimator(settings, images.matcher, depth).estimate(images.a, images.b)
    if options.method == "matches":
        return result
    from scipy.spatial.transform import RigidTransform

    a, b = (
        frame if depth is None else replace(frame, depth=depth.depth(frame).values) for frame in (images.a, images.b)
    )
    start = RigidTransform.identity() if result.estimate.cam_from_world is None else result.estimate.cam_from_world
    return replace(result, estimate=garps(a, b, start, scale=result.estimate.scale, threads=options.threads))


def _pair_record(images: TwoImages, result: PairResult) -> dict[str, Any]:
    from posesplat.evaluate.reports.pairing import baseline_interval

    estimate, evidence = result.estimate, result.evidence
    length, low, high = baseline_interval(estimate)
    known = estimate.success and estimate.scale.metric
    return {
        "b_from_a": None if estimate.cam_from_world is None else estimate.cam_from_world.as_matrix().tolist(),
        "baseline_m": length if known else None,
        "baseline_interval_m": [low, high] if known and estimate.covariance is not None else None,
        "matcher": evidence.matcher,
        "matches": len(evidence.matches),
        "matches_agreeing": int(evidence.inliers.sum()),
        "soft_inliers": evidence.soft_inliers,
        "soft_inliers_needed": evidence.least_soft_inliers,
        "focal_px": [images.a.camera.fx, images.b.camera.fx],
        "focal_interval_px": None if images.focal is None or not images.focal.focal_px else [*images.focal.interval_px],
        "seconds": {name: round(seconds, 4) for name, seconds in evidence.seconds.items()},
    }
