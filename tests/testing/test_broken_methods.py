"""Each check of in-between frames, methods, renderers and exporters fails for what breaks just that."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform
from test_broken_plugins import changed, expect, longer

from posesplat import testing
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.formats import FORMATS, TrajectoryFormat
from posesplat.providers.inbetween.provider import ClipRequest
from posesplat.render.cpu import CpuRenderer


def needs_gpu(answer: Any) -> Any:
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        raise RuntimeError("No CUDA GPUs are available")
    return answer


class Fade:
    """A sound source of in-between frames: it fades one image into the other."""

    name, stored_clips, usd_per_clip = "fade", 2, 0.0

    def identity(self) -> dict[str, Any]:
        return {"provider": "fade"}

    def frames(self, request: ClipRequest) -> list[np.ndarray]:
        if request.number >= self.stored_clips:
            raise ValueError(f"There are {self.stored_clips} clips; got number {request.number}.")
        first, last = request.first.astype(float), request.last.astype(float)
        return [np.rint(first + t * (last - first)).astype(np.uint8) for t in (0.25, 0.5, 0.75)]


class FadeOf(Fade):
    """Changes the sound clip by a function of (frames, request, calls before)."""

    def __init__(self, change: Callable[[list[np.ndarray], ClipRequest, int], Any]) -> None:
        self.change, self.calls = change, 0

    def frames(self, request: ClipRequest) -> list[np.ndarray]:
        self.calls += 1
        return self.change(super().frames(request), request, self.calls - 1)


class Unnamed(Fade):
    def identity(self) -> dict[str, Any]:
        return {"made": object()}


class Endless(Fade):
    def frames(self, request: ClipRequest) -> list[np.ndarray]:
        return super().frames(replace(request, number=0))


def erased(found: list[np.ndarray], request: ClipRequest, _: int) -> list[np.ndarray]:
    request.first[:] = 0
    return found


@pytest.mark.parametrize(
    ("name", "broken", "words"),
    [
        ("members", Unnamed, "identity.*: expected what JSON can hold"),
        ("grid", lambda found, *_: [frame / 255 for frame in found], "expected uint8 of shape"),
        ("inputs_unchanged", erased, "first and last image, array 0: expected left as it was given"),
        ("deterministic", lambda found, _, calls: found[calls:], "the clip asked for again: expected 3 frames; got 2"),
        ("equivariant_to_order", lambda found, _, calls: found[calls:], "the clip after another one"),
        ("equivariant_to_size", lambda found, *_: [np.resize(one, (120, 160, 3)) for one in found], "half the size"),
        ("degenerate_input", Endless, "a clip beyond those that are stored: expected a ValueError"),
        ("works_on_cpu", lambda found, *_: needs_gpu(found), "No CUDA GPUs"),
        ("meaning_held", lambda found, request, _: [request.first, *found], "the first image"),
    ],
)
def test_inbetween_checks(name: str, broken: Any, words: str) -> None:
    make = broken if isinstance(broken, type) else lambda: FadeOf(broken)
    expect(testing.INBETWEEN_CHECKS, name, testing.InbetweenTrial(make), testing.InbetweenTrial(Fade), words)


CASE, TRUTH = testing.sample_case(3, 32, 24)


def oracle(case: testing.MethodCase) -> list[PoseEstimate]:
    """A sound metric method: it knows the sample case, in which world it is, and how long that is."""
    images = [frame.image.tobytes() for frame in CASE.frames]
    stretch = float(case.frames[0].depth.max() / CASE.frames[0].depth.max())
    moved = longer(CASE.map_cam_from_world[0], stretch).inv() * case.map_cam_from_world[0]
    scale = Scale(True, "depth sensor")
    return [
        PoseEstimate(True, "", longer(TRUTH[images.index(frame.image.tobytes())], stretch) * moved, scale=scale)
        if frame.image.tobytes() in images
        else PoseEstimate.failure("It shows nothing known.", scale=scale)
        for frame in case.frames
    ]


def method_of(change: Callable[[PoseEstimate, int], PoseEstimate]) -> Callable:
    """Changes the sound answers by a function of (estimate, calls before)."""
    calls = iter(range(1000))

    def method(case: testing.MethodCase) -> list[PoseEstimate]:
        call = next(calls)
        return [change(estimate, call) for estimate in oracle(case)]

    return method


def painting(case: testing.MethodCase) -> list[PoseEstimate]:
    found = oracle(case)
    case.map_frames[0].depth[:] = 0
    return found


def in_one_world(case: testing.MethodCase) -> list[PoseEstimate]:
    return oracle(replace(case, map_cam_from_world=CASE.map_cam_from_world))


def of_one_length(case: testing.MethodCase) -> list[PoseEstimate]:
    """Says metres and does not look at the depth."""
    depth = CASE.frames[0].depth
    if not np.array_equal(case.frames[0].depth, depth) and case.frames[0].depth.any():
        return [replace(one, scale=Scale(True, "map")) for one in oracle(CASE)]
    return oracle(case)


def never_refuses(case: testing.MethodCase) -> list[PoseEstimate]:
    return [each if each.success else oracle(CASE)[0] for each in oracle(case)]


@pytest.mark.parametrize(
    ("name", "method", "words"),
    [
        ("contract", method_of(lambda one, _: replace(one, covariance=-np.eye(6))), "no negative variance"),
        ("contract", method_of(lambda one, _: replace(one, scale=Scale(True, "unknown"))), "metric=True by 'unknown'"),
        ("contract", lambda case: oracle(case)[1:], "expected 3 estimates, one a frame; got 2"),
        ("inputs_unchanged", painting, "expected left as it was given"),
        (
            "deterministic",
            method_of(lambda one, call: changed(one, lambda pose: longer(pose, 1 + 1e-9 * call))),
            "pose of estimate 0, again",
        ),
        ("equivariant_to_world", in_one_world, "in a world that was moved"),
        ("equivariant_to_length", of_one_length, "in metres, in a world 1.5 times as long"),
        ("degenerate_input", never_refuses, "frames that are blank: expected a refusal with its reason; got a pose"),
        ("works_on_cpu", lambda case: needs_gpu(oracle(case)), "No CUDA GPUs"),
        ("meaning_held", method_of(lambda one, _: changed(one, lambda pose: pose.inv())), "the true one within 1 deg"),
    ],
)
def test_method_checks(name: str, method: Callable, words: str) -> None:
    broken = testing.MethodTrial(method, CASE, TRUTH, world="map")
    expect(testing.METHOD_CHECKS, name, broken, replace(broken, method=oracle), words)


def drawn(gaussians: Any, camera: Any, pose: Any) -> testing.Rendered:
    """A sound renderer of opacity and depth."""
    view = CpuRenderer(gaussians, threads=1).depth(camera, pose)
    return testing.Rendered(view.alpha, depth=view.depth)


def view_of(change: Callable[[testing.Rendered, Any, int], Any]) -> Callable:
    """Changes sound views by a function of (view, Gaussians, calls before)."""
    calls = iter(range(1000))
    return lambda gaussians, camera, pose: change(drawn(gaussians, camera, pose), gaussians, next(calls))


def dyed(view: testing.Rendered, gaussians: Any, _: int) -> testing.Rendered:
    gaussians.opacities.setflags(write=True)
    gaussians.opacities[:] = 0
    return view


def haze(view: testing.Rendered, gaussians: Any, _: int) -> testing.Rendered:
    return replace(view, alpha=np.maximum(view.alpha, np.float32(0.01)))


def scaled(view: testing.Rendered, by: float) -> testing.Rendered:
    return testing.Rendered(np.float32(by) * view.alpha, depth=view.depth)


@pytest.mark.parametrize(
    ("name", "render", "words"),
    [
        ("contract", view_of(lambda view, *_: scaled(view, 2.0)), "alpha of the view: expected 0 to 1"),
        ("inputs_unchanged", view_of(dyed), "arrays of the Gaussians, array 3"),
        ("deterministic", view_of(lambda view, _, calls: scaled(view, 1 - 1e-6 * calls)), "the view drawn again"),
        (
            "equivariant_to_world",
            view_of(lambda view, one, _: scaled(view, 1 / (1 + abs(float(one.means_in_world[0, 0]))))),
            "moved together",
        ),
        (
            "equivariant_to_length",
            view_of(lambda view, one, _: replace(view, depth=np.minimum(view.depth, 3))),
            "depth of the view of a world twice as long",
        ),
        (
            "equivariant_to_order",
            view_of(lambda view, one, _: scaled(view, float(one.opacities[0]))),
            "Gaussians in another order",
        ),
        ("degenerate_input", view_of(haze), "alpha of the view of Gaussians behind the camera: expected 0"),
        ("works_on_cpu", view_of(lambda view, *_: needs_gpu(view)), "No CUDA GPUs"),
        (
            "meaning_held",
            view_of(lambda view, *_: testing.Rendered(np.roll(view.alpha, 1, axis=1))),
            "pixel centres at 0.5",
        ),
    ],
)
def test_renderer_checks(name: str, render: Callable, words: str) -> None:
    sound = testing.RendererTrial(drawn)
    broken = testing.RendererTrial(render, testing.RendererTrial(drawn).gaussians)
    expect(testing.RENDERER_CHECKS, name, broken, sound, words)


SOUND = FORMATS["json"]


def written(change: Callable[[Trajectory, int], Trajectory]) -> TrajectoryFormat:
    """Writes a changed trajectory, by a function of it and the calls before."""
    calls = iter(range(1000))
    return replace(SOUND, write=lambda path, one, camera: SOUND.write(path, change(one, next(calls)), camera))


def poses_changed(one: Trajectory, change: Callable[[RigidTransform], RigidTransform]) -> Trajectory:
    return Trajectory(tuple(changed(each, change) for each in one), one.timestamps, one.names)


def littering(path: Path, one: Trajectory, camera: Any) -> None:
    SOUND.write(path, one, camera)
    path.with_suffix(".tmp").write_text("left over")


def forgetful(path: Path, one: Trajectory, camera: Any) -> None:
    SOUND.write(path, one, camera)
    object.__setattr__(one, "names", ("gone",) * len(one))


def filled(one: Trajectory, _: int) -> Trajectory:
    """The identity where there is no pose."""
    estimates = [each if each.success else PoseEstimate(True, "", RigidTransform.identity()) for each in one]
    return Trajectory(tuple(estimates), one.timestamps, one.names)


def half_written(path: Path, one: Trajectory, camera: Any) -> None:
    SOUND.write(path, one, camera)
    if not one.posed.all():
        raise ValueError("This format has no gaps: give every frame a pose.")


def gpu_writer(path: Path, one: Trajectory, camera: Any) -> None:
    needs_gpu(SOUND.write(path, one, camera))


def unit_length(pose: RigidTransform) -> RigidTransform:
    return longer(pose, 1 / max(float(np.linalg.norm(pose.translation)), 5.0))


@pytest.mark.parametrize(
    ("name", "broken", "words"),
    [
        ("members", replace(SOUND, default_name="../b"), "the name of a file or folder"),
        ("says_direction", replace(SOUND, summary="poses"), "cam_from_world or world_from_cam; got 'poses'"),
        ("writes_where_told", replace(SOUND, write=littering), "what lies in the folder afterwards"),
        ("inputs_unchanged", replace(SOUND, write=forgetful), "the trajectory: expected left as given"),
        (
            "deterministic",
            written(lambda one, calls: Trajectory(one.estimates, one.timestamps + calls, one.names)),
            "expected the same bytes",
        ),
        ("equivariant_to_length", written(lambda one, _: poses_changed(one, unit_length)), "3 times as long"),
        ("degenerate_input", written(filled), "a trajectory with a refusal: expected 4; got 5"),
        ("degenerate_input", replace(SOUND, write=half_written), "was refused: expected nothing"),
        ("works_on_cpu", replace(SOUND, write=gpu_writer), "No CUDA GPUs"),
        ("meaning_held", written(lambda one, _: poses_changed(one, lambda pose: pose.inv())), "cam_from_world of what"),
    ],
)
def test_exporter_checks(name: str, broken: TrajectoryFormat, words: str) -> None:
    sound = testing.ExporterTrial(lambda: SOUND)
    expect(testing.EXPORTER_CHECKS, name, replace(sound, make=lambda: broken), sound, words)


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Two faults, two lines."""
    broken = replace(SOUND, summary="poses", write=littering)
    with pytest.raises(AssertionError, match="This exporter fails 2 of 9 checks") as caught:
        testing.check_exporter(lambda: broken)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "- says_direction",
        "- writes_where_told",
    ]


def test_a_case_needs_its_poses() -> None:
    with pytest.raises(ValueError, match="a case and its cam_from_world, or neither"):
        testing.check_method(oracle, CASE)


def test_torch_is_told_that_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was said before is said again afterwards, whatever happens in between."""
    import torch

    from posesplat.testing.check import without_gpu

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(RuntimeError, match="broken"), without_gpu():
        assert not torch.cuda.is_available() and os.environ["CUDA_VISIBLE_DEVICES"] == ""
        raise RuntimeError("broken")
    assert torch.cuda.is_available() and os.environ["CUDA_VISIBLE_DEVICES"] == "3"
