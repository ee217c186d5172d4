"""The suites of ``bench track`` by name.

Clips are 30 frames of 640 x 480 pixels (fx = 525) of rooms at a median depth of 1.5 to 2.3 m, taken by a hand that
trembles, with noise of 2 grey levels and an exposure that drifts by 2 %; their true poses are exact. Every contender
gets the same frames, and the camera. ATE, RPE and delta v are those of :mod:`posesplat.evaluate.metrics` after the best
similarity, times are processor times of all threads, and structure from motion runs with one thread unless asked for
more. Rooms, views, motions and noise come from seeds that nothing was set on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from posesplat.evaluate.protocols import track_focal, track_real, track_rooms, track_speed
from posesplat.evaluate.protocols.suites import run_in_turn
from posesplat.evaluate.protocols.track_settings import TrackBench

SUITES: dict[str, Callable[[TrackBench], None]] = {
    "rooms": track_rooms.run_rooms,
    "movers": track_rooms.run_movers,
    "still": track_rooms.run_still,
    "focal": track_focal.run,
    "real": track_real.run,
    "speed": track_speed.run,
}
"""In the order in which ``all`` runs them."""


def run_track_suites(bench: TrackBench, names: Sequence[str]) -> None:
    """Run suites of ``bench track``; see :func:`posesplat.evaluate.protocols.suites.run_in_turn`."""
    run_in_turn(bench, SUITES, names, (*bench.settings.methods, *bench.settings.sequences))
