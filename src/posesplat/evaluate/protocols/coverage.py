"""Whether the covariance of an answer is honest: how often its 95 % ellipsoid holds the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform
from scipy.stats import binomtest, chi2

from posesplat.datasets.rooms import furnished_room, random_perturbation
from posesplat.evaluate.protocols import contenders
from posesplat.evaluate.protocols.contenders import chosen
from posesplat.evaluate.protocols.reference import Reference
from posesplat.evaluate.protocols.report import Column, Row, Table
from posesplat.evaluate.protocols.rooms import Renderings, noisy
from posesplat.evaluate.protocols.settings import Bench
from posesplat.evaluate.protocols.trials import Answer, Method, Query, ask, grouped
from posesplat.geometry.poses import log, perturbed

LEVEL = 0.95
ROOM_SEEDS = tuple(range(7300, 7310))
"""Rooms that nothing else uses."""
PAIRS = 5
"""Views of each room that become a map, each with one query view."""
_FROM_VIEW = (0.05, 3.0)
_MAP_NOISE, _QUERY_NOISE = 100_000, 200_000


@dataclass(frozen=True)
class Calibration:
    """How a covariance compares with the errors that were made; each field has one value a query."""

    pose: Float[np.ndarray, " n"]
    """Squared Mahalanobis length of all six components; a chi-square of 6 degrees of freedom when honest."""
    rotation: Float[np.ndarray, " n"]
    """Of the rotation alone, 3 degrees of freedom."""
    translation: Float[np.ndarray, " n"]
    """Of the translation alone, 3 degrees of freedom."""

    @staticmethod
    def of(estimated: RigidTransform, true: RigidTransform, covariances: Float[np.ndarray, "n 6 6"]) -> Calibration:
        """Compare poses of shape (n,) with the truth: xi = log(estimated * true^-1), whose covariance is given."""
        error = log(estimated * true.inv())

        def squared(part: slice) -> Float[np.ndarray, " n"]:
            solved = np.linalg.solve(covariances[:, part, part], error[:, part, None])[..., 0]
            return np.asarray(np.sum(error[:, part] * solved, axis=1))

        return Calibration(squared(slice(0, 6)), squared(slice(0, 3)), squared(slice(3, 6)))

    @property
    def coverage(self) -> tuple[float, float, float]:
        """Share of truths within the 95 % ellipsoid of the pose, its rotation, and its translation."""
        inside = [
            float(np.mean(values <= chi2.ppf(LEVEL, degrees)))
            for values, degrees in ((self.pose, 6), (self.rotation, 3), (self.translation, 3))
        ]
        return inside[0], inside[1], inside[2]


COLUMNS = (
    Column("condition", "room"),
    Column("method", "method"),
    Column("queries", "n"),
    Column("failed", "failed"),
    Column("coverage_percent", "within 95 %: pose", ".1f"),
    Column("interval", "95 % interval"),
    Column("rotation_coverage_percent", "rotation", ".1f"),
    Column("translation_coverage_percent", "translation", ".1f"),
    Column("median_nees", "median NEES (5.35)", ".3g"),
    Column("mean_nees", "mean NEES (6)", ".3g"),
    Column("median_translation_mm", "median mm", ".3g"),
    Column("median_sigma_mm", "predicted mm", ".3g"),
)
NOTE = (
    "Every query has its own noise in the map and in the frame. NEES is the squared Mahalanobis length of "
    "log(estimated * true^-1); an honest covariance has the median and mean given in the headings."
)


def run(bench: Bench) -> None:
    """The covariance table."""
    settings = bench.settings
    methods = chosen(
        [
            contenders.ours("plane", contenders.PLANE, settings.threads),
            contenders.ours("joint", contenders.JOINT, settings.threads),
        ],
        settings.methods,
    )
    if not methods:
        return
    renderings = Renderings(settings)
    rooms = ROOM_SEEDS[: max(1, min(len(ROOM_SEEDS), settings.realisations // (2 * PAIRS)))]
    repeats = -(-settings.realisations // (len(rooms) * PAIRS))
    advance = bench.advancing("covariance", len(rooms) * PAIRS * repeats)
    answers: list[Answer] = []
    try:
        for seed in rooms:
            room = furnished_room(seed)
            rng = np.random.default_rng([settings.seed, seed])
            for reference_view in room.sample_views(rng, PAIRS):
                true = perturbed(reference_view, random_perturbation(rng, *_FROM_VIEW))
                clean_map, clean_query = renderings(room, reference_view), renderings(room, true)
                for _ in range(repeats):
                    number = len(answers) // len(methods) + 10_000 * settings.seed
                    frame = noisy(clean_map, _MAP_NOISE + number)
                    reference = Reference((frame,), (reference_view,), settings.threads)
                    query = Query(noisy(clean_query, _QUERY_NOISE + number), reference_view, true, condition=room.name)
                    ask(methods, reference, [(number, query)], answers, advance)
    finally:
        if answers:
            title = f"Covariance at {settings.camera.width} x {settings.camera.height}, Kinect-like noise, 5 cm, 3 deg"
            bench.add([Table("covariance", title, COLUMNS, tuple(coverage_rows(methods, answers)), (NOTE,))])


def coverage_rows(methods: Sequence[Method], answers: Sequence[Answer]) -> list[Row]:
    """One row for each method over everything, then one for each room."""
    rows = [coverage_row("all", [answer for answer in answers if answer.method == method.name]) for method in methods]
    for condition, by_method in grouped(answers).items():
        rows += [coverage_row(condition, group) for group in by_method.values()]
    return rows


def coverage_row(condition: str, answers: Sequence[Answer]) -> Row:
    """Coverage over the answers that carry a covariance."""
    row: Row = {"condition": condition, "method": answers[0].method, "queries": len(answers)}
    given = [(answer, matrix) for answer in answers if (matrix := answer.estimate.covariance) is not None]
    row["failed"] = len(answers) - len(given)
    if not given:
        return row
    found, covariances = [answer for answer, _ in given], np.stack([matrix for _, matrix in given])
    estimated = RigidTransform.concatenate([answer.cam_from_world for answer in found])
    true = RigidTransform.concatenate([answer.query.true for answer in found])
    calibration = Calibration.of(estimated, true, covariances)
    pose, rotation, translation = calibration.coverage
    inside = round(pose * len(found))
    interval = binomtest(inside, len(found)).proportion_ci(method="wilson")
    sigma = np.sqrt(np.trace(covariances[:, 3:, 3:], axis1=1, axis2=2))
    row |= {
        "coverage_percent": 100 * pose,
        "coverage_low": 100 * float(interval.low),
        "coverage_high": 100 * float(interval.high),
        "interval": f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]",
        "rotation_coverage_percent": 100 * rotation,
        "translation_coverage_percent": 100 * translation,
        "median_nees": float(np.median(calibration.pose)),
        "mean_nees": float(np.mean(calibration.pose)),
        "median_translation_mm": float(np.median([answer.errors[0] for answer in found])),
        "median_sigma_mm": 1e3 * float(np.median(sigma)),
    }
    return row
