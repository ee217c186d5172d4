"""What of posesplat is installed here; nothing heavy is imported to find out."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from posesplat.cli.extras import EXTRAS, install_command

State = Literal["ok", "missing", "broken", "off"]
CORE = "core"
_AGAIN = "pip install --force-reinstall --no-deps posesplat"
_KEYS = {"RUNWAYML_API_SECRET": "runway", "LUMAAI_API_KEY": "luma", "OPENAI_API_KEY": "captions"}
_SHOWN = 12


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    group: str
    """What it belongs to: ``core``, ``extras``, ``graphics card``, ``weights``, ``data`` or ``services``."""
    name: str
    """Package, file or variable."""
    state: State
    """``missing`` is no fault outside the core; ``off`` means not set up and not needed by default."""
    found: str
    """Version, place or fault."""
    unlocks: str = ""
    """What works with it."""
    cure: str = ""
    """The command that gets it, where it is missing or broken."""


def findings() -> list[Finding]:
    """Everything, in the order in which it is shown."""
    return [*_core(), *_extras(), *_graphics(), *_weights(), *_data(), *_services()]


def is_sound(found: list[Finding]) -> bool:
    """Whether nothing is wrong with what posesplat cannot do without."""
    return all(one.state == "ok" for one in found if one.group == CORE)


def fits(installed: str, requirement: str) -> bool:
    """Whether a version meets a requirement such as ``rich<15,>=13``; a local part (``+cpu``) does not count.

    Example:
        >>> fits("14.1.0", "rich<15,>=13"), fits("2.13.0+cpu", "torch==2.13.0"), fits("1.9", "numpy>=2.0")
        (True, True, False)
    """
    have = _numbers(installed)
    for relation, wanted in re.findall(r"(>=|<=|==|<|>)\s*([\d.]+)", requirement.partition(";")[0]):
        length = max(len(have), len(_numbers(wanted)))
        left, right = (numbers + (0,) * (length - len(numbers)) for numbers in (have, _numbers(wanted)))
        if not {">=": left >= right, "<=": left <= right, "==": left == right, "<": left < right, ">": left > right}[
            relation
        ]:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[+a-z]", text)[0]))


def _core() -> Iterator[Finding]:
    now = platform.python_version()
    old = sys.version_info < (3, 11)
    yield Finding(
        CORE,
        "python",
        "broken" if old else "ok",
        f"{now}, {platform.platform()}",
        cure="" if not old else "install Python 3.11 or newer",
    )
    for requirement in _requirements(None):
        yield _package(CORE, requirement, "", "pip install --upgrade posesplat")
    yield _kernels()
    yield _threads()


def _kernels() -> Finding:
    try:
        kernels = importlib.import_module("posesplat._kernels")
        sets = ", ".join(kernels.instruction_sets())
        return Finding(CORE, "kernels", "ok", f"instruction set {kernels.instruction_set()} of {sets}")
    except ImportError as error:
        return Finding(CORE, "kernels", "broken", f"the compiled part cannot be loaded: {error}", cure=_AGAIN)


def _threads() -> Finding:
    from posesplat.kernels.threads import thread_count

    try:
        asked = " (POSESPLAT_THREADS)" if "POSESPLAT_THREADS" in os.environ else ""
        return Finding(CORE, "threads", "ok", f"{thread_count()}{asked} of {os.cpu_count()} processors")
    except ValueError as error:
        return Finding(CORE, "threads", "broken", str(error), cure="unset POSESPLAT_THREADS")


def _requirements(extra: str | None) -> list[str]:
    """What the installed posesplat says it needs, itself or for an extra."""
    try:
        listed = requires("posesplat") or []
    except PackageNotFoundError:
        return []
    if extra is None:
        return [one for one in listed if "extra ==" not in one]
    return [one for one in listed if re.search(rf"extra == ['\"]{extra}['\"]", one)]


def _package(group: str, requirement: str, unlocks: str, cure: str) -> Finding:
    match = re.match(r"[A-Za-z0-9_.-]+", requirement)
    name = match[0] if match else requirement
    absent: State = "broken" if group == CORE else "missing"
    try:
        have = version(name)
    except PackageNotFoundError:
        return Finding(group, name, absent, "not installed", unlocks, cure)
    if not fits(have, requirement):
        wanted = requirement.partition(";")[0].removeprefix(name).strip()
        return Finding(group, name, "broken", f"{have}, but {wanted} is needed", unlocks, cure)
    return Finding(group, name, "ok", have, unlocks)


def _extras() -> Iterator[Finding]:
    for extra, about in EXTRAS.items():
        parts = [_package("extras", one, "", "") for one in _requirements(extra)]
        lacking = [part for part in parts if part.state != "ok"]
        if not parts:
            yield Finding("extras", extra, "missing", "unknown to this installation", about.unlocks, _AGAIN)
        elif lacking:
            told = ", ".join(f"{part.name} {part.found}" for part in lacking)
            broken = any(part.state == "broken" for part in lacking)
            yield Finding(
                "extras", extra, "broken" if broken else "missing", told, about.unlocks, install_command(extra)
            )
        else:
            yield Finding(
                "extras", extra, "ok", ", ".join(f"{part.name} {part.found}" for part in parts), about.unlocks
            )


def _graphics() -> Iterator[Finding]:
    group, card = "graphics card", _graphics_card()
    if not card:
        yield Finding(group, "NVIDIA", "off", "none found; posesplat needs none")
        return
    yield Finding(group, "NVIDIA", "ok", card)
    try:
        torch = version("torch")
    except PackageNotFoundError:
        return
    if "+cpu" in torch:
        yield Finding(
            group,
            "torch",
            "missing",
            f"{torch} cannot use it",
            "networks on the graphics card",
            "pip install --force-reinstall torch==2.13.0",
        )
    else:
        yield Finding(group, "torch", "ok", torch)


def _graphics_card() -> str:
    """Name and memory of NVIDIA cards, as their driver tells them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    command = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip())


def _weights() -> Iterator[Finding]:
    from posesplat.learned.named_weights import WEIGHTS

    for row in WEIGHTS.values():
        if row.sha256 is None:
            if row.path.is_file():
                yield Finding("weights", row.name, "ok", str(row.path), "reconstruct")
            continue
        whole = row.path.is_file() and row.path.stat().st_size == row.size_bytes
        cure = "" if whole else _AGAIN if row.source == "package" else f"posesplat weights fetch {row.name}"
        state: State = "ok" if whole else "broken" if row.path.is_file() else "missing"
        yield Finding("weights", row.name, state, str(row.path), "reconstruct", cure)
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub"
    names = [path.name.removeprefix("models--").replace("--", "/") for path in sorted(hub.glob("models--*"))]
    yield Finding("weights", "Hugging Face", "ok" if names else "off", _listed(names) or f"no checkpoints in {hub}")


def _data() -> Iterator[Finding]:
    from posesplat.datasets.sample_names import SAMPLE_NAMES, samples_folder

    for name in SAMPLE_NAMES:
        there = (samples_folder() / name).is_dir()
        yield Finding(
            "data",
            name,
            "ok" if there else "missing",
            "comes with posesplat" if there else "not there",
            "demo",
            "" if there else _AGAIN,
        )
    place = os.environ.get("POSESPLAT_DATA")
    about = "bench on real data"
    if not place:
        yield Finding("data", "POSESPLAT_DATA", "off", "not set", about, "export POSESPLAT_DATA=FOLDER_OF_DATA_SETS")
    elif not Path(place).is_dir():
        yield Finding(
            "data",
            "POSESPLAT_DATA",
            "broken",
            f"{place} is no folder",
            about,
            "export POSESPLAT_DATA=FOLDER_OF_DATA_SETS",
        )
    else:
        names = sorted(path.name for path in Path(place).iterdir() if path.is_dir() and not path.name.startswith("."))
        yield Finding("data", "POSESPLAT_DATA", "ok", f"{place}: {_listed(names) or 'empty'}", about)


def _services() -> Iterator[Finding]:
    for variable, about in _KEYS.items():
        there = bool(os.environ.get(variable, "").strip())
        yield Finding("services", variable, "ok" if there else "off", "set" if there else "not set", about)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
