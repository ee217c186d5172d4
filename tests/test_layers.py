"""How the source is laid out: which layer may import which, how modules are called, how long they are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "posesplat"
MODULES = sorted(PACKAGE.rglob("*.py"))
LAYERS = [
    "files",
    "images",
    "geometry",
    "kernels",
    "gaussians",
    "render",
    "align",
    "providers",
    "methods",
    "learned",
    "datasets",
    "evaluate",
    "io",
    "viewer",
    "testing",
    "cli",
]
"""From the bottom up: a module imports from its own layer and from those before it."""
LONGEST = 450
HEAVY = {"torch", "transformers", "cv2", "matplotlib", "small_gicp", "pycolmap", "poselib", "rich", "tyro"}


def layer_of(module: str) -> str:
    """The layer of a dotted module name; the package itself, which exports from many layers, counts as ``cli``."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] not in {*LAYERS, "_kernels"}:
        return "cli"
    return "kernels" if parts[1] == "_kernels" else parts[1]


def imported_modules(source: str, module: str) -> set[str]:
    """Every posesplat module that a module's source imports, at the top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], base]).rstrip(".")
            if base == "posesplat":
                found.update(f"posesplat.{alias.name}" for alias in node.names)
            else:
                found.add(base)
    return {name for name in found if name.split(".")[0] == "posesplat"}


def upward_imports(source: str, module: str) -> set[str]:
    """Imports of higher layers."""
    own = LAYERS.index(layer_of(module))
    return {name for name in imported_modules(source, module) if LAYERS.index(layer_of(name)) > own}


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_module_belongs_to_a_layer() -> None:
    known = {*LAYERS, "__init__", "__main__"}
    found = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert found <= known, "name the new layer in LAYERS"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    assert upward_imports(path.read_text(), dotted(path)) == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_are_short_and_say_what_they_do(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}


@pytest.mark.parametrize(
    ("module", "source", "upward"),
    [
        ("posesplat.geometry.poses", "from posesplat.methods.localize import f", {"posesplat.methods.localize"}),
        ("posesplat.geometry.poses", "def f():\n    import posesplat.io.tum", {"posesplat.io.tum"}),
        ("posesplat.geometry.poses", "from ..cli import main", {"posesplat.cli"}),
        ("posesplat.geometry.poses", "from posesplat import Camera", {"posesplat.Camera"}),
        ("posesplat.geometry.poses", "from posesplat import render", {"posesplat.render"}),
        ("posesplat.geometry.poses", "from posesplat import files\nfrom . import cameras\nimport numpy", set()),
        ("posesplat.align.solve", "from posesplat._kernels import f\nimport posesplat.align.loss", set()),
        ("posesplat.files", "import posesplat._kernels", {"posesplat._kernels"}),
        ("posesplat.cli.main", "from posesplat import __version__", set()),
    ],
)
def test_the_layer_check_sees_what_it_should(module: str, source: str, upward: set[str]) -> None:
    assert upward_imports(source, module) == upward


def test_importing_posesplat_loads_nothing_heavy() -> None:
    code = f"import sys, posesplat; sys.exit(' '.join({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "\n"


def test_the_value_types_load_nothing_heavy() -> None:
    code = (
        "import sys; from posesplat import Camera, Frame, Gaussians, PoseEstimate, Scale, Trajectory; "
        f"sys.exit(' '.join({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "\n"
