"""Where and with what a measurement was made."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from posesplat import _kernels
from posesplat.kernels.threads import thread_count

_PACKAGES = ("numpy", "scipy", "opencv-python-headless", "poselib", "small_gicp", "pycolmap")


def environment(threads: int | None = None, packages: Sequence[str] = _PACKAGES) -> dict[str, Any]:
    """A JSON-ready record: version, commit, date, host, processor, load, threads, versions of packages.

    Args:
        threads: as asked for; see :func:`posesplat.kernels.threads.thread_count`.
        packages: distributions whose versions are recorded, None where one is not installed.
    """
    return {
        "version": version("posesplat"),
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "system": platform.platform(),
        "cpu": _processor(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "threads": thread_count(threads),
        "instruction_set": _kernels.instruction_set(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's model; Linux tells it in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of the source tree, with ``-dirty`` when files differ from it; None outside a git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
