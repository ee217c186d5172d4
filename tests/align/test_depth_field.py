"""Fields of inverse depth against dense linear algebra and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from posesplat.align.depth_field import Links, links_of, scattered_field, smoothed_field


def random_problem(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray, Links]:
    rng = np.random.default_rng(seed)
    information = rng.uniform(0.1, 3.0, (height, width)).astype(np.float32)
    target = rng.uniform(0.5, 2.0, (height, width)).astype(np.float32)
    across = rng.uniform(0.0, 5.0, (height, width - 1)).astype(np.float32)
    down = rng.uniform(0.0, 5.0, (height - 1, width)).astype(np.float32)
    return information, target, Links(across, down)


def test_smoothing_solves_the_normal_equations_of_its_cost() -> None:
    height, width = 6, 7
    information, target, links = random_problem(height, width, 0)
    index = np.arange(height * width).reshape(height, width)
    matrix = np.diag(information.ravel().astype(float))
    pairs = [(index[:, :-1], index[:, 1:], links.across), (index[:-1], index[1:], links.down)]
    for first, second, strength in pairs:
        for i, j, held in zip(first.ravel(), second.ravel(), strength.ravel(), strict=True):
            matrix[[i, j], [i, j]] += held
            matrix[[i, j], [j, i]] -= held
    expected = np.linalg.solve(matrix, (information * target).ravel()).reshape(height, width)
    found = smoothed_field(information, target, links, np.ones_like(target), 60)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_a_slanted_plane_is_continued_into_what_is_not_known() -> None:
    rows, columns = np.mgrid[0:20, 0:30].astype(np.float32)
    plane = 1.0 + 0.01 * columns - 0.02 * rows
    information = np.zeros_like(plane)
    information[[0, -1]] = information[:, 0] = information[:, -1] = 1e4
    links = Links(np.ones((20, 29), np.float32), np.ones((19, 30), np.float32))
    found = smoothed_field(information, plane, links, np.full_like(plane, 1.2), 200)
    np.testing.assert_allclose(found, plane, atol=1e-3)


def test_links_give_way_at_steps_of_the_image_and_of_the_field() -> None:
    image = np.zeros((2, 4), np.float32)
    image[:, 2:] = 30.0
    field = np.ones((2, 4), np.float32)
    field[1] = 1.02
    links = links_of(image, field, 8.0, image_step=15.0, largest_ratio=0.02)
    np.testing.assert_allclose(links.across, 8.0 * np.array([[1.0, np.exp(-2.0), 1.0]] * 2), rtol=1e-5)
    np.testing.assert_allclose(links.down, 4.0, rtol=1e-4)


def test_scattered_points_of_a_plane_give_the_plane_and_the_nearest_value_beyond() -> None:
    pixels = np.array([[2.0, 2.0], [18.0, 2.0], [2.0, 14.0], [18.0, 14.0]])
    values = 1.0 + 0.03 * pixels[:, 0] + 0.05 * pixels[:, 1]
    field = scattered_field(pixels, values, 16, 20)
    assert field.dtype == np.float32
    np.testing.assert_allclose(field[7, 9], 1.0 + 0.03 * 9.5 + 0.05 * 7.5, rtol=1e-6)
    np.testing.assert_allclose(field[0, 0], values[0], rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_points_that_span_no_area_give_the_nearest_value(count: int) -> None:
    pixels = np.column_stack([np.linspace(2, 18, count), np.full(count, 5.0)])
    field = scattered_field(pixels, np.arange(count) + 1.0, 10, 20)
    assert field[9, 2] == 1.0
    assert field[0, 19] == count


def test_no_points_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        scattered_field(np.zeros((0, 2)), np.zeros(0), 4, 4)
