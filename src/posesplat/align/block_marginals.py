"""Diagonal blocks of the inverse of a sparse matrix of blocks, without the rest of the inverse.

Nodes are eliminated one by one, those with the fewest neighbours first, each in a small dense matrix of itself and the
neighbours it has left; then the inverse is filled in backwards, where the factors are not zero.

Source: Takahashi, Fagan and Chin, Formation of a sparse bus impedance matrix, 1973; fronts as in Duff and Reid, 1983.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.linalg import solve_triangular


def inverse_diagonal_blocks(matrix: sparse.csc_array, side: int) -> Float[np.ndarray, "nodes side side"]:
    """The blocks on the diagonal of the inverse.

    Args:
        matrix: symmetric and positive definite, in square blocks.
        side: rows of a block.

    Raises:
        numpy.linalg.LinAlgError: when the matrix is singular.
    """
    diagonal = matrix.diagonal()
    if not (diagonal > 0).all():
        raise np.linalg.LinAlgError("The matrix must be positive definite; its diagonal is not positive.")
    scale = 1.0 / np.sqrt(diagonal)
    scaling = sparse.diags_array(scale)
    blocks = sparse.bsr_array((scaling @ matrix @ scaling).tobsr((side, side)))
    fronts = _eliminated(blocks, side)
    inverses: dict[int, Float[np.ndarray, "rows rows"]] = {}
    result = np.empty((len(fronts), side, side))
    for front in reversed(fronts):
        rest = np.zeros((0, 0))
        if len(front.others):
            above = inverses[int(front.others[0])]
            rest = above[np.ix_(front.in_parent, front.in_parent)]
        across = -front.gain @ rest
        own = front.inverse - across @ front.gain.T
        own = 0.5 * (own + own.T)
        inverses[front.node] = np.block([[own, across], [across.T, rest]])
        result[front.node] = own
    scales = scale.reshape(-1, side)
    return result * scales[:, :, None] * scales[:, None, :]


@dataclass
class _Front:
    """A node and the neighbours it has left when it is eliminated, the next of them to go (its parent) first."""

    node: int
    others: Int[np.ndarray, " others"]
    in_parent: Int[np.ndarray, " rows"]
    """Rows of the others in their parent's front."""
    inverse: Float[np.ndarray, "side side"]
    """Of the node's block."""
    gain: Float[np.ndarray, "side rows"]
    """That inverse times the blocks towards the others."""


def _eliminated(blocks: sparse.bsr_array, side: int) -> list[_Front]:
    """The fronts of all nodes, in the order in which they go."""
    structure = _elimination(blocks)
    place = {node: index for index, node in enumerate(structure)}
    pending: dict[int, list[tuple[Int[np.ndarray, " rows"], Float[np.ndarray, "rows rows"]]]] = {}
    members = {node: [node, *sorted(others, key=place.__getitem__)] for node, others in structure.items()}
    fronts = []
    for node, names in members.items():
        local = {name: index for index, name in enumerate(names)}
        matrix = np.zeros((side * len(names), side * len(names)))
        for entry in range(blocks.indptr[node], blocks.indptr[node + 1]):
            at = local.get(int(blocks.indices[entry]))
            if at is not None:
                matrix[:side, at * side : (at + 1) * side] = blocks.data[entry]
                matrix[at * side : (at + 1) * side, :side] = blocks.data[entry].T
        for rows, update in pending.pop(node, []):
            matrix[np.ix_(rows, rows)] += update
        # By triangular factors, not by the block's inverse, which loses digits when the block is nearly singular.
        root = solve_triangular(np.linalg.cholesky(matrix[:side, :side]), np.eye(side), lower=True)
        half = root @ matrix[:side, side:]
        rows = np.zeros(0, dtype=np.intp)
        if len(names) > 1:
            above = {name: index for index, name in enumerate(members[names[1]])}
            rows = (side * np.array([above[name] for name in names[1:]])[:, None] + np.arange(side)).ravel()
            update = matrix[side:, side:] - half.T @ half
            pending.setdefault(names[1], []).append((rows, update))
        fronts.append(_Front(node, np.array(names[1:], dtype=np.intp), rows, root.T @ root, root.T @ half))
    return fronts


def _elimination(blocks: sparse.bsr_array) -> dict[int, set[int]]:
    """Nodes in the order of elimination (fewest neighbours first), and the neighbours that each has left then."""
    pairs = zip(blocks.indptr[:-1], blocks.indptr[1:], strict=True)
    neighbours = [set(blocks.indices[low:high].tolist()) - {node} for node, (low, high) in enumerate(pairs)]
    queue = [(len(near), node) for node, near in enumerate(neighbours)]
    heapq.heapify(queue)
    structure: dict[int, set[int]] = {}
    while queue:
        degree, node = heapq.heappop(queue)
        if node in structure or degree != len(neighbours[node]):
            continue
        structure[node] = neighbours[node]
        for other in structure[node]:
            neighbours[other] = (neighbours[other] | structure[node]) - {other, node}
            heapq.heappush(queue, (len(neighbours[other]), other))
    return structure
