"""What all suites of ``bench pair`` share: options, contenders, and how answers are gathered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from posesplat.evaluate.protocols.pair_cases import PairCase, PairSource
from posesplat.evaluate.protocols.pair_contenders import Contender, Question, answer, contenders
from posesplat.evaluate.protocols.pair_depths import MEASURED, DepthKind
from posesplat.evaluate.protocols.pair_matches import FoundMatches, timed_matches
from posesplat.evaluate.protocols.pair_scores import normalised_error, scored
from posesplat.evaluate.protocols.pair_tables import PairTrial
from posesplat.evaluate.protocols.run import Run
from posesplat.evaluate.protocols.thread_limits import limited_threads


@dataclass(frozen=True)
class PairSettings:
    """Size of a run."""

    data: Path | None = None
    """Folder of real data sets; POSESPLAT_DATA when None."""
    rooms: int = 6
    """Rooms of each plain kind."""
    hard_rooms: int = 3
    """Rooms of each hard kind."""
    pairs: int = 2
    """Pairs of each overlap level in each room."""
    real_pairs: int = 15
    """Pairs of each overlap level in each real RGB-D clip; fewer where the clip has no more."""
    photo_pairs: int = 8
    """Pairs of each level of angles in each set of photographs."""
    realisations: int = 510
    """Noisy pairs of the covariance suite."""
    kinds: tuple[DepthKind, ...] = MEASURED
    """What depth contenders are given."""
    methods: tuple[str, ...] = ()
    """Only methods whose name contains one of these; all of them when empty."""
    sequences: tuple[str, ...] = ()
    """Only real sequences whose name contains one of these; all of them when empty."""
    width: int = 640
    """Of a synthetic image, pixels."""
    threads: int | None = None
    """Of OpenCV and linear algebra; 1 when None, as the tables are about processor time."""
    seed: int = 0
    """Which rooms, views, pairs and noise."""

    def __post_init__(self) -> None:
        counts = (self.rooms, self.hard_rooms, self.pairs, self.real_pairs, self.photo_pairs, self.realisations)
        if min(counts) < 1 or self.seed < 0 or self.width < 80 or self.width % 4:
            raise ValueError(
                "A benchmark of pairs needs rooms, pairs and realisations of at least 1, a seed of at least 0 and a "
                f"width of at least 80 that is divisible by 4; got {self}."
            )
        unknown = [kind for kind in self.kinds if kind not in MEASURED]
        if unknown or not self.kinds:
            raise ValueError(f"Kinds of depth must be among {', '.join(MEASURED)}; got {', '.join(unknown) or 'none'}.")

    def contenders(self) -> list[Contender]:
        """Those that were asked for."""
        return contenders(self.methods)

    def wants(self, sequence: str) -> bool:
        """Whether a real sequence was asked for."""
        return not self.sequences or any(word in sequence for word in self.sequences)


@dataclass
class PairBench(Run[PairSettings]):
    """One run of ``bench pair``."""

    depth_trials: dict[DepthKind, list[PairTrial]] = field(default_factory=dict)
    """All trials so far on pairs with depth, for what is said of all sets together."""

    def put(
        self,
        what: str,
        sources: Sequence[PairSource],
        kinds: Sequence[DepthKind],
        methods: Sequence[Contender],
        trials: dict[DepthKind, list[PairTrial]],
    ) -> None:
        """Put pairs to all methods with each kind of depth; trials are appended one by one, by kind."""
        advance = self.advancing(what, len(sources))
        with limited_threads(self.settings.threads or 1):
            for source in sources:
                case = source.open()
                found = timed_matches(case.a, case.b)
                for kind in kinds:
                    trials.setdefault(kind, []).extend(_asked(case, found, kind, methods))
                advance()


def _asked(case: PairCase, found: FoundMatches, kind: DepthKind, methods: Sequence[Contender]) -> list[PairTrial]:
    a, b = case.frames(kind)
    question = Question(a, b, found.matches, kind, case.exact_cameras)
    trials = []
    for method in methods:
        if not method.takes(kind):
            continue
        given = answer(method, question)
        estimate = given.rated.estimate
        trials.append(
            PairTrial(
                kind,
                case.group,
                case.level,
                case.scene,
                case.name,
                method.name,
                method.ours,
                scored(estimate, case, kind != "none"),
                given.rated.score,
                given.rated.accepted and estimate.success,
                given.cpu_s,
                given.wall_s,
                found.cpu_s if method.matched else 0.0,
                found.wall_s if method.matched else 0.0,
                normalised_error(estimate, case.b_from_a, case.truth_error),
                given.rated.parts_s,
                estimate.reason or next(iter(estimate.warnings), ""),
            )
        )
    return trials
