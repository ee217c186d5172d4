"""Commands whose extra is not installed say which one it is, and how to get it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from posesplat.cli.extras import EXTRAS, install_command, missing_extra, require

ROOT = Path(__file__).parents[2]
BLOCKED = sorted({package for extra in EXTRAS.values() for package in extra.packages})


def test_the_extras_are_those_of_the_project() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        name: {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}  # type: ignore[index]
        for name, requirements in listed.items()
        if name not in ("dev", "docs")
    }
    assert named == {name: set(extra.packages.values()) for name, extra in EXTRAS.items()}


def test_the_extra_of_a_package_is_found_by_its_module() -> None:
    assert missing_extra(ModuleNotFoundError("no", name="transformers.models")) == "learned"
    assert missing_extra(ModuleNotFoundError("no", name="posesplat.bug")) is None


def test_an_extra_that_is_there_is_not_asked_for() -> None:
    require("report")


@pytest.fixture(scope="module")
def answers(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    a, b = (str(path) for path in sorted((clip / "rgb").iterdir())[:2])
    folder = tmp_path_factory.mktemp("without")
    commands = {
        "reconstruct": ["reconstruct", a, b],
        "train": ["train", "rooms"],
        "depth": ["track", str(clip), "--depth", "transformers:owner/name"],
        "features": ["track", str(clip), "--features", "dinov2:owner/name"],
        "matcher": ["pair", a, b, "--matcher", "loftr:owner/name"],
        "sfm": ["bridge", a, b, "--estimator", "sfm", "--cache", str(folder / "cache")],
        "diffusers": ["bridge", a, b, "--inbetween", "diffusers:owner/name"],
        "service": ["bridge", a, b, "--inbetween", "runway"],
    }
    lines = [[*line, "--out", str(folder / "out")] for line in commands.values()] + [["doctor", "--json"]]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("command_lines.py")), ",".join(BLOCKED), json.dumps(lines)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "RUNWAYML_API_SECRET": "a key", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "out").exists()
    assert not (folder / "cache").exists()
    return {name: tuple(answer) for name, answer in zip([*commands, "doctor"], json.loads(done.stdout), strict=True)}


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("reconstruct", "learned"),
        ("train", "train"),
        ("depth", "learned"),
        ("features", "learned"),
        ("matcher", "learned"),
        ("sfm", "sfm"),
        ("diffusers", "inbetween"),
        ("service", "inbetween"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    answers: dict[str, tuple[int, str, str]], command: str, extra: str
) -> None:
    status, out, err = answers[command]
    assert (status, out) == (2, "")
    assert re.fullmatch(r"posesplat: error: [^\n]+\n", err), err
    assert re.search(rf"pip install 'posesplat\[(\w+,)*{extra}(,\w+)*\]'", err), err


def test_doctor_needs_no_extra_and_names_them_all(answers: dict[str, tuple[int, str, str]]) -> None:
    status, out, err = answers["doctor"]
    assert (status, err) == (0, "")
    lacking = {one["name"]: one["cure"] for one in json.loads(out)["findings"] if one["group"] == "extras"}
    assert lacking == {name: install_command(name) for name in EXTRAS}
