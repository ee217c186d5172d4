"""All results that are viewed together, drawn into one viser scene with a first point of view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posesplat.viewer.drawing import Amount, DrawnResult, draw_result
from posesplat.viewer.layout import Layout, first_view, overlaid, side_by_side
from posesplat.viewer.poster import FOV_DEG
from posesplat.viewer.shown import ShownResult

_NEAR_OF_DEPTH, _FAR_OF_DEPTH = 2e-3, 200.0


@dataclass
class Stage:
    """The drawn results and the server that shows them."""

    server: Any
    drawn: list[DrawnResult]
    amount: Amount

    @staticmethod
    def set(server: Any, results: Sequence[ShownResult], amount: Amount, overlay: bool = False) -> Stage:
        """Draw results into a server's scene.

        Args:
            server: of viser, with an empty scene.
            results: what is drawn.
            amount: how much of each.
            overlay: all worlds in one place instead of side by side.

        Raises:
            ValueError: when there is nothing to show.
        """
        if not results:
            raise ValueError("There is nothing to view; pass at least one output folder or splat PLY.")
        layouts = [Layout.of(result) for result in results]
        places = overlaid(layouts) if overlay else side_by_side(layouts)
        server.scene.set_up_direction(layouts[0].up)
        eye, target = first_view(layouts, places)
        depth = max(layout.depth for layout in layouts)
        camera = server.initial_camera
        camera.position, camera.look_at, camera.up = eye, target, layouts[0].up
        camera.fov, camera.near, camera.far = np.radians(FOV_DEG), _NEAR_OF_DEPTH * depth, _FAR_OF_DEPTH * depth
        drawn = [
            draw_result(server.scene, result, layout, moved, number, amount)
            for number, (result, layout, moved) in enumerate(zip(results, layouts, places, strict=True))
        ]
        return Stage(server, drawn, amount)
