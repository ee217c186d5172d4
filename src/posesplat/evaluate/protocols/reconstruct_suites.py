"""``bench reconstruct``: poses of two views and pictures of a third, in rooms never seen, on real photos and lists."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.relative_pose import relative_pose
from posesplat.datasets.open import open_frames
from posesplat.datasets.samples import SAMPLE_NAMES, MissingData, sample_folder
from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.feed_forward import THRESHOLDS_DEG, ViewPair, held_out_pairs, pair_answers
from posesplat.evaluate.metrics import pose_auc
from posesplat.evaluate.picture_quality import psnr_db, ssim
from posesplat.evaluate.protocols.rasteriser_speed import run_rasterisers
from posesplat.evaluate.protocols.reconstruct_lists import LISTS, SIDE_PX, listed_cases
from posesplat.evaluate.protocols.report import Column, Report, Row, Table, skipped
from posesplat.evaluate.reports.reconstruction import novel_view
from posesplat.evaluate.target_views import LOCATED, NETWORK, UNMOVED, PictureScore, target_scores
from posesplat.evaluate.two_view_colmap import colmap_relative_pose
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.learned.network import SplatNetwork
from posesplat.learned.reconstruction import Reconstruction, ReconstructOptions, reconstruct
from posesplat.learned.two_view import folded_errors_deg
from posesplat.learned.weights import load_network
from posesplat.learned.working_views import reduced_frame
from posesplat.providers.two_view.sift import SiftMatches

OURS = "reconstruct"
_FAILED = (180.0, 90.0)
_TIMED_SIDE, _TIMES = 256, 3
_PICTURE_PX = 256
PHOTO_SETS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("strecha/fountain-P11", (3, 5, 4)),
    ("strecha/fountain-P11", (2, 4, 3)),
    ("fox50", (0, 2, 1)),
    ("fox50", (10, 12, 11)),
    ("lund_door12", (0, 2, 1)),
    ("lund_door12", (3, 5, 4)),
    ("robustmvd_sample7", (0, 2, 1)),
    ("middlebury_templeRing19", (0, 2, 1)),
    ("newtsukuba150", (0, 20, 10)),
    ("tum_fr1_desk9", (0, 2, 1)),
)
"""Real sets with true poses: two images that are reconstructed, and one that is located."""
PAIR_SETS: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("strecha/fountain-P11", (0, 3, 6), (1, 2, 3)),
    ("fox50", (0, 10, 20, 30), (1, 2, 4)),
    ("lund_door12", (0, 3, 6), (1, 2, 4)),
    ("middlebury_templeRing19", (0, 5, 10), (1, 2)),
    ("newtsukuba150", (0, 40, 80, 110), (5, 10, 20, 30)),
    ("robustmvd_sample7", (0,), (1, 2, 4)),
    ("icl_livingroom1", (0, 2, 4), (8, 12)),
    ("tum_fr1_desk9", (0,), (2, 5, 8)),
)
"""Real sets with true poses: first images of pairs, and how far the second ones are behind them."""
_HELD = 7.815
"""Squared distance in standard deviations within which 95 % of rotations lie."""


@dataclass(frozen=True)
class ReconstructSettings:
    """What is measured."""

    pairs: int = 100
    """Pairs of views of held-out rooms."""
    side: int = 128
    """Side of the rooms' pictures, pixels."""
    weights: str = "tiny"
    """Of the network."""
    data: Path | None = None
    """Folder of the real data sets; None leaves them out."""
    threads: int | None = None
    """Threads of the kernels."""
    seed: int = 0
    """Of random samples."""
    quick: bool = False
    """Train for a step only."""


Progress = Callable[[str, int, int], None]
Contenders = dict[str, tuple[RigidTransform | None, float]]
"""Poses by method, and their seconds of processor time."""


def run_reconstruct_suites(
    settings: ReconstructSettings,
    report: Report,
    names: Sequence[str],
    on_progress: Progress,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Run suites of ``SUITES`` in turn; tables are saved as they come.

    Raises:
        ValueError: when real data are asked for alone, and there are none.
    """
    for name in names:
        SUITES[name](settings, report, on_progress)
        save()
    report.complete = True


@dataclass
class _Tally:
    """Errors, times and pictures of one level of pairs."""

    errors: dict[str, list[tuple[float, float]]]
    seconds: dict[str, float]
    pictures: dict[str, list[PictureScore]]
    targets: int = 0
    held: list[bool] = field(default_factory=list)

    @staticmethod
    def empty() -> _Tally:
        return _Tally({}, {}, {})

    def add_covariance(self, estimate: PoseEstimate, true: RigidTransform) -> None:
        """Whether the 95 % ellipsoid of the rotation holds the truth; refusals do not count."""
        if estimate.cam_from_world is not None and estimate.covariance is not None:
            turn = (estimate.cam_from_world.rotation * true.rotation.inv()).as_rotvec()
            self.held.append(bool(turn @ np.linalg.solve(estimate.covariance[:3, :3], turn) < _HELD))

    def add(self, found: Contenders, true: RigidTransform) -> None:
        for name, (pose, spent) in found.items():
            error = _FAILED if pose is None else folded_errors_deg(pose, true)
            self.errors.setdefault(name, []).append(error)
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def add_pictures(self, scores: Mapping[str, PictureScore]) -> None:
        self.targets += 1
        for name, score in scores.items():
            self.pictures.setdefault(name, []).append(score)

    def tables(self, name: str, title: str) -> list[Table]:
        rows = tuple(_row(method, np.array(found), self.seconds[method]) for method, found in self.errors.items())
        notes: tuple[str, ...] = (_FOLDED,)
        if self.held:
            notes += (f"The 95 % covariance of {OURS} held {sum(self.held)} of {len(self.held)} rotations.",)
        tables = [Table(name, title, _POSE_COLUMNS, rows, notes)]
        if self.targets:
            order = (UNMOVED, NETWORK, LOCATED)
            seen = tuple(_picture_row(one, self.pictures.get(one, []), self.targets) for one in order)
            tables.append(Table(f"{name}/views", f"A view between, unseen; {title}", _PICTURE_COLUMNS, seen, (_DRAWN,)))
        return tables


_POSE_COLUMNS = (
    Column("method", "method"),
    *(Column(f"auc_{limit:g}", f"AUC@{limit:g}", ".3f") for limit in THRESHOLDS_DEG),
    Column("posed", "posed", ".0%"),
    Column("gross", "of posed > 20 deg", ".1%"),
    Column("rotation_deg", "median rotation deg", ".2f"),
    Column("translation_deg", "median direction deg", ".2f"),
    Column("ms", "CPU ms", ".0f"),
)
_PICTURE_COLUMNS = (
    Column("method", "drawn by"),
    Column("drawn", "drawn", ".0%"),
    Column("psnr_db", "PSNR dB", ".1f"),
    Column("ssim", "SSIM", ".3f"),
)
_FOLDED = "Errors are the larger of rotation and folded direction of translation; refusals count as failures."
_DRAWN = "At the pose found for the view, which the view itself tells; means over what was drawn."


def run_rooms(settings: ReconstructSettings, report: Report, on_progress: Progress) -> None:
    """Pairs of rooms that no training saw: ours, the network alone, SIFT with PoseLib and COLMAP, doing nothing."""
    network, options = load_network(settings.weights), _options(settings)
    tally = _Tally.empty()
    pairs = held_out_pairs(settings.pairs, settings.side, settings.side)
    for index, pair in enumerate(pairs):
        found = _network_answers(pair, network)
        first, second = (Frame(pair.camera, image, None, str(side)) for side, image in enumerate(pair.images))
        answers, ours = _by_matches(first, second, network, options)
        tally.add(found | answers, pair.second_from_first)
        tally.add_covariance(ours.trajectory[1], pair.second_from_first)
        if pair.between is not None:
            target = Frame(pair.camera, pair.between, None, "between")
            tally.add_pictures(target_scores(network, ours, (first, second), target, options.side_px))
        on_progress("rooms", index + 1, len(pairs))
    title = f"{len(pairs)} pairs of views of rooms never seen, {settings.side} px, overlap 20 to 70 %"
    report.tables += tally.tables("rooms", title)


def run_lists(settings: ReconstructSettings, report: Report, on_progress: Progress) -> None:
    """Published lists by level of overlap: the outer context views are posed, the targets drawn."""
    network, options = load_network(settings.weights), _options(settings)
    missing = []
    for name in LISTS:
        try:
            cases = listed_cases(name, settings.data, settings.pairs)
        except MissingData as error:
            missing.append((name, str(error)))
            continue
        tallies: dict[str, _Tally] = {}
        for index, case in enumerate(cases):
            (first, second), targets = case.read()
            tally = tallies.setdefault(case.overlap, _Tally.empty())
            answers, ours = _by_matches(first, second, network, options)
            tally.add(_alone(ours) | answers, case.second_from_first)
            tally.add_covariance(ours.trajectory[1], case.second_from_first)
            for target in targets:
                tally.add_pictures(target_scores(network, ours, (first, second), target, options.side_px))
            on_progress(name, index + 1, len(cases))
        for level, tally in sorted(tallies.items()):
            posed = len(tally.errors[OURS])
            title = f"{posed} pairs of {name} at {SIDE_PX} x {SIDE_PX}, overlap {level}"
            report.tables += tally.tables(f"lists/{name}/{level}", title)
    if missing:
        report.tables.append(skipped("lists/skipped", "Lists of pairs that are missing", missing))


def run_timed(settings: ReconstructSettings, report: Report, on_progress: Progress) -> None:
    """The rasteriser of training at 256 x 256 with 131,072 Gaussians; see :mod:`.rasteriser_speed`."""
    run_rasterisers(_TIMED_SIDE, _TIMES, report, on_progress)


def run_pairs(settings: ReconstructSettings, report: Report, on_progress: Progress) -> None:
    """Pairs of real images at known intrinsics, near and far; measured depth is not looked at."""
    network, options = load_network(settings.weights), _options(settings)
    tally = _Tally.empty()
    for index, (name, starts, gaps) in enumerate(PAIR_SETS):
        folder = sample_folder(name) if name in SAMPLE_NAMES else (settings.data or Path()) / name
        if folder.is_dir():
            for pair, true in _real_pairs(open_frames(folder), starts, gaps):
                answers, ours = _by_matches(*pair, network, options)
                tally.add(_alone(ours) | answers, true)
                tally.add_covariance(ours.trajectory[1], true)
        on_progress("pairs", index + 1, len(PAIR_SETS))
    title = f"{len(tally.errors[OURS])} pairs of real images at known intrinsics"
    report.tables += tally.tables("pairs", title)


def _real_pairs(
    frames: FrameSequence, starts: Sequence[int], gaps: Sequence[int]
) -> Iterator[tuple[tuple[Frame, Frame], RigidTransform]]:
    """Pairs that the sequence holds, and the true motions between them."""
    poses = frames.cam_from_world
    assert poses is not None
    for first, gap in itertools.product(starts, gaps):
        if first + gap < len(frames):
            here, there = poses[first], poses[first + gap]
            assert here is not None and there is not None
            one, other = (replace(frames[index], depth=None) for index in (first, first + gap))
            yield (one, other), there * here.inv()


def run_ablation(settings: ReconstructSettings, report: Report, on_progress: Progress) -> None:
    """Training with and without the reprojection loss, 40 minutes; see :mod:`.reprojection_ablation`."""
    from posesplat.evaluate.protocols import reprojection_ablation  # needs what training needs

    size = reprojection_ablation.AblationSize()
    if settings.quick:
        size = reprojection_ablation.AblationSize(rooms=2, batches=1, copying=1, steps=1, pairs=1, batch=1)
    reprojection_ablation.run_ablation(size, settings.seed, report, on_progress)


def run_photos(settings: ReconstructSettings, report: Report, on_progress: Progress) -> None:
    """Two real images at known intrinsics, and a third that is located and rendered."""
    if settings.data is None:
        raise ValueError("The suite photos needs --data or POSESPLAT_DATA: the folder of the real data sets.")
    network, rows = load_network(settings.weights), []
    for index, (name, chosen) in enumerate(PHOTO_SETS):
        if (settings.data / name).is_dir():
            rows.append(_photo_row(settings.data / name, name, chosen, network, _options(settings)))
        on_progress("photos", index + 1, len(PHOTO_SETS))
    columns = (
        Column("images", "images"),
        Column("network_rotation_deg", "network rotation deg", ".2f"),
        Column("network_translation_deg", "direction deg", ".2f"),
        Column("rotation_deg", "reconstruct rotation deg", ".3f"),
        Column("translation_deg", "direction deg", ".3f"),
        Column("located_deg", "located deg", ".3f"),
        Column("located_share", "off by, of baseline", ".1%"),
        Column("psnr_db", "PSNR dB", ".1f"),
        Column("ssim", "SSIM", ".3f"),
        Column("ms", "CPU ms", ".0f"),
        Column("remark", "remark"),
    )
    title = "Two real images at known intrinsics, a third one located and rendered"
    report.tables.append(Table("photos", title, columns, tuple(rows)))


def _options(settings: ReconstructSettings) -> ReconstructOptions:
    return ReconstructOptions(settings.weights, seed=settings.seed, threads=settings.threads)


_STILL = RigidTransform.from_translation([0.0, 0.0, 1.0])


def _network_answers(pair: ViewPair, network: SplatNetwork) -> Contenders:
    began = time.process_time()
    answers = pair_answers(network, pair)
    spent = time.process_time() - began
    found: Contenders = {f"network: {name}" if name != "identity" else name: (p, spent) for name, p in answers.items()}
    return found | {"identity": (answers["identity"], 0.0)}


def _by_matches(
    first: Frame, second: Frame, network: SplatNetwork, options: ReconstructOptions
) -> tuple[Contenders, Reconstruction]:
    found: Contenders = {}
    began = time.process_time()
    matches = SiftMatches().matches(first, second)
    shared = time.process_time() - began
    for name, solve in (("PoseLib", _by_poselib), ("COLMAP", colmap_relative_pose)):
        began = time.process_time()
        pose = solve(matches, first, second, options.seed)
        found[f"SIFT, five points ({name})"] = (pose, shared + time.process_time() - began)
    began = time.process_time()
    ours = reconstruct([first, second], options=options, network=network)
    found[OURS] = (ours.trajectory[1].cam_from_world, time.process_time() - began)
    return found, ours


def _alone(ours: Reconstruction) -> Contenders:
    """Those who do not look at matches: doing nothing, and the network by itself."""
    return {"identity": (_STILL, 0.0), "network alone": (ours.network_poses[1], float("nan"))}


def _by_poselib(matches: Matches, first: Frame, second: Frame, seed: int) -> RigidTransform | None:
    return relative_pose(matches, first.camera, second.camera, seed=seed)[0]


def _picture_row(method: str, scores: Sequence[PictureScore], targets: int) -> Row:
    values = np.array([(score.psnr_db, score.ssim) for score in scores]).reshape(-1, 2)
    mean = values.mean(axis=0) if len(values) else np.full(2, np.nan)
    return {"method": method, "drawn": len(values) / targets, "psnr_db": float(mean[0]), "ssim": float(mean[1])}


def _row(name: str, errors: np.ndarray, seconds: float) -> Row:
    worst, posed = errors.max(axis=1), errors[:, 0] < _FAILED[0]
    auc = dict(zip((f"auc_{limit:g}" for limit in THRESHOLDS_DEG), pose_auc(worst, THRESHOLDS_DEG), strict=True))
    rotation, translation = np.median(errors[posed], axis=0) if posed.any() else (np.nan, np.nan)
    return {
        "method": name,
        **auc,
        "posed": float(posed.mean()),
        "gross": float(np.mean(worst[posed] > THRESHOLDS_DEG[-1])) if posed.any() else float("nan"),
        "rotation_deg": float(rotation),
        "translation_deg": float(translation),
        "ms": 1e3 * seconds / len(errors),
    }


def _photo_row(
    folder: Path, name: str, chosen: tuple[int, int, int], network: SplatNetwork, options: ReconstructOptions
) -> Row:
    frames = open_frames(folder)
    poses = frames.cam_from_world
    assert poses is not None
    first, second, third = (poses[index] for index in chosen)
    assert first is not None and second is not None and third is not None
    began = time.process_time()
    found = reconstruct([frames[chosen[0]], frames[chosen[1]]], options=options, network=network)
    spent = time.process_time() - began
    true = second * first.inv()
    rotation, translation = folded_errors_deg(found.network_poses[1], true)
    row: Row = {
        "images": f"{name} {chosen[0]}, {chosen[1]}; {chosen[2]}",
        "network_rotation_deg": rotation,
        "network_translation_deg": translation,
        "ms": 1e3 * spent,
        "remark": found.reason,
    }
    pose = found.trajectory[1].cam_from_world
    if pose is not None:
        row["rotation_deg"], row["translation_deg"] = folded_errors_deg(pose, true)
        row |= _located(found, frames[chosen[2]], pose, true, third * first.inv())
    return row


def _located(
    found: Reconstruction, frame: Frame, pose: RigidTransform, true: RigidTransform, true_third: RigidTransform
) -> Row:
    estimate = found.locate(frame)
    third = estimate.cam_from_world
    if third is None:
        return {"remark": estimate.reason}
    baseline = float(np.linalg.norm(true.translation))
    unit = baseline / float(np.linalg.norm(pose.translation))
    gap = np.linalg.norm(unit * third.inv().translation - true_third.inv().translation) / baseline
    seen = reduced_frame(frame, _PICTURE_PX)
    drawn = novel_view(found, seen.camera, third)
    return {
        "located_deg": float(np.degrees((third.rotation * true_third.rotation.inv()).magnitude())),
        "located_share": float(gap),
        "psnr_db": psnr_db(drawn, np.asarray(seen.image)),
        "ssim": ssim(drawn, np.asarray(seen.image)),
    }


SUITES: dict[str, Callable[[ReconstructSettings, Report, Progress], None]] = {
    "rooms": run_rooms,
    "pairs": run_pairs,
    "photos": run_photos,
    "lists": run_lists,
    "rasterisers": run_timed,
    "ablation": run_ablation,
}
"""In the order in which ``all`` runs them; all but the ablation, which takes long."""
