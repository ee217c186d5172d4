from __future__ import annotations

from collections.abc import Iterator

import pytest

from posesplat import _kernels


@pytest.fixture(params=_kernels.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test once for each instruction set that this machine has."""
    before = _kernels.instruction_set()
    _kernels.select_instruction_set(request.param)
    yield request.param
    _kernels.select_instruction_set(before)
