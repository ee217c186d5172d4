"""Checkpoints of tiny networks, as the tests of the providers make them."""

from __future__ import annotations

from providers.conftest import checkpoints, matchers
from providers.test_da3 import checkpoint

__all__ = ["checkpoint", "checkpoints", "matchers"]
