"""``bench reconstruct``: poses of two views and pictures of a third, in rooms never seen and on real photos."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.relative_pose import relative_pose
from posesplat.datasets.open import open_frames
from posesplat.evaluate.feed_forward import THRESHOLDS_DEG, ViewPair, held_out_pairs, pair_answers
from posesplat.evaluate.metrics import pose_auc
from posesplat.evaluate.protocols.report import Column, Report, Row, Table
from posesplat.evaluate.reports.reconstruction import novel_view
from posesplat.geometry.frame import Frame
from posesplat.learned.network import SplatNetwork
from posesplat.learned.reconstruction import Reconstruction, ReconstructOptions, reconstruct
from posesplat.learned.two_view import folded_errors_deg
from posesplat.learned.weights import load_network
from posesplat.learned.working_views import reduced_frame
from posesplat.providers.two_view.sift import SiftMatches

OURS = "reconstruct"
_FAILED = (180.0, 90.0)
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


def run_rooms(settings: ReconstructSettings, report: Report, on_progress: Callable[[str, int, int], None]) -> None:
    """Pairs of rooms that no training saw: ours, the network alone, five points on SIFT matches, doing nothing."""
    network, options = load_network(settings.weights), _options(settings)
    errors: dict[str, list[tuple[float, float]]] = {}
    seconds: dict[str, float] = {}
    pairs = held_out_pairs(settings.pairs, settings.side, settings.side)
    for index, pair in enumerate(pairs):
        for name, (pose, spent) in _contenders(pair, network, options).items():
            error = _FAILED if pose is None else folded_errors_deg(pose, pair.second_from_first)
            errors.setdefault(name, []).append(error)
            seconds[name] = seconds.get(name, 0.0) + spent
        on_progress("rooms", index + 1, len(pairs))
    rows = [_row(name, np.array(found), seconds[name]) for name, found in errors.items()]
    columns = (
        Column("method", "method"),
        *(Column(f"auc_{limit:g}", f"AUC@{limit:g}", ".3f") for limit in THRESHOLDS_DEG),
        Column("posed", "posed", ".0%"),
        Column("gross", "of posed > 20 deg", ".1%"),
        Column("rotation_deg", "median rotation deg", ".2f"),
        Column("translation_deg", "median direction deg", ".2f"),
        Column("ms", "CPU ms", ".0f"),
    )
    title = f"{len(pairs)} pairs of views of rooms never seen, {settings.side} px, overlap 20 to 70 %"
    note = "Errors are the larger of rotation and folded direction of translation; refusals count as failures."
    report.tables.append(Table("rooms", title, columns, tuple(rows), (note,)))


def run_photos(settings: ReconstructSettings, report: Report, on_progress: Callable[[str, int, int], None]) -> None:
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
        Column("ms", "CPU ms", ".0f"),
        Column("remark", "remark"),
    )
    title = "Two real images at known intrinsics, a third one located and rendered"
    report.tables.append(Table("photos", title, columns, tuple(rows)))


def _options(settings: ReconstructSettings) -> ReconstructOptions:
    return ReconstructOptions(settings.weights, seed=settings.seed, threads=settings.threads)


def _contenders(
    pair: ViewPair, network: SplatNetwork, options: ReconstructOptions
) -> dict[str, tuple[RigidTransform | None, float]]:
    began = time.process_time()
    answers = pair_answers(network, pair)
    spent = time.process_time() - began
    found = {f"network: {name}" if name != "identity" else name: (pose, spent) for name, pose in answers.items()}
    found["identity"] = (found["identity"][0], 0.0)
    first, second = (Frame(pair.camera, image, None, str(index)) for index, image in enumerate(pair.images))
    began = time.process_time()
    by_sift, _ = relative_pose(SiftMatches().matches(first, second), pair.camera, pair.camera, seed=options.seed)
    found["SIFT, five points (PoseLib)"] = (by_sift, time.process_time() - began)
    began = time.process_time()
    ours = reconstruct([first, second], options=options, network=network)
    found[OURS] = (ours.trajectory[1].cam_from_world, time.process_time() - began)
    return found


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
    drawn = novel_view(found, seen.camera, third) / 255.0
    error = float(np.mean((drawn - np.asarray(seen.image) / 255.0) ** 2))
    return {
        "located_deg": float(np.degrees((third.rotation * true_third.rotation.inv()).magnitude())),
        "located_share": float(gap),
        "psnr_db": -10.0 * np.log10(max(error, 1e-12)),
    }
