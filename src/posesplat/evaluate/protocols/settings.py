"""What all suites of ``bench localize`` share: options, and how answers are gathered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from posesplat.evaluate.protocols.run import Run
from posesplat.evaluate.protocols.trials import Answer, Method, error_tables
from posesplat.geometry.cameras import Camera


@dataclass(frozen=True)
class Settings:
    """Size of a run."""

    data: Path | None = None
    """Folder of real data sets; POSESPLAT_DATA when None."""
    queries: int = 30
    """Random starts for each level in the rooms."""
    stride: int = 1
    """Of sequences longer than 60 frames, every ``stride``-th step, query or chained frame."""
    realisations: int = 500
    """Noisy queries of the covariance suite."""
    gsplatloc_queries: int = 3
    """Queries of each condition that the published method answers; 0 leaves it out."""
    methods: tuple[str, ...] = ()
    """Only methods whose name contains one of these; all of them when empty."""
    sequences: tuple[str, ...] = ()
    """Only real sequences whose name contains one of these; all of them when empty."""
    width: int = 640
    """Width of the rooms' camera in pixels; its height is three quarters of that."""
    supersample: int = 2
    """Samples along each side of a pixel of the rooms' images."""
    threads: int | None = None
    """Of the kernels and of the rivals."""
    seed: int = 0
    """Of everything that is random."""

    def __post_init__(self) -> None:
        counts = (self.queries, self.stride, self.realisations, self.supersample)
        if min(counts) < 1 or self.gsplatloc_queries < 0 or self.width < 80 or self.width % 4:
            raise ValueError(
                "A benchmark needs queries, stride, realisations and supersample of at least 1, gsplatloc_queries of "
                f"at least 0 and a width of at least 80 that is divisible by 4; got {self}."
            )

    @property
    def camera(self) -> Camera:
        """The rooms' camera, with the field of view of a Kinect."""
        scale = self.width / 640
        return Camera(525 * scale, 525 * scale, 320 * scale, 240 * scale, self.width, self.width * 3 // 4)


@dataclass
class Bench(Run[Settings]):
    """One run of ``bench localize``."""

    @contextmanager
    def answers(
        self, name: str, title: str, methods: Sequence[Method], notes: Sequence[str] = ()
    ) -> Iterator[list[Answer]]:
        """A list for answers; whatever it holds at the end, or at an interrupt, is reported."""
        answers: list[Answer] = []
        try:
            yield answers
        finally:
            self.add(error_tables(name, title, methods, answers, self.settings.seed, notes))
