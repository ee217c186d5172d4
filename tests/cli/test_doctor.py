from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from posesplat import _kernels
from posesplat.cli import installation
from posesplat.cli.main import main
from posesplat.datasets.samples import SAMPLE_NAMES

HEAVY = {"torch", "transformers", "cv2", "matplotlib", "scipy", "numpy", "pycolmap", "poselib", "lightning"}


def told(capsys: pytest.CaptureFixture[str], status: int = 0) -> dict[tuple[str, str], dict[str, str]]:
    assert main(["doctor", "--json"]) == status
    record = json.loads(capsys.readouterr().out)
    assert record["sound"] == (status == 0)
    return {(one["group"], one["name"]): one for one in record["findings"]}


def test_versions_are_those_that_the_packages_state(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys)
    assert found["core", "numpy"]["found"] == np.__version__
    assert found["core", "tyro"]["found"] == version("tyro")
    assert found["core", "kernels"]["found"].startswith(f"instruction set {_kernels.instruction_set()} of ")
    assert all(found["data", name]["state"] == "ok" for name in SAMPLE_NAMES)


def test_the_table_has_a_row_for_everything_and_the_commands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("POSESPLAT_DATA", raising=False)
    found = told(capsys)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for (_, name), one in found.items():
        assert name in text
        assert not one["cure"] or f"  {one['cure']}\n" in text, "a command stands on a line of its own"
    assert text.endswith("The core is sound.\n")


@pytest.mark.parametrize("requirement", ["numpy>=2.0", "rich<15,>=13", "torch==2.13.0", "x>2,<=2.10", "x<2.10.1"])
@pytest.mark.parametrize("have", ["1.9", "2.0", "2.10", "2.9.1", "13", "14.3.4", "15.0.0", "2.13.0", "2.13"])
def test_versions_compare_as_packaging_says(have: str, requirement: str) -> None:
    assert installation.fits(have, requirement) == Requirement(requirement).specifier.contains(have)


def test_a_missing_requirement_is_broken_and_told_with_its_cure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "requires", lambda name: ["nowhere-to-be-found>=2", "numpy>=99"])
    found = told(capsys, status=1)
    assert found["core", "nowhere-to-be-found"]["state"] == "broken"
    assert found["core", "numpy"]["found"] == f"{np.__version__}, but >=99 is needed"
    assert found["core", "numpy"]["cure"] == "pip install --upgrade posesplat"


def test_a_wrong_variable_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSESPLAT_THREADS", "many")
    assert "'many'" in told(capsys, status=1)["core", "threads"]["found"]


def test_data_sets_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("desk", "room"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("POSESPLAT_DATA", str(tmp_path))
    assert told(capsys)["data", "POSESPLAT_DATA"]["found"] == f"{tmp_path}: desk, room"
    monkeypatch.setenv("POSESPLAT_DATA", str(tmp_path / "nowhere"))
    found = told(capsys)["data", "POSESPLAT_DATA"]
    assert (found["state"], found["cure"]) == ("broken", "export POSESPLAT_DATA=FOLDER_OF_DATA_SETS")


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys; from posesplat.cli.main import main; main(['doctor', '--json']); "
        f"sys.exit(' '.join({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.stderr == "\n"


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="needs Linux, which lists what a processor can")
def test_instruction_sets_are_those_that_the_system_lists() -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((set(line.split(":")[1].split()) for line in lines if line.startswith("flags")), set())
    v3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
    v4 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    expected = ["baseline"] + ["v3"] * (v3 <= flags) + ["v4"] * (v3 | v4 <= flags)
    assert _kernels.instruction_sets() == expected
