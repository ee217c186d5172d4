"""What a tracked video is continued from after an interruption: a file of arrays."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.point_tracker import TrackerState
from posesplat.files import whole_file
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.track_anchor import Anchor, Member

_FORMAT = 1


@dataclass(frozen=True)
class TrackState:
    """The state between two segments."""

    setting: str
    """Camera and options, which must be the same when the video is continued."""
    done: Trajectory
    """The frames that are done; the video goes on with the one after them."""
    anchor: Anchor
    """The reference of the next segment."""
    members: tuple[Member, ...]
    """Frames of the last segment that help with the next one."""
    tracker: TrackerState
    """Where the reference's points were last seen."""
    world: Scale | None
    """The unit of the world; None while nothing has set it."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state whole or not at all."""
        frames = [
            {"name": name, "timestamp": float(time), **estimate.to_json()}
            for name, time, estimate in zip(self.done.names, self.done.timestamps, self.done, strict=True)
        ]
        world = None if self.world is None else [self.world.metric, self.world.source]
        text = json.dumps({"format": _FORMAT, "setting": self.setting, "frames": frames, "world": world})
        arrays: dict[str, Any] = {"text": np.array(text)}
        arrays |= {f"tracker_{name}": value for name, value in vars(self.tracker).items()}
        arrays |= _anchor_arrays(self.anchor) | _member_arrays(self.members)
        for name, frame in _frames(self.anchor, self.members).items():
            arrays |= _frame_arrays(name, frame)
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @staticmethod
    def load(path: str | os.PathLike[str], camera: Camera) -> TrackState:
        """Read what :meth:`save` wrote, of a video by ``camera``.

        Raises:
            FileNotFoundError: when there is no such file.
            ValueError: when it is damaged or of another version.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"Expected the state of an interrupted run at {path}; there is none. Leave --resume out to start anew."
            )
        try:
            with np.load(path, allow_pickle=False) as file:
                return _state(dict(file), camera)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ValueError(
                f"Expected the state of an interrupted run in {path}; it cannot be read ({error}). Remove it and start "
                "anew."
            ) from error


def _state(arrays: dict[str, np.ndarray], camera: Camera) -> TrackState:
    record = json.loads(str(arrays["text"]))
    if record["format"] != _FORMAT:
        raise ValueError(f"format {record['format']} instead of {_FORMAT}")
    frames = record["frames"]
    done = Trajectory(
        tuple(PoseEstimate.from_json(frame) for frame in frames),
        np.array([frame["timestamp"] for frame in frames]),
        tuple(frame["name"] for frame in frames),
    )
    anchor = Anchor(
        int(arrays["anchor_index"]),
        RigidTransform.from_matrix(arrays["anchor_pose"]),
        arrays["anchor_covariance"],
        arrays["anchor_normalised"],
        arrays["anchor_points"],
        arrays["anchor_inverse_depths"],
        _frame("anchor_frame", arrays, camera),
    )
    members = tuple(
        Member(int(index), normalised, pixels, seen, given=True, frame=_frame(f"member_frame_{place}", arrays, camera))
        for place, (index, normalised, pixels, seen) in enumerate(
            zip(
                arrays["member_index"],
                arrays["member_normalised"],
                arrays["member_pixels"],
                arrays["member_seen"],
                strict=True,
            )
        )
    )
    tracker = TrackerState(**{name: arrays[f"tracker_{name}"] for name in TrackerState.__dataclass_fields__})
    return TrackState(
        record["setting"], done, anchor, members, tracker, None if record["world"] is None else Scale(*record["world"])
    )


def _frames(anchor: Anchor, members: Sequence[Member]) -> dict[str, Frame | None]:
    return {"anchor_frame": anchor.frame} | {f"member_frame_{i}": member.frame for i, member in enumerate(members)}


def _frame_arrays(name: str, frame: Frame | None) -> dict[str, np.ndarray]:
    if frame is None:
        return {}
    arrays = {f"{name}_label": np.array(frame.name), f"{name}_time": np.array(frame.timestamp)}
    images = {f"{name}_image": frame.image, f"{name}_depth": frame.depth}
    return arrays | {key: image for key, image in images.items() if image is not None}


def _frame(name: str, arrays: dict[str, np.ndarray], camera: Camera) -> Frame | None:
    if f"{name}_label" not in arrays:
        return None
    image, depth = arrays.get(f"{name}_image"), arrays.get(f"{name}_depth")
    return Frame(camera, image, depth, str(arrays[f"{name}_label"]), float(arrays[f"{name}_time"]))


def _anchor_arrays(anchor: Anchor) -> dict[str, np.ndarray]:
    return {
        "anchor_index": np.array(anchor.index),
        "anchor_pose": anchor.cam_from_world.as_matrix(),
        "anchor_covariance": anchor.covariance,
        "anchor_normalised": anchor.normalised,
        "anchor_points": anchor.points,
        "anchor_inverse_depths": anchor.inverse_depths,
    }


def _member_arrays(members: Sequence[Member]) -> dict[str, np.ndarray]:
    return {
        "member_index": np.array([member.index for member in members], dtype=np.int64),
        "member_normalised": np.array([member.normalised for member in members], dtype=np.uint8),
        "member_pixels": np.array([member.pixels for member in members], dtype=np.float64),
        "member_seen": np.array([member.seen for member in members], dtype=bool),
    }
