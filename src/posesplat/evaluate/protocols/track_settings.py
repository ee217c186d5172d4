"""What all suites of ``bench track`` share: options, contenders, and clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from posesplat.evaluate.protocols.run import Run
from posesplat.evaluate.protocols.thread_limits import limited_threads
from posesplat.evaluate.protocols.track_clips import ClipSpec, RoomKind, TrackClip, default_cache, open_clip
from posesplat.evaluate.protocols.track_contenders import Contender, answer, contenders
from posesplat.evaluate.protocols.track_scores import scored
from posesplat.evaluate.protocols.track_tables import Trial, trial_tables

FIRST_SEED = 5000
"""Of the clips of seed 0. Clips on which something was set while developing have seeds below 5000."""
_SEEDS_APART = 1000
KINDS: tuple[RoomKind, ...] = ("furnished", "box", "curved")


@dataclass(frozen=True)
class TrackSettings:
    """Size of a run."""

    data: Path | None = None
    """Folder of real data sets; POSESPLAT_DATA when None."""
    cache: Path | None = None
    """Folder of rendered clips; :func:`default_cache` when None."""
    clips: int | None = None
    """Clips of each condition; None for what each suite thinks right."""
    slow_clips: int = 3
    """Clips of each condition that slow contenders (structure from motion) answer; 0 leaves them out."""
    methods: tuple[str, ...] = ()
    """Only methods whose name contains one of these; all of them when empty."""
    sequences: tuple[str, ...] = ()
    """Only real sequences whose name contains one of these; all of them when empty."""
    frames: int = 30
    """Of a synthetic clip."""
    width: int = 640
    """Of a synthetic clip, pixels."""
    threads: int | None = None
    """Of OpenCV, linear algebra and structure from motion; 1 when None, as the tables are about processor time."""
    seed: int = 0
    """Which rooms, views, motions and noise."""

    def __post_init__(self) -> None:
        if (self.clips is not None and self.clips < 1) or self.slow_clips < 0 or self.frames < 3 or self.seed < 0:
            raise ValueError(
                "A benchmark needs clips of at least 1, slow_clips of at least 0, 3 frames or more and a seed of at "
                f"least 0; got {self}."
            )

    def specs(self, count: int, **changes: object) -> list[ClipSpec]:
        """So many clips in all kinds of rooms, each of a seed of its own, that differ from the default thus."""
        first = FIRST_SEED + _SEEDS_APART * self.seed
        basis = ClipSpec(frames=self.frames, width=self.width)
        return [
            replace(basis, room=KINDS[number % len(KINDS)], seed=first + number, **changes)  # type: ignore[arg-type]
            for number in range(count)
        ]

    def contenders(self) -> list[Contender]:
        """Those that were asked for."""
        chosen = contenders(self.threads or 1, self.methods)
        return [one for one in chosen if self.slow_clips or not one.slow]

    def open(self, spec: ClipSpec) -> TrackClip:
        """A clip, from the cache or rendered into it."""
        return open_clip(spec, self.cache or default_cache())


@dataclass
class TrackBench(Run[TrackSettings]):
    """One run of ``bench track``."""

    @contextmanager
    def trials(self, name: str, title: str, notes: Sequence[str] = ()) -> Iterator[list[Trial]]:
        """A list for trials; whatever it holds at the end, or at an interrupt, is reported."""
        trials: list[Trial] = []
        try:
            yield trials
        finally:
            self.add(trial_tables(name, title, trials, self.settings.seed, notes))

    def put(
        self,
        clips: Sequence[tuple[str, Callable[[], TrackClip]]],
        methods: Sequence[Contender],
        trials: list[Trial],
        advance: Callable[[], None],
    ) -> None:
        """Put clips, each under a condition, to all methods; slow ones answer the first few of each condition.

        Clips of different conditions with the same place among their condition's clips are compared with each other.
        """
        asked: dict[str, int] = {}
        with limited_threads(self.settings.threads or 1):
            for condition, opened in clips:
                number = asked[condition] = asked.get(condition, -1) + 1
                clip = opened()
                for method in methods:
                    if method.slow and number >= self.settings.slow_clips:
                        continue
                    found = answer(method, clip)
                    score = scored(found.trajectory, clip.cam_from_world, clip.rate_hz)
                    trials.append(Trial(condition, number, clip.name, method, score, found.cpu_s, found.remark))
                advance()
