"""Shared fixtures: the folder of real data sets, and random tests that draw the same examples every time."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("deterministic", derandomize=True, deadline=None)
hypothesis.settings.load_profile("deterministic")


@pytest.fixture(scope="session")
def data_root() -> Path:
    folder = os.environ.get("POSESPLAT_DATA")
    if not folder:
        pytest.skip("needs real data: set POSESPLAT_DATA to the folder of the data sets (see CONTRIBUTING.md)")
    root = Path(folder)
    if not root.is_dir():
        pytest.fail(f"POSESPLAT_DATA must name a folder; got {folder}")
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "data_root" in getattr(item, "fixturenames", ()):
            item.add_marker("data")
