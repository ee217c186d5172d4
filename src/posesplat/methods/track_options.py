"""How a video is tracked."""

from __future__ import annotations

from dataclasses import dataclass, field

from posesplat.align.point_tracker import TrackerOptions
from posesplat.align.small_motion_search import SearchOptions
from posesplat.align.tracks import CornerOptions
from posesplat.methods.track_disocclusion import DisocclusionOptions
from posesplat.methods.track_loops import LoopOptions
from posesplat.methods.track_scene import SceneOptions
from posesplat.methods.track_segment import TrustRule


@dataclass(frozen=True)
class TrackOptions:
    """How a video is tracked."""

    corners: CornerOptions = field(default_factory=CornerOptions)
    """Which points are followed."""
    tracker: TrackerOptions = field(default_factory=TrackerOptions)
    """How points are followed."""
    search: SearchOptions = field(default_factory=SearchOptions)
    """How a segment's motion is looked for."""
    rule: TrustRule = field(default_factory=TrustRule)
    """When a translation is believed."""
    scene: SceneOptions | None = field(default_factory=SceneOptions)
    """How poses are refined against the Gaussians of their reference; None leaves them as the points tell."""
    disocclusion: DisocclusionOptions | None = None
    """Which later frames add Gaussians for what a reference does not see, to what ``Tracker.gaussians`` gives; none."""
    loops: LoopOptions | None = field(default_factory=LoopOptions)
    """When an earlier reference counts as seen again; None looks for none."""
    causal: bool = False
    """Each frame's pose follows from the frames up to it alone, as a live camera needs it; no scene, no loops."""
    min_survivors: float = 0.18
    """A segment ends when fewer than this share of its reference's points are found."""
    min_points: int = 40
    """A frame needs at least this many points."""
    max_segment_frames: int = 60
    """At most this many new frames are solved together, which bounds memory."""
    keep_reference: float = 0.5
    """After so many frames the reference stays when at least this share of its points is still found."""
    max_scenes: int = 10
    """Of how many references the Gaussians are kept, which bounds memory."""
    retained_frames: int = 8
    """Frames of a solved segment that are solved again with the next ones, while the reference stays."""

    def __post_init__(self) -> None:
        if not 0 < self.min_survivors < 1 or self.min_points < 15 or self.max_segment_frames < 1:
            raise ValueError(
                "TrackOptions needs min_survivors in (0, 1), min_points >= 15 and max_segment_frames >= 1; got "
                f"{self.min_survivors}, {self.min_points} and {self.max_segment_frames}."
            )
        if not self.min_survivors <= self.keep_reference <= 1 or self.retained_frames < 1:
            raise ValueError(
                "TrackOptions needs keep_reference between min_survivors and 1 and retained_frames >= 1; got "
                f"{self.keep_reference} and {self.retained_frames}."
            )
