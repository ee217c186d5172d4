"""Descriptors and soft matches: pictures moved by known amounts, and homographies against OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from posesplat.learned.matching import (
    Descriptors,
    cell_places,
    random_homographies,
    soft_matches,
    transferred,
    warp_loss,
)


def test_matches_of_a_shifted_table_lie_at_the_shift_and_edges_are_not_trusted() -> None:
    rows, columns, shift = 8, 10, 3
    noise = torch.randn(rows, columns + shift, 32, generator=torch.Generator().manual_seed(0))
    features = torch.nn.functional.normalize(noise, dim=-1)
    first, second = features[:, :columns].flatten(0, 1), features[:, shift:].flatten(0, 1)
    to_first, from_first = soft_matches(40 * (second @ first.T), rows, columns, 4 * rows, 4 * columns)
    own = cell_places(rows, columns, torch.device("cpu"))
    inside = own[:, 0] < (columns - shift) / columns
    assert torch.allclose(to_first.places[inside], (own + torch.tensor([shift / columns, 0.0]))[inside], atol=1e-2)
    assert float(to_first.weights[inside].min()) > 0.9
    assert float(to_first.weights[~inside].mean()) < 0.2
    seen = own[:, 0] > shift / columns
    assert torch.allclose(from_first.places[seen], (own - torch.tensor([shift / columns, 0.0]))[seen], atol=1e-2)


def test_homographies_carry_places_as_opencv_does() -> None:
    homographies = random_homographies(4, torch.device("cpu"), torch.Generator().manual_seed(1))
    places = cell_places(5, 6, torch.device("cpu"))
    for homography, found in zip(homographies, transferred(homographies, places), strict=True):
        expected = cv2.perspectiveTransform(places.double().numpy()[None], homography.double().numpy())[0]
        assert np.allclose(found, expected, atol=1e-4)


def test_learning_from_warps_alone_finds_where_a_picture_was_moved_to() -> None:
    """Untrained descriptors do not find an unseen picture's parts after a warp; 60 steps on other pictures teach it."""
    torch.manual_seed(0)
    descriptors = Descriptors(16)
    generator = torch.Generator().manual_seed(2)

    def pictures(count: int) -> torch.Tensor:
        coarse = torch.rand(count, 3, 12, 12, generator=generator)
        fine = torch.rand(count, 3, 24, 24, generator=generator)
        sizes = [torch.nn.functional.interpolate(part, (48, 48), mode="bicubic") for part in (coarse, fine)]
        return (sizes[0] + 0.5 * sizes[1]) * 2 - 1.5

    held = pictures(4)
    homography = np.array([[1.1, 0.25, -7.0], [-0.2, 0.95, 4.0], [0.002, 0.001, 1.0]])  # pixels, corner-based
    shift = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    opencv = np.linalg.inv(shift) @ homography @ shift
    images = [cv2.warpPerspective(part.numpy().transpose(1, 2, 0), opencv, (48, 48)) for part in held]
    warped = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2))
    own = cell_places(12, 12, torch.device("cpu")).double().numpy() * 48
    there = cv2.perspectiveTransform(own[None], homography)[0]
    inside = ((there > 2) & (there < 46)).all(1)

    def share_found() -> float:
        with torch.no_grad():
            found = descriptors(torch.cat([held, warped]))
            _, matches = soft_matches(descriptors.logits(found[4:], found[:4]), 12, 12, 48, 48)
        error = np.linalg.norm(matches.places.numpy() * 48 - there, axis=-1)[:, inside]
        return float((error < 2).mean())

    before = share_found()
    optimiser = torch.optim.AdamW(descriptors.parameters(), lr=3e-3)
    for _ in range(60):
        loss = warp_loss(descriptors, pictures(4), generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert before < 0.03  # by chance: a circle of 2 pixels in 48 x 48 is half a percent
    assert share_found() > 0.07
