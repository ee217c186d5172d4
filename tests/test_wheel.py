"""What people install: the wheel and the source distribution, each in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = ("learned/tiny.safetensors", "samples/")


def run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "POSESPLAT_DATA")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this checkout, and the wheel that is built from it alone."""
    folder = tmp_path_factory.mktemp("dist")
    build = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    tools = folder / "tools"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, "scikit-build-core>=0.11", cwd=folder)
    run(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tools)!r}); {build}", folder, cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, sdist, cwd=folder)
    return folder


@pytest.mark.slow
def test_the_sources_hold_what_a_build_needs_and_no_more(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CMakeLists.txt", "pyproject.toml", "LICENSE", "src/kernels/isa.cpp", "src/posesplat/files.py"} <= names
    assert not [name for name in names if name.startswith(("tests/", ".ci", ".venv", "build/", "shared"))]


@pytest.mark.slow
def test_the_code_of_a_wheel_is_below_ten_megabytes(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename.removeprefix("posesplat/"): entry.compress_size for entry in archive.infolist()}
    assert {"_kernels.pyi", "cli/main.py", DATA[0]} <= sizes.keys()
    assert any(name.startswith(DATA[1]) for name in sizes)
    assert not [name for name in sizes if name.endswith((".cpp", ".h", ".o", ".a"))]
    assert sum(size for name, size in sizes.items() if not name.startswith(DATA)) < 10e6


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_shows_its_demo(distributions: Path, tmp_path: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(programs / "python", "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    assert "commands (posesplat COMMAND --help" in run(programs / "posesplat", "--help", cwd=tmp_path)
    told = json.loads(run(programs / "posesplat", "doctor", "--json", cwd=tmp_path))
    assert told["sound"]
    assert {one["state"] for one in told["findings"] if one["group"] == "extras"} == {"missing"}
    shown = run(programs / "posesplat", "demo", "--quick", "--out", "report", cwd=tmp_path)
    assert "ours: colour + depth" in shown
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
