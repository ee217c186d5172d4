"""Checkpoints of tiny networks, made once a run; nothing is asked of the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from providers import tiny_checkpoints

# Read when huggingface_hub is first imported, which these tests do.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by name."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "relative": tiny_checkpoints.save_depth_anything(root / "relative", metric=False),
        "metric": tiny_checkpoints.save_depth_anything(root / "metric", metric=True),
        "zoedepth": tiny_checkpoints.save_zoedepth(root / "zoedepth"),
        "two_headed": tiny_checkpoints.save_zoedepth(root / "two_headed", (10.0, 80.0)),
        "depth_pro": tiny_checkpoints.save_depth_pro(root / "depth_pro"),
        "dinov2": tiny_checkpoints.save_dinov2(root / "dinov2"),
        "registers": tiny_checkpoints.save_dinov2(root / "registers", registers=3),
    }


@pytest.fixture(scope="session")
def matchers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of networks that match images, by name."""
    root = tmp_path_factory.mktemp("matchers")
    return {
        "loftr": tiny_checkpoints.save_loftr(root / "loftr"),
        "lightglue": tiny_checkpoints.save_lightglue(root / "lightglue"),
    }
