"""What must be known about a run to repeat it: command, options, seed, version, host."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from os import PathLike, fspath
from typing import Any

from posesplat.evaluate.protocols.environment import environment


@dataclass(frozen=True)
class RunRecord:
    """One run of one command."""

    command: str
    """Its name, such as ``localize``."""
    options: dict[str, Any]
    """What it was asked, JSON-ready; see :func:`plain_options`."""
    seed: int | None
    """Of everything random; None when nothing was."""
    environment: dict[str, Any]
    """See :func:`posesplat.evaluate.protocols.environment.environment`."""
    started: datetime
    """When it began."""
    duration_s: float = 0.0
    """Wall time."""
    interrupted: bool = False
    """True when it was stopped before its end; results are those of the frames done by then."""

    @staticmethod
    def begin(command: str, options: Any, seed: int | None = None, threads: int | None = None) -> RunRecord:
        """The record of a run that starts now.

        Args:
            command: its name.
            options: its dataclass of options.
            seed: of everything random.
            threads: as asked for; see :func:`posesplat.kernels.threads.thread_count`.
        """
        return RunRecord(command, plain_options(options), seed, environment(threads), datetime.now(UTC))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record."""
        return {
            "command": self.command,
            "options": self.options,
            "version": self.environment["version"],
            "seed": self.seed,
            "host": self.environment["host"],
            "threads": self.environment["threads"],
            "started": self.started.isoformat(timespec="seconds"),
            "duration_s": round(self.duration_s, 3),
            "interrupted": self.interrupted,
            "environment": self.environment,
        }


def plain_options(value: Any) -> Any:
    """A dataclass of options, or a value of one, as JSON holds it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_options(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain_options(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_options(part) for part in value]
    if isinstance(value, PathLike):
        return fspath(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
