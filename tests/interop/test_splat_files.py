"""Splat files between programs: an independent reader and gsplat's reference on ours, and a foreign map in ours."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets import rooms
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.ply import read_ply, write_ply
from posesplat.gaussians.splat_map import SplatMap
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import perturbed, pose_errors
from posesplat.methods.localize import LocalizeOptions, Localizer
from posesplat.testing import RendererTrial

CAMERA = Camera(60.0, 62.0, 31.0, 25.0, 64, 48)
POSE = RigidTransform.from_components([0.1, 0.05, 0.2], Rotation.from_rotvec([0.1, -0.2, 0.05]))
INRIA = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{k}" for k in range(45))]
INRIA += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
"""Columns as save_ply of the 3DGS reference (scene/gaussian_model.py, construct_list_of_attributes) writes them."""


def with_harmonics() -> Gaussians:
    """Gaussians whose colour depends on the direction, to degree 3."""
    plain = RendererTrial(lambda *_: None).gaussians  # type: ignore[arg-type, return-value]
    rng = np.random.default_rng(2)
    # Small enough that no colour leaves [0, 1]: brighter ones are cut at 1 here, and not in gsplat.
    sh = rng.normal(0, 0.04, (len(plain), 16, 3)).astype(np.float32)
    sh[:, 0] = rng.uniform(-0.9, 0.9, (len(plain), 3))
    return Gaussians(plain.means_in_world, plain.quats_wxyz, plain.scales, plain.opacities, sh=sh)


def opened(path: Path) -> np.ndarray:
    """The rows of a PLY file as trimesh reads them."""
    trimesh = pytest.importorskip("trimesh", reason="needs trimesh: pip install trimesh")
    return trimesh.load(path, process=False).metadata["_ply_raw"]["vertex"]["data"]


def test_an_independent_reader_finds_the_values_of_the_reference(tmp_path: Path) -> None:
    """Activations as in scene/gaussian_model.py: sigmoid, exp, normalised quaternions, SH2RGB with 0.28209479."""
    ours = with_harmonics()
    write_ply(tmp_path / "map.ply", ours)
    rows = opened(tmp_path / "map.ply")
    assert list(rows.dtype.names) == INRIA

    def columns(*names: str) -> np.ndarray:
        return np.stack([np.asarray(rows[name], dtype=np.float64) for name in names], axis=-1)

    np.testing.assert_array_equal(columns("x", "y", "z"), ours.means_in_world)
    np.testing.assert_allclose(1 / (1 + np.exp(-rows["opacity"].astype(float))), ours.opacities, atol=1e-6)
    np.testing.assert_allclose(np.exp(columns("scale_0", "scale_1", "scale_2")), ours.scales, rtol=1e-5)
    quats = columns("rot_0", "rot_1", "rot_2", "rot_3")
    np.testing.assert_allclose(quats / np.linalg.norm(quats, axis=1, keepdims=True), ours.quats_wxyz, atol=1e-6)
    assert ours.sh is not None
    flat = Gaussians(ours.means_in_world, ours.quats_wxyz, ours.scales, ours.opacities, sh=ours.sh[:, :1])
    rgb = np.clip(0.5 + 0.28209479177387814 * columns("f_dc_0", "f_dc_1", "f_dc_2"), 0, 1)
    np.testing.assert_allclose(rgb, np.clip(flat.rgb(), 0, 1), atol=1e-6)
    # The file holds all of red, then green, then blue; features_rest is (n, 15, 3).
    rest = columns(*(f"f_rest_{k}" for k in range(45))).reshape(-1, 3, 15).transpose(0, 2, 1)
    np.testing.assert_array_equal(rest, ours.sh[:, 1:])


def test_gsplat_draws_our_file_as_we_do(tmp_path: Path) -> None:
    """gsplat's torch reference: its harmonics and projection on what trimesh read, composited as its equations say."""
    torch = pytest.importorskip("torch", reason="needs torch: pip install posesplat[learned]")
    reference = pytest.importorskip("gsplat.cuda._torch_impl", reason="needs gsplat: pip install posesplat[cuda]")
    from posesplat.learned.rasterise import rasterise

    ours = with_harmonics()
    write_ply(tmp_path / "map.ply", ours)
    rows = opened(tmp_path / "map.ply")

    def columns(prefix: str, count: int) -> torch.Tensor:
        return torch.tensor(np.stack([rows[f"{prefix}{k}"] for k in range(count)], axis=-1), dtype=torch.float64)

    means = torch.tensor(np.stack([rows[name] for name in "xyz"], axis=-1), dtype=torch.float64)
    quats = torch.nn.functional.normalize(columns("rot_", 4), dim=-1)
    covariances, _ = reference._quat_scale_to_covar_preci(quats, columns("scale_", 3).exp(), True, False, False)
    view = torch.tensor(POSE.as_matrix(), dtype=torch.float64)
    lens = torch.tensor(CAMERA.matrix, dtype=torch.float64)
    radii, places, depths, conics, _ = reference._fully_fused_projection(
        means, covariances, view[None], lens[None], CAMERA.width, CAMERA.height
    )
    coefficients = torch.cat([columns("f_dc_", 3)[:, None], columns("f_rest_", 45).unflatten(1, (3, 15)).mT], dim=1)
    centre = torch.tensor(POSE.inv().translation, dtype=torch.float64)
    colours = (reference._spherical_harmonics(3, means - centre, coefficients) + 0.5).clamp(min=0).numpy()
    opacities = torch.sigmoid(torch.tensor(np.asarray(rows["opacity"]), dtype=torch.float64)).numpy()

    u, v = np.meshgrid(np.arange(CAMERA.width) + 0.5, np.arange(CAMERA.height) + 0.5)
    image, left = np.zeros((*u.shape, 3)), np.ones(u.shape)
    shown = (radii[0] > 0).all(dim=-1).numpy()
    for index in np.argsort(depths[0].numpy()):
        if not shown[index]:
            continue
        du, dv = u - float(places[0, index, 0]), v - float(places[0, index, 1])
        a, b, c = conics[0, index].numpy()
        alpha = np.minimum(opacities[index] * np.exp(-0.5 * (a * du * du + c * dv * dv) - b * du * dv), 0.999)
        alpha = np.where((alpha >= 1 / 255) & (left > 1e-4), alpha, 0)
        image += (left * alpha)[..., None] * colours[index]
        left = left * (1 - alpha)

    read = read_ply(tmp_path / "map.ply")
    parts = (read.means_in_world, read.quats_wxyz, read.scales, read.opacities, read.rgb(np.asarray(centre)))
    tensors = [torch.tensor(np.array(part), dtype=torch.float32)[None] for part in parts]
    drawn = rasterise(
        *tensors, view.float()[None, None], lens.float()[None, None], CAMERA.width, CAMERA.height, backend="kernels"
    )
    gap = np.abs(drawn.channels[0, 0].numpy() - image)
    # A pixel on the edge of a footprint falls in or out by rounding, which is worth 1/255.
    assert gap.max() < 2.5 / 255 and gap.mean() < 2e-4
    assert np.abs(1 - left - drawn.alpha[0, 0].numpy()).max() < 2.5 / 255


def trained_elsewhere(path: Path, room: rooms.Room, views: RigidTransform, count: int) -> None:
    """A map in exactly the layout of 3DGS, written byte by byte: unnormalised quaternions, SH of degree 3, floaters.

    Lengths are in an arbitrary unit of 0.4 m, as after structure from motion.
    """
    rng = np.random.default_rng(11)
    camera = Camera.from_fov(70.0, 200, 150)
    points, colours, normals = [], [], []
    for pose in views:
        hits = room.render(camera, pose, supersample=1)
        assert hits.depth is not None and hits.image is not None
        seen = hits.depth > 0
        in_cam = (camera.rays() * hits.depth[..., None]).astype(np.float64)
        across = np.cross(np.gradient(in_cam, axis=1), np.gradient(in_cam, axis=0))
        points.append(pose.inv().apply(in_cam[seen]))
        normals.append(pose.inv().rotation.apply(across[seen] / np.linalg.norm(across[seen], axis=1, keepdims=True)))
        colours.append(hits.image[seen] / 255.0)
    surface, normal, colour = (np.concatenate(parts) for parts in (points, normals, colours))
    chosen = rng.permutation(len(surface))[: count - count // 400]
    surface, normal, colour = surface[chosen], normal[chosen], colour[chosen]
    floaters = count - len(surface)
    centres = rng.uniform(surface.min(axis=0), surface.max(axis=0), (floaters, 3))
    means = np.concatenate([surface, centres]) / 0.4
    turn = np.zeros((count, 4))
    # The shortest rotation from the third axis to the normal, at any length.
    turn[: len(surface)] = np.column_stack([1 + normal[:, 2], -normal[:, 1], normal[:, 0], np.zeros(len(normal))])
    turn[len(surface) :] = rng.normal(size=(floaters, 4))
    turn *= rng.uniform(0.3, 4.0, (count, 1))
    scales = np.concatenate(
        [np.tile([0.012, 0.012, 0.0008], (len(surface), 1)), rng.uniform(0.01, 0.04, (floaters, 3))]
    )
    opacity = np.concatenate([rng.uniform(0.85, 0.99, len(surface)), rng.uniform(0.02, 0.3, floaters)])
    table = np.zeros((count, len(INRIA)), dtype="<f4")
    table[:, 0:3] = means
    table[:, 6:9] = (np.concatenate([colour, rng.uniform(0, 1, (floaters, 3))]) - 0.5) / 0.28209479177387814
    table[:, 9:54] = rng.normal(0, 0.01, (count, 45))
    table[:, 54] = np.log(opacity / (1 - opacity))
    table[:, 55:58] = np.log(scales / 0.4)
    table[:, 58:62] = turn
    header = "ply\nformat binary_little_endian 1.0\n" + f"element vertex {count}\n"
    header += "".join(f"property float {name}\n" for name in INRIA) + "end_header\n"
    path.write_bytes(header.encode() + struct.pack("<0s", b"") + table.tobytes())


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[SplatMap, rooms.Room, RigidTransform]:
    room = rooms.furnished_room(3)
    views = rooms.handheld_trajectory(2, 9, room.default_view, translation_m=0.4, rotation_deg=12.0, rate_hz=4)
    path = tmp_path_factory.mktemp("foreign") / "point_cloud.ply"
    trained_elsewhere(path, room, views, 240_000)
    return SplatMap.load(path, metric=False), room, views


def test_a_foreign_file_is_what_was_written(foreign: tuple[SplatMap, rooms.Room, RigidTransform]) -> None:
    scene = foreign[0]
    assert len(scene.gaussians) == 240_000 and not scene.views and not scene.metric
    assert scene.gaussians.sh is not None and scene.gaussians.sh.shape[1:] == (16, 3)
    np.testing.assert_allclose(np.linalg.norm(scene.gaussians.quats_wxyz, axis=1), 1, atol=1e-6)
    assert np.median(scene.gaussians.scales.max(axis=1)) == pytest.approx(0.03, rel=1e-5)


@pytest.mark.parametrize(("objective", "tolerance_m"), [("plane", 0.005), ("colour", 0.02)])
def test_frames_are_found_in_a_foreign_map(
    foreign: tuple[SplatMap, rooms.Room, RigidTransform], objective: str, tolerance_m: float
) -> None:
    """The unit is the map's, 0.4 m: depth of the frame has to be told in it, and the answer is in it."""
    scene, room, views = foreign
    camera = Camera.from_fov(62.0, 160, 120)
    true = perturbed(views[4], np.array([0.01, -0.02, 0.01, 0.03, 0.02, -0.02]))
    frame = room.render(camera, true, supersample=1)
    assert frame.depth is not None
    told = type(frame)(camera, frame.image, frame.depth / np.float32(0.4) if objective == "plane" else None, "query")
    unit = RigidTransform.from_components(true.translation / 0.4, true.rotation)
    start = perturbed(unit, np.array([0.01, 0.015, -0.01, 0.08, -0.06, 0.05]))
    found = Localizer(scene, LocalizeOptions(objective=objective, threads=1)).localize(told, start)
    assert found.success, found.reason
    assert found.cam_from_world is not None and not found.scale.metric
    distance, angle = pose_errors(found.cam_from_world, unit)
    assert distance * 0.4 < tolerance_m and angle < 0.3
