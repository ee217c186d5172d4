"""``posesplat bridge A B --out DIR``: and if the two images hardly overlap?"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from posesplat.cli.exit_status import ExitStatus
from posesplat.cli.frame_options import FrameOptions
from posesplat.cli.two_images import TwoImages, pair_trajectory, print_answer
from posesplat.methods.bridge_options import ScoreName

if TYPE_CHECKING:
    from posesplat.geometry.cameras import Camera
    from posesplat.geometry.frame import Frame
    from posesplat.methods.bridge import BridgeResult
    from posesplat.methods.bridge_options import BridgeOptions
    from posesplat.providers.inbetween.provider import InbetweenProvider


@dataclass(frozen=True)
class Options:
    """Two images, what is put between them, and where to write the answer."""

    a: Annotated[Positional[Path], arg(metavar="A")]
    """Image A; the answer is in its camera frame."""
    b: Annotated[Positional[Path], arg(metavar="B")]
    """Image B."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for trajectory.txt, result.json, report.html and exports; the world is camera A."""
    inbetween: Annotated[str, arg(metavar="DIR|flow|diffusers:CHECKPOINT|runway|luma")] = "flow"
    """Frames between A and B: a folder of clips that any tool made, a morph, a network, or a paid service."""
    estimator: Annotated[str, arg(metavar="tracks|sfm|da3:CHECKPOINT|network[:WEIGHTS]")] = "tracks"
    """What poses subsets of the frames."""
    camera_b: str | None = None
    """Camera of image B where it is not that of A; as --camera."""
    camera_clips: str | None = None
    """Camera of stored clips where it is not that of A; as --camera."""
    caption: Annotated[str, arg(metavar="TEXT|openai:MODEL")] = ""
    """What the images show, for generators of clips; openai:MODEL asks a service (OPENAI_API_KEY, OPENAI_BASE_URL)."""
    image_urls: tuple[str, str] | None = None
    """Where A and B can be fetched, for services that take addresses only (luma)."""
    max_cost_usd: float = 0.0
    """Most that clips may cost; without it, a terminal is asked and anything else is refused."""
    frames: int = 14
    """Frames of a clip between A and B, where that can be chosen."""
    one_order: bool = False
    """Make clips from A to B only, not also from B to A."""
    subsets: int = 11
    """Subsets of each clip."""
    images: int = 5
    """Images of a subset, A and B among them."""
    score: ScoreName = "evidence"
    """How the answer is chosen: by calibrated evidence, or by the published D_total."""
    min_probability: float = 0.5
    """Least probability of being right within 15 degrees for an answer to be given."""
    matcher: Annotated[str, arg(metavar="sift|loftr:CHECKPOINT|lightglue:CHECKPOINT")] = "sift"
    """Where matches of A and B themselves come from."""
    cache: Path | None = None
    """Folder for clips and poses of subsets, which are not made twice; default ~/.cache/posesplat/bridge."""
    workers: int | None = None
    """Processes, one clip each; default POSESPLAT_THREADS or all processors."""
    export: Annotated[str, arg(metavar="FORMAT,...")] = ""
    """Also write colmap, colmap-binary, nerfstudio (these with images/), kitti, npz or json."""
    no_report: bool = False
    """Leave report.html out."""
    json: bool = False
    """Print result.json instead of a table."""
    seed: int = 0
    """Of clips, subsets and samples."""
    reading: Annotated[FrameOptions, arg(name="")] = field(default_factory=FrameOptions)
    """How the images are read."""


def run(options: Options) -> int:
    """Bridge the pair, write the output folder, print."""
    from posesplat.evaluate.reports.bridging import bridge_facts, bridge_report
    from posesplat.evaluate.run_record import RunRecord
    from posesplat.io.results import check_output_folder, output_folder, parse_exports, write_results
    from posesplat.io.seen_images import small_images

    began = time.perf_counter()
    exports = parse_exports(options.export)
    check_output_folder(options.out, exports)
    record = RunRecord.begin("bridge", options, options.seed)
    paths = (options.a, options.b)
    images = TwoImages.open(paths, options.reading, options.camera_b, matcher=options.matcher, seed=options.seed)
    a, b = images.a, images.b
    try:
        result = _bridged(options, images)
    except KeyboardInterrupt:
        sys.stderr.write("posesplat: interrupted; clips and poses found so far are in the cache\n")
        return ExitStatus.INTERRUPTED
    record = replace(record, duration_s=time.perf_counter() - began)
    with output_folder(options.out) as folder:
        written = write_results(
            folder,
            record,
            pair_trajectory(a, b, result.estimate),
            (a.camera, b.camera),
            exports=exports,
            frames=(a, b),
            report=None if options.no_report else bridge_report(record, a, b, result),
            extra={"bridge": bridge_record(result) | {"focal_px": [a.camera.fx, b.camera.fx]}},
            seen={} if options.no_report else small_images([a, b]),
        )
    if options.json:
        sys.stdout.write(json.dumps(written, indent=1, allow_nan=False) + "\n")
    else:
        print_answer(bridge_facts(result), result.estimate, options.out)
    return ExitStatus.ALL_POSED if result.estimate.success else ExitStatus.NONE_POSED


def bridge_record(result: BridgeResult) -> dict[str, Any]:
    """What result.json says of the hypotheses and how the answer was chosen."""
    from math import isfinite

    def number(value: float) -> float | None:
        return float(value) if isfinite(value) else None

    evidence, pose = result.evidence, result.estimate.cam_from_world
    chosen = evidence.chosen
    return {
        "b_from_a": None if pose is None else pose.as_matrix().tolist(),
        "probability_within_15_deg": None if chosen is None else number(evidence.probabilities[chosen]),
        "spread_deg": number(evidence.spread_deg()),
        "chosen": None if chosen is None else evidence.hypotheses[chosen].source,
        "matcher": evidence.pair.evidence.matcher,
        "clips": [
            {"name": clip.name, "about": clip.about, "frames": len(clip.frames), "reason": clip.reason}
            for clip in evidence.clips
        ],
        "consensus": [
            {
                "clip": one.group,
                "medoid": evidence.hypotheses[one.medoid].source,
                "d_med_deg": number(one.spread_deg),
                "d_total_deg": number(one.total_deg),
                "posed": one.posed,
                "tried": one.tried,
            }
            for one in evidence.consensus
        ],
        "hypotheses": [
            {**one.to_json(), "probability": number(probability)}
            for one, probability in zip(evidence.hypotheses, evidence.probabilities, strict=True)
        ],
        "pair": evidence.pair.estimate.to_json(),
        "seconds": {name: round(seconds, 4) for name, seconds in evidence.seconds.items()},
    }


def _bridged(options: Options, images: TwoImages) -> BridgeResult:
    from posesplat.cli.progress import progress_meter
    from posesplat.methods.bridge import BridgeEstimator
    from posesplat.methods.bridge_clips import planned_cost_usd
    from posesplat.providers.inbetween.open import open_inbetween

    a, b = images.a, images.b
    provider = open_inbetween(options.inbetween, options.image_urls)
    settings = replace(_settings(options, a, b), clip_camera=_clip_camera(options, provider))
    clips, usd = planned_cost_usd(a, b, provider, settings)
    if usd > settings.max_cost_usd and _agreed(clips, usd, provider):
        settings = replace(settings, max_cost_usd=usd)
    with progress_meter("bridge") as tell:
        return BridgeEstimator(settings, provider, matcher=images.matcher).estimate(a, b, tell)


def _clip_camera(options: Options, provider: InbetweenProvider) -> Camera | None:
    """The camera that was given for stored clips, of the size of their frames."""
    from posesplat.providers.inbetween.clip_files import ClipFiles

    if options.camera_clips is None:
        return None
    if not isinstance(provider, ClipFiles):
        raise ValueError(
            f"--camera-clips is for a folder of clips; got --inbetween {options.inbetween}. Leave it out: "
            "clips that are made show what A and B show."
        )
    return replace(options.reading, camera=options.camera_clips).open([str(provider.clips[0])]).lens_camera


def _settings(options: Options, a: Frame, b: Frame) -> BridgeOptions:
    from posesplat.align.pair_starts import PairStartOptions
    from posesplat.files import cache_folder
    from posesplat.kernels.threads import thread_count
    from posesplat.methods.bridge_options import BridgeOptions
    from posesplat.methods.pair_options import PairOptions
    from posesplat.providers.inbetween.captions import prompts_for

    assert a.image is not None and b.image is not None
    return BridgeOptions(
        inbetween=options.inbetween,
        estimator=options.estimator,
        prompts=prompts_for(options.caption, a.image, b.image),
        both_orders=not options.one_order,
        frames=options.frames,
        subsets=options.subsets,
        images=options.images,
        score=options.score,
        min_probability=options.min_probability,
        max_cost_usd=options.max_cost_usd,
        cache=options.cache or cache_folder("bridge"),
        workers=thread_count(options.workers),
        seed=options.seed,
        pair=PairOptions(start=PairStartOptions(seed=options.seed)),
    )


def _agreed(clips: int, usd: float, provider: InbetweenProvider) -> bool:
    """Whether a person at the terminal agrees to spend; without a terminal nobody does."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"{clips} clips of {provider.name} cost about {usd:.2f} US dollars. Spend them? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
