"""Threads change nothing but the time: same bits, from any number of callers, with the GIL free, after a fork."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from kernels.clouds import POSE, random_cloud
from posesplat.geometry.cameras import Camera
from posesplat.kernels.plane_fit import fit_planes
from posesplat.kernels.splatting import FrozenView, RobustTerm, Scene, lookup, normal_equations, render
from posesplat.kernels.threads import thread_count

CAMERA = Camera(150.0, 150.0, 150.0, 70.0, 300, 140)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return random_cloud(10_000, growth=0.3).scene()


def everything(scene: Scene, threads: int) -> list[np.ndarray]:
    """One result of each compiled loop."""
    rng = np.random.default_rng(0)
    depth = np.float32(2 + np.sin(np.arange(300) / 30)[None, :] * np.cos(np.arange(140) / 20)[:, None])
    image = rng.uniform(size=(140, 300, 2)).astype(np.float32)
    gradients = rng.normal(size=(140, 300, 2, 2)).astype(np.float32)
    exact = render(scene, CAMERA, POSE, jacobian=True, threads=threads)
    view = render(scene, CAMERA, POSE, planes=True, channels=True, gradients=True, threads=threads)
    terms = {"depth_term": RobustTerm(1.0, 0.1, 1e3), "channel_term": RobustTerm(0.3, 0.0, 1e3)}
    sums = normal_equations(scene, CAMERA, POSE, depth=depth, channels=image, threads=threads, **terms)
    moved = RigidTransform.from_exp_coords(np.full(6, 0.01)) * POSE
    looked_up = lookup(
        FrozenView(view), CAMERA, moved, depth=depth, channels=image, gradients=gradients, threads=threads, **terms
    )
    fit = fit_planes(depth, CAMERA, radius=2, threads=threads)
    results = [exact.alpha, exact.depth, exact.jacobian, view.planes, view.variance, view.channels, view.gradients]
    for part in (*sums, *looked_up):
        results += [part.hessian, part.gradient, np.float64([part.cost, part.covered, part.inliers])]
    results += [part.block_gradients for part in looked_up] + [part.block_hessians for part in looked_up]
    return [*results, fit.depth, fit.planes, fit.residual, fit.support]


def assert_same_bits(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(actual, expected, strict=True):
        assert a.tobytes() == b.tobytes()


def test_any_number_of_threads_gives_the_same_bits(scene: Scene) -> None:
    expected = everything(scene, 1)
    assert all(np.abs(result).sum() > 0 for result in expected)
    for threads in (2, 3, 7):
        assert_same_bits(everything(scene, threads), expected)


def test_callers_do_not_disturb_each_other(scene: Scene) -> None:
    """Six Python threads at once, on a shared scene and on scenes of their own."""
    other = random_cloud(3000, seed=1).scene()
    expected = {scene: everything(scene, 2), other: everything(other, 2)}
    with ThreadPoolExecutor(6) as callers:
        jobs = [(s, callers.submit(everything, s, threads)) for s in (scene, other) for threads in (1, 2, 3)]
        for s, job in jobs:
            assert_same_bits(job.result(timeout=60), expected[s])


def ticks_during(work: Callable[[], object]) -> int:
    """How often another Python thread got its turn while ``work`` ran."""
    ticks, stop = [0], threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks[0] += 1
            time.sleep(0.0005)

    other = threading.Thread(target=tick)
    other.start()
    before = ticks[0]
    work()
    during = ticks[0] - before
    stop.set()
    other.join()
    return during


def test_the_gil_is_released(scene: Scene) -> None:
    """Thin large splats over the whole image take about a tenth of a second in a single call."""
    base = random_cloud(300, growth=8)
    foggy = type(base)(
        **(vars(base) | {"opacities": np.full(300, 0.02), "means": base.means * [1, 1, 0.3] + [0, 0, 3]})
    )
    camera = Camera(400.0, 400.0, 400.0, 300.0, 800, 600)
    foggy_scene = foggy.scene()
    assert ticks_during(lambda: render(foggy_scene, camera, RigidTransform.identity(), threads=1)) >= 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_working_threads(scene: Scene) -> None:
    """The parent's sleeping workers do not exist in the child, which must start its own."""
    expected = everything(scene, 3)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert_same_bits(everything(scene, 3), expected)
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + 30
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child did not finish: it waits for threads that it does not have")
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(status) == 0
    assert_same_bits(everything(scene, 3), expected)


def test_thread_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSESPLAT_THREADS", raising=False)
    if hasattr(os, "sched_getaffinity"):
        assert thread_count() == len(os.sched_getaffinity(0))
    assert thread_count(5) == 5
    monkeypatch.setenv("POSESPLAT_THREADS", "3")
    assert thread_count() == 3
    assert thread_count(2) == 2


@pytest.mark.parametrize("value", ["0", "-2", "many", "1.5", ""])
def test_invalid_thread_counts(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("POSESPLAT_THREADS", value)
    with pytest.raises(ValueError, match="at least 1; got"):
        thread_count()
    with pytest.raises(ValueError, match="at least 1; got 0"):
        thread_count(0)
