from __future__ import annotations

import numpy as np
import pytest

from posesplat.geometry.matches import Matches


def test_matches_check_their_shapes() -> None:
    assert len(Matches.none()) == 0
    good = Matches(np.ones((3, 2)), np.zeros((3, 2)), np.arange(3.0))
    assert np.array_equal(good.swapped().pixels_a, good.pixels_b)
    assert good.select(np.array([2])).scores == pytest.approx([2.0])
    with pytest.raises(ValueError, match="Matches needs finite"):
        Matches(np.full((3, 2), np.nan), np.zeros((3, 2)), np.ones(3))
