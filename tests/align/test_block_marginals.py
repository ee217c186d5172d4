from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from posesplat.align.block_marginals import inverse_diagonal_blocks


def random_matrix(seed: int, nodes: int, side: int, links: int) -> np.ndarray:
    """Positive definite, a chain of blocks with further links, its unknowns of very different size."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((nodes, side, nodes, side))
    pairs = [(index, index + 1) for index in range(nodes - 1)]
    pairs += [tuple(rng.choice(nodes, 2, replace=False)) for _ in range(links)]
    for a, b in pairs:
        rows = rng.normal(size=(side, 2 * side))
        block = (rows.T @ rows).reshape(2, side, 2, side)
        for i, row in enumerate((a, b)):
            for j, column in enumerate((a, b)):
                matrix[row, :, column, :] += block[i, :, j, :]
    flat = matrix.reshape(nodes * side, nodes * side) + 0.1 * np.eye(nodes * side)
    scale = np.exp(rng.uniform(-8, 8, nodes * side))
    return flat * np.outer(scale, scale)


@pytest.mark.parametrize(("nodes", "side", "links"), [(1, 7, 0), (2, 3, 0), (12, 7, 0), (40, 2, 15), (25, 7, 60)])
def test_the_blocks_are_those_of_the_dense_inverse(nodes: int, side: int, links: int) -> None:
    matrix = random_matrix(nodes, nodes, side, links)
    scale = 1.0 / np.sqrt(np.diag(matrix))
    inverse = np.linalg.inv(matrix * np.outer(scale, scale)) * np.outer(scale, scale)
    blocks = inverse_diagonal_blocks(sparse.csc_array(matrix), side)
    assert blocks.shape == (nodes, side, side)
    for node, block in enumerate(blocks):
        at = slice(node * side, (node + 1) * side)
        unit = np.outer(scale[at], scale[at])
        np.testing.assert_allclose(block / unit, inverse[at, at] / unit, rtol=1e-8, atol=1e-9)


def test_parts_that_do_not_touch_are_inverted_apart() -> None:
    first, second = random_matrix(1, 4, 3, 2), random_matrix(2, 5, 3, 2)
    joined = sparse.block_diag([first, second]).tocsc()
    apart = [inverse_diagonal_blocks(sparse.csc_array(each), 3) for each in (first, second)]
    np.testing.assert_allclose(inverse_diagonal_blocks(sparse.csc_array(joined), 3), np.concatenate(apart), rtol=1e-9)


def test_a_matrix_without_an_inverse_is_refused() -> None:
    matrix = np.eye(6)
    matrix[4, 4] = 0.0
    with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
        inverse_diagonal_blocks(sparse.csc_array(matrix), 3)
