"""The examples, and the Python in the README, run as a user would run them and find what they say they find."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LIMIT_S = 120
"""Each takes a few seconds; a machine that does other things as well may need longer."""


def printed(code: list[str], folder: Path) -> str:
    environment = os.environ | {"POSESPLAT_THREADS": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, *code], cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


def numbers(pattern: str, text: str) -> list:
    """What a pattern finds, as numbers: one, or a tuple of as many as it has groups."""
    found = [tuple(map(float, match.groups())) for match in re.finditer(pattern, text)]
    return [values[0] if len(values) == 1 else values for values in found]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path, tmp_path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 25
    output = printed([str(path)], tmp_path)
    assert output
    assert "refused" not in output
    # The reference poses of the rendered clip are good to about 1 mm, the depth of the Kinect to about 1 %.
    # Two photos of a Kinect that turns fast are posed to a degree or two by images alone.
    errors, gaps = numbers(r"off by ([\d.]+) mm", output), numbers(r"median gap ([\d.]+) mm", output)
    angles, losses = (
        numbers(r"off by [\d., m]*?([\d.]+) deg", output),
        numbers(r"loss from ([\d.]+) to ([\d.]+)", output),
    )
    assert errors or gaps or angles or losses
    assert all(error < 3 for error in errors)
    assert all(gap < 20 for gap in gaps)
    assert all(angle < 2.5 for angle in angles)
    assert all(last < first for first, last in losses)
    assert all(share > 50 for share in numbers(r"(\d+) % of the", output))


def test_there_are_examples() -> None:
    assert [path.name[:3] for path in EXAMPLES] == [f"{number:02d}_" for number in range(1, len(EXAMPLES) + 1)]
    assert len(EXAMPLES) >= 10


def test_the_readme(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(block.splitlines()) == 5
    ask = "\nprint(*found.cam_from_world.inv().translation, *frames.cam_from_world[4].inv().translation)"
    found, true = np.reshape([float(word) for word in printed(["-c", block + ask], tmp_path).split()], (2, 3))
    assert np.linalg.norm(found - true) < 0.003


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
