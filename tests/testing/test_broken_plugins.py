"""Each check fails for a plug-in that breaks just what it asks for, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat import testing
from posesplat.geometry.depth_map import DepthMap
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.geometry.trajectory import Trajectory
from posesplat.providers.multi_view.provider import PosedSubset
from posesplat.testing.check import Check
from posesplat.testing.multi_view import PosedViews


def by_name(checks: tuple[Check, ...], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def expect(checks: tuple[Check, ...], name: str, broken: Any, sound: Any, words: str) -> None:
    """The check passes for the sound plug-in and fails, with these words, for the broken one."""
    check = by_name(checks, name)
    check(sound)
    with pytest.raises(AssertionError, match=words) as caught:
        check(broken)
    assert str(caught.value).startswith(f"{name}: ") and check.demands in str(caught.value)


def counted() -> Callable[[], int]:
    """How often it was called before."""
    calls = iter(range(10**6))
    return lambda: next(calls)


class Measured:
    """A sound source of depth: the frame's own."""

    name, meaning, source = "measured", "metric", "depth sensor"

    def depth(self, frame: Frame) -> DepthMap:
        if frame.depth is None:
            raise ValueError(f"Depth is measured, and {frame.name!r} has none. Pass RGB-D frames.")
        return DepthMap.of(frame.depth.copy(), self.meaning)


class Nameless(Measured):
    name = " "


class Transposed(Measured):
    def depth(self, frame: Frame) -> DepthMap:
        found = super().depth(frame)
        return DepthMap(found.values.T, found.meaning, found.known.T)


class Aliased(Measured):
    def depth(self, frame: Frame) -> DepthMap:
        super().depth(frame)
        assert frame.depth is not None
        return DepthMap(frame.depth, "metric", frame.depth > 0)


class Restless(Measured):
    calls = staticmethod(counted())

    def depth(self, frame: Frame) -> DepthMap:
        return DepthMap.of(super().depth(frame).values * np.float32(1 + 0.01 * self.calls()), "metric")


class Smoothing(Measured):
    """Remembers the frame before."""

    def __init__(self) -> None:
        self.before: np.ndarray | None = None

    def depth(self, frame: Frame) -> DepthMap:
        values = super().depth(frame).values
        before, self.before = self.before, values
        same = before is None or before.shape != values.shape
        return DepthMap.of(values if same else (values + before) / 2, "metric")


class Clamped(Measured):
    """Takes all depths beyond 3 m for 3 m."""

    def depth(self, frame: Frame) -> DepthMap:
        return DepthMap.of(np.minimum(super().depth(frame).values, 3.0), "metric")


class Inventing(Measured):
    def depth(self, frame: Frame) -> DepthMap:
        values = np.full((frame.camera.height, frame.camera.width), 2.0) if frame.depth is None else frame.depth.copy()
        return DepthMap.of(values, "metric")


class Greedy(Measured):
    """Works where a GPU is visible, and nowhere else."""

    def depth(self, frame: Frame) -> DepthMap:
        import os

        if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
            raise RuntimeError("No CUDA GPUs are available")
        return super().depth(frame)


class Millimetres(Measured):
    def depth(self, frame: Frame) -> DepthMap:
        return DepthMap.of(super().depth(frame).values * np.float32(1000), "metric")


class Reversed(Measured):
    """Depth where inverse depth is declared."""

    meaning = "affine"


@pytest.mark.parametrize(
    ("name", "broken", "words"),
    [
        ("members", Nameless, "name: expected words for results"),
        ("members", object, "expected the members name, meaning, source and depth"),
        ("grid", Transposed, r"float32 of shape \(120, 160\); got float32 of shape \(160, 120\)"),
        ("inputs_unchanged", Aliased, "left as it was given; got .* values changed"),
        ("deterministic", Restless, "depth asked for again"),
        ("equivariant_to_order", Smoothing, "frames in reverse order"),
        ("equivariant_to_length", Clamped, "metres, with all lengths doubled"),
        ("degenerate_input", Inventing, "without depth, which was not refused"),
        ("works_on_cpu", Greedy, "got RuntimeError: No CUDA GPUs"),
        ("meaning_held", Millimetres, "does not look like metres"),
        ("meaning_held", Reversed, "being affine: expected a median relative error of at most 0.01; got 1"),
    ],
)
def test_depth_checks(name: str, broken: Callable, words: str) -> None:
    frames = testing.sample_frames()
    sound = testing.DepthTrial(Measured, frames, tolerance=0.01)
    expect(testing.DEPTH_CHECKS, name, replace(sound, make=broken), sound, words)


class Grey:
    """A sound source of features."""

    name, channels = "grey", 1

    def fit(self, images: Any) -> None:
        self.mean = np.float32(np.mean([image.mean() for image in images]))

    def features(self, image: np.ndarray) -> np.ndarray:
        return image.mean(axis=2, keepdims=True).astype(np.float32) - self.mean


class Halved(Grey):
    def features(self, image: np.ndarray) -> np.ndarray:
        return super().features(image)[::2, ::2]


class TwoPasses(Grey):
    def fit(self, images: Any) -> None:
        self.spread = np.std([image.std() for image in images])
        self.mean = np.float32(np.sum([image.mean() for image in images]))


class InPlace(Grey):
    def features(self, image: np.ndarray) -> np.ndarray:
        image //= 2
        return super().features(image)


class Random(Grey):
    calls = staticmethod(counted())

    def features(self, image: np.ndarray) -> np.ndarray:
        return super().features(image) + np.float32(self.calls())


class ByFirst(Grey):
    def fit(self, images: Any) -> None:
        self.mean = np.float32(next(iter(images)).mean())


class Contrast(Grey):
    """Divides by nothing where an image is blank."""

    def features(self, image: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return super().features(image) / np.float32(image.std())


class Listed(Grey):
    def features(self, image: np.ndarray) -> Any:
        return super().features(image).tolist()


class Constant(Grey):
    def features(self, image: np.ndarray) -> np.ndarray:
        return np.ones((*image.shape[:2], 1), np.float32)


@pytest.mark.parametrize(
    ("name", "broken", "words"),
    [
        ("members", type("NoChannels", (Grey,), {"channels": 0}), "channels: expected 1 or more; got 0"),
        ("grid", Halved, r"expected float32 of shape \(120, 160, 1\)"),
        ("fits_any_iterable", TwoPasses, r"features after fit\(generator\)"),
        ("inputs_unchanged", InPlace, "images, array 0: expected left as it was given"),
        ("deterministic", Random, "features asked for again"),
        ("equivariant_to_order", ByFirst, "clip in reverse order"),
        ("degenerate_input", Contrast, "expected finite numbers; got NaN or infinity"),
        ("works_on_cpu", Listed, "a NumPy array; got builtins.list"),
        ("meaning_held", Constant, "different numbers; got the same"),
    ],
)
def test_feature_checks(name: str, broken: Callable, words: str) -> None:
    sound = testing.FeatureTrial(Grey)
    expect(testing.FEATURE_CHECKS, name, replace(sound, make=broken), sound, words)


class LeftHalf:
    """A sound source of masks: the left half may be used."""

    name = "left"

    def mask(self, frame: Frame) -> np.ndarray:
        mask = np.zeros((frame.camera.height, frame.camera.width), bool)
        mask[:, : frame.camera.width // 2] = True
        return mask


class MaskOf(LeftHalf):
    """Changes the sound mask, or what it came from, by a function of (mask, frame, calls before)."""

    def __init__(self, change: Callable[[np.ndarray, Frame, int], Any]) -> None:
        self.change, self.calls = change, 0

    def mask(self, frame: Frame) -> np.ndarray:
        self.calls += 1
        return self.change(super().mask(frame), frame, self.calls - 1)


def painted(mask: np.ndarray, frame: Frame, _: int) -> np.ndarray:
    frame.image[0] = 0
    return mask


def unknown_refused_badly(mask: np.ndarray, frame: Frame, _: int) -> np.ndarray:
    return {f"view-{index}.png": mask for index in range(3)}[frame.name]


def needs_gpu(mask: np.ndarray, *_: Any) -> np.ndarray:
    return Greedy().depth(testing.sample_frames()[0]) and mask


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("members", None, "the members name and mask"),
        ("grid", lambda mask, *_: mask.astype(np.uint8), "expected bool of shape"),
        ("inputs_unchanged", painted, "expected left as it was given"),
        ("deterministic", lambda mask, _, calls: mask if calls == 0 else ~mask, "mask asked for again"),
        ("equivariant_to_order", lambda mask, _, calls: np.roll(mask, calls, axis=1), "frames in reverse order"),
        ("degenerate_input", unknown_refused_badly, "got KeyError"),
        ("works_on_cpu", needs_gpu, "No CUDA GPUs"),
        ("meaning_held", lambda mask, *_: ~mask, "They agree when inverted"),
    ],
)
def test_mask_checks(name: str, change: Any, words: str) -> None:
    frames = testing.sample_frames()
    usable = [LeftHalf().mask(frame) for frame in frames]
    broken = testing.MaskTrial(object if change is None else lambda: MaskOf(change), frames, usable)
    expect(testing.MASK_CHECKS, name, broken, testing.MaskTrial(LeftHalf, frames, usable), words)


class Known:
    """A sound matcher for views of the sample pair: it knows where things are by their depth."""

    name = "known"
    offset = 0.0

    def matches(self, a: Frame, b: Frame) -> Matches:
        if a.image is None or a.depth is None:
            raise ValueError(f"Known matches need RGB-D frames; {a.name!r} is not. Pass RGB-D frames.")
        if a.image.std() == 0:
            return Matches.none()
        pair = testing.sample_pair()
        move = RigidTransform.identity() if a.name == b.name else pair.b_from_a
        if a.name != pair.a.name:
            move = move.inv()
        rows, columns = (grid.ravel() for grid in np.mgrid[10:110:10, 30:150:10])
        pixels = np.column_stack([columns, rows]) + 0.5
        camera, other = a.camera, b.camera
        rays = np.column_stack([(pixels - [camera.cx, camera.cy]) / [camera.fx, camera.fy], np.ones(len(pixels))])
        in_b = move.apply(rays * a.depth[rows, columns, None])
        there = in_b[:, :2] / in_b[:, 2:] * [other.fx, other.fy] + [other.cx, other.cy]
        inside = ((there > 0) & (there < [other.width, other.height])).all(axis=1)
        found = Matches(pixels, there + self.offset, np.ones(len(pixels)))
        return found.select(inside)


class MatchesOf(Known):
    """Changes the sound matches by a function of (matches, a, b, calls before)."""

    def __init__(self, change: Callable[[Matches, Frame, Frame, int], Any]) -> None:
        self.change, self.calls = change, 0

    def matches(self, a: Frame, b: Frame) -> Matches:
        self.calls += 1
        return self.change(super().matches(a, b), a, b, self.calls - 1)


def shifted(found: Matches, by: float) -> Matches:
    return Matches(found.pixels_a, found.pixels_b + by, found.scores)


def spoilt(found: Matches, a: Frame, *_: Any) -> Matches:
    a.image[0] = 0
    return found


def whole_numbers(found: Matches, a: Frame, b: Frame, _: int) -> Matches:
    return Matches(found.pixels_a - 0.5, found.pixels_b - 0.5, found.scores)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("members", None, "the members name and matches"),
        ("inside", lambda found, *_: shifted(found, 100.0), r"places inside 160 x 120; got \d+ outside"),
        ("inputs_unchanged", spoilt, "expected left as it was given"),
        ("deterministic", lambda found, a, b, calls: shifted(found, 0.1 * calls), "matches asked for again"),
        (
            "equivariant_to_order",
            lambda found, a, b, calls: found if calls != 2 else Matches.none(),
            "after other pairs",
        ),
        ("equivariant_to_size", whole_numbers, r"pixel centres being at 0.5; got \(-0.50, -0.50\)"),
        ("degenerate_input", "blank", "matches of blank images: expected fewer than 8; got 20"),
        ("works_on_cpu", needs_gpu, "No CUDA GPUs"),
        ("meaning_held", lambda found, *_: found.swapped(), "at most 1.5 px"),
    ],
)
def test_two_view_checks(name: str, change: Any, words: str) -> None:
    class Always(Known):
        def matches(self, a: Frame, b: Frame) -> Matches:
            found = super().matches(a, b)
            return found if len(found) else Matches(np.ones((20, 2)), np.ones((20, 2)), np.ones(20))

    make = {None: object, "blank": Always}.get(change, lambda: MatchesOf(change))
    expect(testing.TWO_VIEW_CHECKS, name, testing.TwoViewTrial(make), testing.TwoViewTrial(Known), words)


VIEWS, POSES = testing.sample_views(4, 32, 24, 28.0, (0.4, 0.05, 0.1))


def true_poses(subset: Any) -> list[PoseEstimate]:
    return [PoseEstimate(True, "", POSES[index] * POSES[subset[0]].inv()) for index in subset]


def is_view(frame: Frame) -> bool:
    return bool(np.array_equal(frame.image, VIEWS[int(frame.name[5])].image))


class Oracle:
    """A sound source of poses: it knows the sample views."""

    name = "oracle"

    def pose_subsets(self, frames: Any, subsets: Any, on_done: Any = None) -> list[PosedSubset]:
        answers = []
        for subset in subsets:
            if len(set(subset)) < 2 or any(frames[index].image is None for index in subset):
                raise ValueError("A subset needs two different images at least. Pass images.")
            found = [
                one if is_view(frames[index]) else PoseEstimate.failure("It shows nothing known.")
                for index, one in zip(subset, true_poses(subset), strict=True)
            ]
            names = tuple(frames[index].name for index in subset)
            observed = tuple(one.success for one in found)
            answers.append(PosedSubset(Trajectory(tuple(found), np.arange(float(len(subset))), names), observed))
            if on_done is not None:
                on_done()
        return answers


class PosesOf(Oracle):
    """Changes the sound poses by a function of (pose, place in the subset, frames, calls before)."""

    def __init__(self, change: Callable[[PoseEstimate, int, Any, int], PoseEstimate]) -> None:
        self.change, self.calls = change, 0

    def pose_subsets(self, frames: Any, subsets: Any, on_done: Any = None) -> list[PosedSubset]:
        found = super().pose_subsets(frames, subsets, on_done)
        self.calls += 1
        return [
            replace(
                one,
                trajectory=Trajectory(
                    tuple(self.change(each, k, frames, self.calls - 1) for k, each in enumerate(one.trajectory)),
                    one.trajectory.timestamps,
                    one.trajectory.names,
                ),
            )
            for one in found
        ]


class Silent(Oracle):
    def pose_subsets(self, frames: Any, subsets: Any, on_done: Any = None) -> list[PosedSubset]:
        return super().pose_subsets(frames, subsets)


class Trusting(Oracle):
    """Poses whatever it is shown, by the file names."""

    def pose_subsets(self, frames: Any, subsets: Any, on_done: Any = None) -> list[PosedSubset]:
        super().pose_subsets(frames, subsets)
        return super().pose_subsets(VIEWS, subsets, on_done)


class Wiping(Oracle):
    def pose_subsets(self, frames: Any, subsets: Any, on_done: Any = None) -> list[PosedSubset]:
        found = super().pose_subsets(frames, subsets, on_done)
        frames[0].depth[:] = 0
        return found


def changed(estimate: PoseEstimate, change: Callable[[RigidTransform], RigidTransform]) -> PoseEstimate:
    pose = estimate.cam_from_world
    return estimate if pose is None else estimate.replace(cam_from_world=change(pose))


def longer(pose: RigidTransform, by: float) -> RigidTransform:
    return RigidTransform.from_components(by * pose.translation, pose.rotation)


@pytest.mark.parametrize(
    ("name", "broken", "words"),
    [
        ("members", object, "the members name and pose_subsets"),
        ("contract", Silent, "calls of on_done: expected one for each subset; got 0"),
        ("inputs_unchanged", Wiping, "expected left as it was given"),
        (
            "deterministic",
            lambda one, k, _, calls: changed(one, lambda pose: longer(pose, 1 + calls)),
            "asked for again",
        ),
        (
            "equivariant_to_order",
            lambda one, k, frames, _: changed(one, lambda pose: POSES[1] * POSES[0].inv() if k == 1 else pose),
            "with another image first",
        ),
        (
            "equivariant_to_length",
            lambda one, k, frames, _: changed(one, lambda pose: longer(pose, float(frames[0].depth.mean()))),
            "up to scale, with all depths doubled",
        ),
        ("degenerate_input", Trusting, "an image that is blank: expected a failure with its reason; got a pose"),
        ("works_on_cpu", lambda one, *_: needs_gpu(one), "No CUDA GPUs"),
        ("meaning_held", lambda one, *_: changed(one, lambda pose: pose.inv()), "the true one within 1 deg; got"),
    ],
)
def test_multi_view_checks(name: str, broken: Any, words: str) -> None:
    views = PosedViews(VIEWS, POSES)
    make = broken if isinstance(broken, type) else lambda: PosesOf(broken)
    expect(
        testing.MULTI_VIEW_CHECKS,
        name,
        testing.MultiViewTrial(make, views),
        testing.MultiViewTrial(Oracle, views),
        words,
    )
