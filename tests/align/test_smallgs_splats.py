"""SmallGS's Gaussians: how they start, the chain rule to their raw numbers, their optimiser, and densification."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from kernels import twin
from posesplat.align.adam import ArrayAdam
from posesplat.align.smallgs_densify import Densifier, reset_opacities
from posesplat.align.smallgs_fit import Target, fit_splats, picture_loss, splats_of
from posesplat.align.smallgs_options import SmallgsOptions
from posesplat.align.smallgs_splats import Splats
from posesplat.gaussians.gaussians import SH_C0
from posesplat.geometry.cameras import Camera
from posesplat.kernels.gradients import GaussianGradients, backward, composite

CAMERA = Camera(20.0, 21.0, 9.5, 7.5, 20, 15)
C1 = np.sqrt(3 / (4 * np.pi))


def rough_splats(count: int = 30, seed: int = 0, sh_degree: int = 1) -> Splats:
    """Coloured splats before a camera at the origin, with all their numbers random; some colours are cut off at 0."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-0.8, -0.6, 1.5], [0.8, 0.6, 2.5], (count, 3))
    splats = Splats.at(points, rng.uniform(size=(count, 3)), 3, 0.4, sh_degree, rng)
    for name, spread in (("log_scales", 0.3), ("logits", 1.0), ("sh0", 0.4), ("sh_rest", 0.4)):
        array = splats.arrays[name]
        array += rng.normal(size=array.shape).astype(np.float32) * np.float32(spread)
    return splats


def twin_cloud(raw: dict[str, np.ndarray], centre: np.ndarray) -> twin.Cloud:
    """The same Gaussians in float64, with colours of degree 1 in closed form."""
    unit = raw["means"] - centre
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    rest = raw["sh_rest"]
    colours = 0.5 + SH_C0 * raw["sh0"]
    colours = colours + C1 * (unit[:, 2:] * rest[:, 1] - unit[:, 1:2] * rest[:, 0] - unit[:, :1] * rest[:, 2])
    count = len(colours)
    cloud = twin.Cloud(*(np.zeros((count, k)) for k in (3, 4, 3)), np.zeros(count), np.zeros((count, 3)), colours)
    return cloud.replaced(
        means=raw["means"],
        quats_wxyz=raw["quats"],
        scales=np.exp(raw["log_scales"]),
        opacities=1 / (1 + np.exp(-raw["logits"])),
        channels=np.maximum(colours, 0),
    )


def slopes(loss: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    found = np.zeros(at.shape)
    for index in np.ndindex(at.shape):
        nudge = np.zeros(at.shape)
        nudge[index] = step
        found[index] = (loss(at + nudge) - loss(at - nudge)) / (2 * step)
    return found


def test_every_raw_number_has_its_derivative() -> None:
    splats = rough_splats(16)
    weights = np.random.default_rng(1).normal(size=(15, 20, 3)).astype(np.float32)
    centre, pose = np.array([0.1, -0.05, 0.2]), RigidTransform.from_translation([-0.1, 0.05, -0.2])
    raw = {name: array.astype(np.float64) for name, array in splats.arrays.items()}

    def loss(moved: dict[str, np.ndarray]) -> float:
        images = twin.render(twin_cloud(moved, centre), CAMERA, pose)
        return float(np.sum(weights * images.channels * images.alpha[..., None]))

    seen = splats.seen_from(centre)
    assert seen.lit is not None
    assert 0 < np.mean(~seen.lit) < 0.5
    by = backward(seen.scene, composite(seen.scene, CAMERA, pose), by_channels=weights).gaussians
    assert by is not None
    found = splats.gradients(seen, by)
    assert found.keys() == raw.keys()
    for name, array in raw.items():
        expected = slopes(lambda value, name=name: loss(raw | {name: value}), array)
        error = np.linalg.norm(found[name].reshape(expected.shape) - expected) / np.linalg.norm(expected)
        assert error < 1e-3, name
    # The camera's centre pulls the other way along the direction of view.
    by_centre = -splats.direction_gradients(seen, by).sum(axis=0)

    def colour_loss(eye: np.ndarray) -> float:
        images = twin.render(twin_cloud(raw, eye), CAMERA, pose)
        return float(np.sum(weights * images.channels * images.alpha[..., None]))

    np.testing.assert_allclose(by_centre, slopes(colour_loss, centre), rtol=1e-3)


def test_how_splats_start() -> None:
    """One for each static pixel with depth, as wide as a hand-made grid says, in the colours of the picture."""
    camera = Camera(10.0, 10.0, 2.5, 2.0, 5, 4)
    picture = np.random.default_rng(0).uniform(size=(4, 5, 3)).astype(np.float32)
    static, depth = np.ones((4, 5), bool), np.full((4, 5), 2.0, np.float32)
    static[0, 0], depth[1, 1] = False, 0.0
    splats = splats_of(Target(camera, picture, static), depth, SmallgsOptions(), np.random.default_rng(3), True)
    assert len(splats) == 18
    gaussians = splats.gaussians()
    np.testing.assert_allclose(camera.project(gaussians.means_in_world)[-1], [4.5, 3.5], atol=1e-5)
    np.testing.assert_allclose(gaussians.means_in_world[:, 2], 2)
    # The last pixel is a corner: two neighbours at 0.2 and one at 0.2 sqrt(2).
    np.testing.assert_allclose(gaussians.scales[-1], np.sqrt((0.04 + 0.04 + 0.08) / 3), rtol=1e-5)
    np.testing.assert_allclose(gaussians.opacities, 0.1, rtol=1e-6)
    assert gaussians.sh is not None
    assert gaussians.sh.shape == (18, 16, 3)
    np.testing.assert_allclose(gaussians.rgb(np.zeros(3)), picture[static & (depth > 0)], atol=1e-6)
    inflated = splats_of(
        Target(camera, picture, static), depth, SmallgsOptions(published_faults=True), np.random.default_rng(3), True
    )
    np.testing.assert_allclose(inflated.arrays["means"], 1.1 * splats.arrays["means"], rtol=1e-6)
    np.testing.assert_array_equal(inflated.arrays["quats"], splats.arrays["quats"])


def test_features_start_at_random_and_look_the_same_from_everywhere() -> None:
    splats = Splats.at(np.random.default_rng(0).normal(size=(50, 3)), None, 7, 0.1, 3, np.random.default_rng(1))
    features = splats.arrays["features"]
    assert features.shape == (50, 7)
    assert 0 <= features.min() < 0.1
    assert 0.9 < features.max() <= 1
    assert splats.seen_from(np.zeros(3)).basis is None
    with pytest.raises(ValueError, match="more than 3 points; got 3"):
        Splats.at(np.zeros((3, 3)), None, 7, 0.1, 3, np.random.default_rng(1))


# Options


def test_rates_are_those_of_the_published_schedulers() -> None:
    """gsplat multiplies by the root of the batch, and ExponentialLR by its factor after each step."""
    faulty, fixed = SmallgsOptions(published_faults=True), SmallgsOptions()
    means, pose = 1.6e-4 * 1.1 * 15**0.5, 1e-2
    for step in range(1000):
        assert faulty.means_rate_at(step) == pytest.approx(means, rel=1e-9)
        assert fixed.means_rate_at(step) == pytest.approx(means / 1.1, rel=1e-9)
        if step < 500:
            assert fixed.pose_rate_at(step) == pytest.approx(pose, rel=1e-9)
        means *= 0.01 ** (1 / 500)
        pose *= 0.01 ** (0.5 / 500)
    assert [faulty.smoothness_at(step) for step in (0, 250)] == [1, 0.5]
    assert [fixed.smoothness_at(step) for step in (0, 250)] == [0, 0.5]


@pytest.mark.parametrize("wrong", [{"fit_steps": 0}, {"pose_rate": 0.0}, {"initial_opacity": 1.0}, {"sh_degree": 4}])
def test_wrong_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="SmallgsOptions needs"):
        SmallgsOptions(**wrong)


def test_picture_losses() -> None:
    gap = np.float32([[[0.5, -1.0], [0.0, 2.0]]])
    value, slope = picture_loss(gap, SmallgsOptions(loss="mse"))
    assert value == pytest.approx((0.25 + 1 + 4) / 4)
    np.testing.assert_allclose(slope, gap / 2)
    value, slope = picture_loss(gap, SmallgsOptions(loss="l1"))
    assert value == pytest.approx(3.5 / 4)
    np.testing.assert_allclose(slope, np.sign(gap) / 4)


def test_array_adam_is_adam() -> None:
    """Against the algorithm as printed, in float64, over gradients of very different sizes."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40_000, 2)).astype(np.float32)
    expected, mean, square = values.astype(np.float64), 0.0, 0.0
    adam = ArrayAdam(values.shape, 1e-15)
    sizes = 10.0 ** rng.uniform(-12, 2, (40_000, 1))
    for step in range(1, 6):
        gradient = (sizes * rng.normal(size=values.shape)).astype(np.float32)
        mean = 0.9 * mean + 0.1 * gradient.astype(float)
        square = 0.999 * square + 0.001 * gradient.astype(float) ** 2
        expected -= 0.01 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-15)
        adam.step(values, gradient, 0.01)
    np.testing.assert_allclose(values, expected, atol=2e-6)
    with pytest.raises(ValueError, match="not"):
        adam.step(np.zeros((2, 40_000), np.float32).T, values, 0.01)


# Densification


def four_splats() -> tuple[Splats, dict[str, ArrayAdam]]:
    """Small and pulled, large and pulled, small and at rest, small and nearly transparent."""
    splats = Splats.at(np.eye(4)[:, :3] * 5, None, 2, 0.5, 0, np.random.default_rng(0))
    splats.arrays["log_scales"][:] = np.log([[0.005] * 3, [0.02, 0.004, 0.004], [0.005] * 3, [0.005] * 3])
    splats.arrays["logits"][3] = np.log(0.004 / 0.996)
    optimisers = {name: ArrayAdam(array.shape) for name, array in splats.arrays.items()}
    for optimiser in optimisers.values():
        optimiser.mean += 1
        optimiser.square += np.arange(1, 5).reshape(4, *[1] * (optimiser.square.ndim - 1))
    return splats, optimisers


def pull(*norms: float) -> GaussianGradients:
    """Gradients on the screen of so many half image sides along x; 0 is not visible."""
    screen = np.zeros((len(norms), 2), np.float32)
    screen[:, 0] = np.array(norms) / (CAMERA.width / 2)
    zeros = np.zeros((len(norms), 3), np.float32)
    visible = np.array(norms) > 0
    return GaussianGradients(zeros, np.zeros((len(norms), 4), np.float32), zeros, zeros[:, 0], zeros, screen, visible)


def test_pulled_splats_are_cloned_or_split_and_transparent_ones_dropped() -> None:
    splats, optimisers = four_splats()
    before = {name: array.copy() for name, array in splats.arrays.items()}
    densifier = Densifier(4, SmallgsOptions(), np.random.default_rng(0))
    # The mean is over the views in which a splat is seen: 3e-4 for the first two, 1.5e-4 for the third.
    densifier.watch(pull(3e-4, 5e-4, 1.5e-4, 1e-4), CAMERA)
    densifier.watch(pull(0, 1e-4, 1.5e-4, 1e-4), CAMERA)
    assert densifier.densify(splats, optimisers)
    after = splats.arrays
    # What stayed, the clone, and the two children of the split one.
    assert len(splats) == 5
    for name in after:
        np.testing.assert_array_equal(after[name][:3], before[name][[0, 2, 0]])
        assert after[name].flags.c_contiguous
        squares = optimisers[name].square.reshape(5, -1)[:, 0]
        np.testing.assert_array_equal(squares, [1, 3, 0, 0, 0])
        assert optimisers[name].mean.shape == after[name].shape
    for child in (3, 4):
        np.testing.assert_allclose(after["log_scales"][child], before["log_scales"][1] - np.log(1.6), rtol=1e-5)
        np.testing.assert_array_equal(after["features"][child], before["features"][1])
        turned = Rotation.from_quat(before["quats"][1], scalar_first=True)
        offset = turned.inv().apply(after["means"][child] - before["means"][1])
        assert 0 < np.abs(offset / [0.02, 0.004, 0.004]).max() < 4
    assert not densifier.densify(splats, optimisers), "nothing was watched since"


def test_children_are_spread_like_their_parent() -> None:
    splats, optimisers = four_splats()
    pulled = np.full(20_000, 1)
    splats.arrays = {name: array[pulled] for name, array in splats.arrays.items()}
    optimisers = {name: ArrayAdam(array.shape) for name, array in splats.arrays.items()}
    parent = {name: array[0].copy() for name, array in splats.arrays.items()}
    densifier = Densifier(20_000, SmallgsOptions(), np.random.default_rng(0))
    densifier.watch(pull(*np.full(20_000, 1e-3)), CAMERA)
    densifier.densify(splats, optimisers)
    axes = Rotation.from_quat(parent["quats"], scalar_first=True).as_matrix() * np.exp(parent["log_scales"])
    covariance = np.cov((splats.arrays["means"] - parent["means"]).T)
    np.testing.assert_allclose(covariance, axes @ axes.T, atol=0.03 * 0.02**2)


def test_when_splats_are_densified() -> None:
    densifier = Densifier(1, SmallgsOptions(), np.random.default_rng(0))
    assert [step for step in range(1000) if densifier.is_due(step)] == [600, 700, 800, 900]


def test_opacities_are_reset() -> None:
    splats, optimisers = four_splats()
    reset_opacities(splats, optimisers)
    np.testing.assert_allclose(splats.gaussians().opacities, [0.01, 0.01, 0.01, 0.004], rtol=1e-4)
    assert (optimisers["logits"].mean == 0).all()
    assert (optimisers["logits"].square == 0).all()
    assert (optimisers["means"].mean == 1).all()


# The fit


def slanted_target(size: int = 24) -> tuple[Target, np.ndarray]:
    camera = Camera(1.2 * size, 1.2 * size, size / 2, size / 2, size, size)
    rays = camera.rays()
    depth = np.float32(1 / (0.5 + 0.1 * rays[..., 0]))
    waves = 0.5 + 0.4 * np.sin(9 * rays[..., :1] + [0, 1, 2]) * np.cos(7 * rays[..., 1:2] - [0, 2, 1])
    static = np.ones((size, size), bool)
    static[:6, :6] = False
    return Target(camera, waves.astype(np.float32), static), depth


@pytest.mark.parametrize("faults", [False, True])
def test_the_fit_comes_to_look_like_the_picture(faults: bool) -> None:
    target, depth = slanted_target()
    options = SmallgsOptions(fit_steps=60, published_faults=faults)
    splats = splats_of(target, depth, options, np.random.default_rng(0), True)
    told: list[int] = []
    fit = fit_splats(splats, target, options, np.random.default_rng(0), lambda step, loss: told.append(step))
    assert told == list(range(60))
    assert fit.finite
    seen = splats.seen_from(np.zeros(3))
    image = composite(seen.scene, target.camera, RigidTransform.identity())
    gap = np.abs(image.channels - target.picture)
    assert gap[target.static].mean() < 0.1 * np.abs(target.picture[target.static]).mean()
    # Only with the faults does the hole that moves have to be black.
    hole = image.channels[:5, :5].mean()
    assert (hole < 0.05) == faults


def test_equal_seeds_give_equal_fits() -> None:
    target, depth = slanted_target()
    options = SmallgsOptions(fit_steps=25, densify_from=5, densify_every=5, grow_gradient=1e-6)
    results = []
    for threads in (1, 2):
        rng = np.random.default_rng(4)
        splats = splats_of(target, depth, options, rng, True)
        before = len(splats)
        fit_splats(splats, target, options, rng, threads=threads)
        assert len(splats) > before
        results.append(splats.arrays)
    for name in results[0]:
        np.testing.assert_array_equal(results[0][name], results[1][name])


def test_a_fit_that_diverges_says_so() -> None:
    target, depth = slanted_target()
    options = SmallgsOptions(fit_steps=30)
    splats = splats_of(target, depth, options, np.random.default_rng(0), True)
    broken = Target(target.camera, target.picture.copy(), target.static)
    broken.picture[20, 20] = np.nan
    fit = fit_splats(splats, broken, options, np.random.default_rng(0))
    assert not fit.finite
    assert len(fit.losses) == 1
