"""Splat PLY files: literal files whose values are worked out by hand, other encodings, and damaged files."""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from posesplat.gaussians.gaussians import SH_C0, Gaussians
from posesplat.gaussians.ply import read_ply, read_ply_comments, write_ply

_CODES = {"float": "f", "double": "d", "uchar": "B", "uint": "I", "int": "i"}
BASE = ["x", "y", "z", "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def scene(count: int = 40, coefficients: int = 0, features: int = 0, normals: bool = False) -> Gaussians:
    rng = np.random.default_rng(count + coefficients)
    quats = rng.normal(size=(count, 4))
    towards = rng.normal(size=(count, 3))
    fields = {
        "means_in_world": rng.normal(size=(count, 3)),
        "quats_wxyz": quats / np.linalg.norm(quats, axis=1, keepdims=True),
        "scales": np.exp(rng.normal(size=(count, 3)) - 4),
        "opacities": rng.uniform(size=count),
        "colors": rng.uniform(size=(count, 3)) if coefficients == 0 else None,
        "sh": rng.normal(size=(count, coefficients, 3)) if coefficients else None,
        "features": rng.normal(size=(count, features)) if features else None,
        "normals_in_world": towards / np.linalg.norm(towards, axis=1, keepdims=True) if normals else None,
    }
    return Gaussians(**{name: None if value is None else value.astype(np.float32) for name, value in fields.items()})


def encode(encoding: str, elements: Sequence[tuple[str, list[tuple[str, str]], list[list[float]]]]) -> bytes:
    """A PLY file: element name, (type, property) pairs, rows."""
    lines = ["ply", f"format {encoding} 1.0"]
    body = b""
    order = ">" if encoding == "binary_big_endian" else "<"
    for name, columns, rows in elements:
        lines.append(f"element {name} {len(rows)}")
        lines += [f"property {kind} {column}" for kind, column in columns]
        for row in rows:
            if encoding == "ascii":
                body += (" ".join(f"{value!s}" for value in row) + "\n").encode()
            else:
                body += struct.pack(order + "".join(_CODES[kind] for kind, _ in columns), *row)
    return ("\n".join([*lines, "end_header"]) + "\n").encode() + body


def vertices(names: Sequence[str], rows: list[list[float]], kind: str = "float", encoding: str = "ascii") -> bytes:
    return encode(encoding, [("vertex", [(kind, name) for name in names], rows)])


def write(folder: Path, content: bytes) -> Path:
    path = folder / "map.ply"
    path.write_bytes(content)
    return path


def test_a_file_worked_out_by_hand(tmp_path: Path) -> None:
    """opacity = logistic(0) = 1/2, scales = e^0, e^-1, e^-2, quaternion (2, 0, 0, 0) has unit length 1."""
    names = [*BASE, "f_dc_0", "f_dc_1", "f_dc_2"]
    path = write(tmp_path, vertices(names, [[1, 2, 3, 0, 0, -1, -2, 2, 0, 0, 0, 0.0, 1.0, -1.0]]))
    one = read_ply(path)
    np.testing.assert_allclose(one.means_in_world, [[1, 2, 3]])
    np.testing.assert_allclose(one.quats_wxyz, [[1, 0, 0, 0]])
    np.testing.assert_allclose(one.scales, [[1, 0.36787944, 0.13533528]], rtol=1e-6)
    np.testing.assert_allclose(one.opacities, [0.5])
    np.testing.assert_allclose(one.rgb(), [[0.5, 0.78209479, 0.21790521]], rtol=1e-6)
    assert one.normals_in_world is None and one.features is None


def test_layout_is_that_of_the_inria_code(tmp_path: Path) -> None:
    """Property names and order as graphdeco-inria/gaussian-splatting writes them; f_rest is red, green, then blue."""
    gaussians = scene(3, coefficients=4)
    assert gaussians.sh is not None
    path = tmp_path / "map.ply"
    write_ply(path, gaussians)
    head, body = path.read_bytes().split(b"end_header\n", 1)
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(9))]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    lines = ["ply", "format binary_little_endian 1.0", "element vertex 3", *(f"property float {n}" for n in names)]
    assert head.decode().split("\n")[:-1] == lines
    rows = list(struct.iter_unpack("<" + "f" * len(names), body))
    assert len(rows) == 3
    for row, sh, opacity, scale in zip(rows, gaussians.sh, gaussians.opacities, gaussians.scales, strict=True):
        value = dict(zip(names, row, strict=True))
        assert [value["nx"], value["ny"], value["nz"]] == [0, 0, 0]
        for channel in range(3):
            assert value[f"f_dc_{channel}"] == sh[0, channel]
            for coefficient in range(3):
                assert value[f"f_rest_{3 * channel + coefficient}"] == sh[1 + coefficient, channel]
        assert 1 / (1 + np.exp(-value["opacity"])) == pytest.approx(opacity, rel=1e-5)
        assert np.exp(value["scale_2"]) == pytest.approx(scale[2], rel=1e-5)


@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
def test_round_trip(tmp_path: Path, coefficients: int) -> None:
    gaussians = scene(coefficients=coefficients, features=5, normals=True)
    path = tmp_path / "new" / "map.ply"
    write_ply(path, gaussians, comments=["unit metre", "keyframe 0 1 0 0"])
    again = read_ply(path)
    for name in ("means_in_world", "sh", "features"):
        np.testing.assert_array_equal(getattr(again, name), getattr(gaussians, name))
    for name in ("quats_wxyz", "opacities", "normals_in_world"):
        np.testing.assert_allclose(getattr(again, name), getattr(gaussians, name), atol=1e-6)
    np.testing.assert_allclose(again.scales, gaussians.scales, rtol=1e-6)
    assert read_ply_comments(path) == ["unit metre", "keyframe 0 1 0 0"]


def test_colours_come_back_as_degree_0(tmp_path: Path) -> None:
    gaussians = scene()
    write_ply(tmp_path / "map.ply", gaussians)
    again = read_ply(tmp_path / "map.ply")
    assert again.sh is not None and again.sh.shape == (40, 1, 3)
    np.testing.assert_allclose(again.rgb(), gaussians.colors, atol=1e-6)


def test_end_values_stay_finite(tmp_path: Path) -> None:
    one = Gaussians(
        np.zeros((3, 3), dtype=np.float32),
        np.tile(np.float32([1, 0, 0, 0]), (3, 1)),
        np.tile(np.float32([0, 1e-3, 1e3]), (3, 1)),
        np.float32([0, 1, 1 - 2**-24]),
    )
    path = tmp_path / "map.ply"
    write_ply(path, one)
    stored = np.frombuffer(path.read_bytes().split(b"end_header\n", 1)[1], dtype="<f4")
    assert np.isfinite(stored).all()
    again = read_ply(path)
    np.testing.assert_allclose(again.opacities, one.opacities, atol=1e-6)
    np.testing.assert_allclose(again.scales, one.scales, atol=1e-9, rtol=1e-6)
    assert not again.has_color


def test_no_gaussians(tmp_path: Path) -> None:
    write_ply(tmp_path / "map.ply", scene(4).select(slice(0, 0)))
    assert len(read_ply(tmp_path / "map.ply")) == 0


@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_encodings_types_orders_and_extra_columns(tmp_path: Path, encoding: str, kind: str) -> None:
    gaussians = scene(6, coefficients=4)
    write_ply(tmp_path / "ours.ply", gaussians)
    plain = read_ply(tmp_path / "ours.ply")
    assert plain.sh is not None
    rest = [f"f_rest_{index}" for index in range(9)]
    names = [*reversed(BASE), "label", *rest, "f_dc_2", "f_dc_1", "f_dc_0"]
    rows = []
    for i in range(6):
        values = dict(zip("xyz", plain.means_in_world[i].tolist(), strict=True)) | {"label": 7}
        values["opacity"] = float(np.log(plain.opacities[i] / (1 - plain.opacities[i])))
        values |= {f"scale_{k}": float(np.log(plain.scales[i, k])) for k in range(3)}
        values |= {f"rot_{k}": 3.0 * float(plain.quats_wxyz[i, k]) for k in range(4)}
        values |= {f"f_dc_{k}": float(plain.sh[i, 0, k]) for k in range(3)}
        values |= {f"f_rest_{k}": float(plain.sh[i, 1 + k % 3, k // 3]) for k in range(9)}
        rows.append([values[name] for name in names])
    columns = [("int" if name == "label" else kind, name) for name in names]
    rows = [[int(v) if n == "label" else v for n, v in zip(names, row, strict=True)] for row in rows]
    before = ("camera", [("float", "view_px"), ("uchar", "flag")], [[1.5, 2], [2.5, 3]])
    after = ("extra", [("float", "a")], [[1.0]])
    again = read_ply(write(tmp_path, encode(encoding, [before, ("vertex", columns, rows), after])))
    for name in ("means_in_world", "quats_wxyz", "scales", "opacities", "sh"):
        np.testing.assert_allclose(getattr(again, name), getattr(plain, name), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("encoding", ["ascii", "binary_big_endian"])
def test_elements_with_lists_are_passed_over(tmp_path: Path, encoding: str) -> None:
    row = [1, 2, 3, 0, 0, 0, 0, 1, 0, 0, 0]
    content = vertices(BASE, [row], encoding=encoding)
    faces = "element face 2\nproperty list uchar int vertex_indices\nproperty uchar flag\n"
    head, body = content.split(b"element vertex", 1)
    declared, data = body.split(b"end_header\n", 1)
    lists = b"3 0 1 2 9\n2 0 1 9\n"
    if encoding != "ascii":
        lists = struct.pack(">B3iB", 3, 0, 1, 2, 9) + struct.pack(">B2iB", 2, 0, 1, 9)
    content = head + faces.encode() + b"element vertex" + declared + b"end_header\n" + lists + data
    np.testing.assert_allclose(read_ply(write(tmp_path, content)).means_in_world, [[1, 2, 3]])


def test_windows_line_ends(tmp_path: Path) -> None:
    content = vertices(BASE, [[1, 2, 3, 0, 0, 0, 0, 1, 0, 0, 0]]).replace(b"\n", b"\r\n")
    np.testing.assert_allclose(read_ply(write(tmp_path, content)).means_in_world, [[1, 2, 3]])


def test_discs_of_2dgs_and_isotropic_splats(tmp_path: Path) -> None:
    disc = ["x", "y", "z", "opacity", "scale_0", "scale_1", "rot_0", "rot_1", "rot_2", "rot_3"]
    flat = read_ply(write(tmp_path, vertices(disc, [[0, 0, 0, 0, np.log(0.1), np.log(0.3), 0, 0, 1, 0]])))
    np.testing.assert_allclose(flat.scales[0], [0.1, 0.3, 2e-7], rtol=1e-5)
    np.testing.assert_allclose(np.abs(flat.normals()[0]), [0, 0, 1], atol=1e-6)
    ball = read_ply(write(tmp_path, vertices(["x", "y", "z", "opacity", "scale_0"], [[0, 0, 0, 0, np.log(0.2)]])))
    np.testing.assert_allclose(ball.scales[0], [0.2, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(ball.covariances()[0], 0.04 * np.eye(3), rtol=1e-5)


def test_byte_colours(tmp_path: Path) -> None:
    columns = [("float", name) for name in BASE] + [("uchar", name) for name in ("red", "green", "blue")]
    row = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 255, 51, 0]
    one = read_ply(write(tmp_path, encode("binary_little_endian", [("vertex", columns, [row])])))
    assert one.colors is not None
    np.testing.assert_allclose(one.colors, [[1, 0.2, 0]], rtol=1e-6)


def test_normals_are_unit_and_missing_ones_become_the_shortest_axis(tmp_path: Path) -> None:
    names = [*BASE, "nx", "ny", "nz"]
    rows = [[0, 0, 0, 0, 0, -3, 0, 1, 0, 0, 0, 0, 0, 5], [0, 0, 0, 0, 0, -3, 0, 1, 0, 0, 0, 0, 0, 0]]
    normals = read_ply(write(tmp_path, vertices(names, rows))).normals_in_world
    assert normals is not None
    np.testing.assert_allclose(normals[0], [0, 0, 1])
    np.testing.assert_allclose(np.abs(normals[1]), [0, 1, 0])


def test_unusable_gaussians_are_dropped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = [1, 2, 3, 0, 0, 0, 0, 1, 0, 0, 0]
    rows = [[float("nan"), *good[1:]], good, [*good[:7], 0, 0, 0, 0], [*good[:4], float("inf"), 0, 0, 1, 0, 0, 0]]
    rows += [[1, 2, 3, float("inf"), *good[4:]]]
    with caplog.at_level(logging.WARNING):
        gaussians = read_ply(write(tmp_path, vertices(BASE, rows)))
    np.testing.assert_allclose(gaussians.opacities, [0.5, 1.0])
    assert "dropped 3 of 5 Gaussians" in caplog.text
    with pytest.raises(ValueError, match=r"map\.ply.*all 1"):
        read_ply(write(tmp_path, vertices(BASE, rows[:1])))


def test_truncated_files(tmp_path: Path) -> None:
    path = tmp_path / "map.ply"
    write_ply(path, scene(10, coefficients=4))
    whole = path.read_bytes()
    for cut, message in ((len(whole) - 1, "promises 10 rows.*got 9 whole"), (60, "end_header.*end of the file")):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=message):
            read_ply(path)
    text = vertices(BASE, [[1, 2, 3, 0, 0, 0, 0, 1, 0, 0, 0]] * 3)
    for lines, message in ((2, "promises 3 rows.*got 2 whole"), (0, "promises 3 rows.*got 0 whole")):
        head, body = text.split(b"end_header\n")
        path.write_bytes(head + b"end_header\n" + b"".join(body.splitlines(keepends=True)[:lines]))
        with pytest.raises(ValueError, match=message):
            read_ply(path)
    path.write_bytes(text[:-8])
    with pytest.raises(ValueError, match="must hold 11 numbers"):
        read_ply(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a PLY file"),
        (b"\x89PNG\r\n\x1a\n", "must be a PLY file"),
        (b"ply\nformat ascii 1.0\nelement vertex many\n", "header line 3: expected a PLY header line; got 'element"),
        (b"ply\nelement vertex 1\nproperty float x\nend_header\n", "header line 4"),
        (b"ply\nformat ascii 1.0\nelement face 0\nend_header\n", "element 'vertex'"),
        (vertices(["x", "y", "z"], [[0, 0, 0]]), "without opacity, scale_0: a point cloud"),
        (vertices(["x", "y", "z", "opacity", "scale_0", "scale_1"], [[0] * 6]), "rot_0 .. rot_3"),
        (vertices([*BASE, "f_dc_0", "f_dc_1", "f_dc_2", "f_rest_0"], [[1.0] * 15]), "f_rest columns.*got 1"),
        (vertices([*BASE, "x"], [[1.0] * 12]), "distinct property names"),
    ],
)
def test_what_is_not_a_splat_map(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)map\.ply.*{message}"):
        read_ply(write(tmp_path, content))


def test_comments_must_be_single_lines(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="single lines"):
        write_ply(tmp_path / "map.ply", scene(2), comments=["two\nlines"])
    assert not list(tmp_path.iterdir())


BOX = [f"{end}_{axis}" for end in ("min", "max") for axis in "xyz"]
SCALE_BOX = [f"{end}_scale_{axis}" for end in ("min", "max") for axis in "xyz"]
COLOUR_BOX = [f"{end}_{axis}" for end in ("min", "max") for axis in "rgb"]
PACKED = [("uint", f"packed_{name}") for name in ("position", "rotation", "scale", "color")]


def test_a_compressed_splat_worked_out_by_hand(tmp_path: Path) -> None:
    """x at the end, y at 1/3 (341 of 1023), z at the start of the box; the y of the quaternion is left out."""
    low_high = [-1, 0, 10, 1, 3, 20, -2, -2, -2, 0, 0, 0, 0, 0, 0, 1, 0.5, 0.25]
    position = (2047 << 21) | (341 << 11) | 0
    scale = (0 << 21) | (1023 << 11) | 2047
    half = round((0.5 / np.sqrt(2) + 0.5) * 1023)
    rotation = (2 << 30) | (half << 20) | (half << 10) | half
    color = (255 << 24) | (255 << 16) | (0 << 8) | 51
    chunk = ("chunk", [("float", name) for name in (*BOX, *SCALE_BOX, *COLOUR_BOX)], [low_high])
    vertex = ("vertex", PACKED, [[position, rotation, scale, color]])
    rest = [0] * 9
    rest[0], rest[1], rest[5] = 255, 128, 127
    sh = ("sh", [("uchar", f"f_rest_{index}") for index in range(9)], [rest])
    one = read_ply(write(tmp_path, encode("binary_little_endian", [chunk, vertex, sh])))
    assert one.sh is not None and one.sh.shape == (1, 4, 3)
    np.testing.assert_allclose(one.means_in_world, [[1, 1, 10]], rtol=1e-6)
    np.testing.assert_allclose(one.scales, [[np.exp(-2), 1, 1]], rtol=1e-6)
    np.testing.assert_allclose(one.quats_wxyz, [[0.5, 0.5, 0.5, 0.5]], atol=2e-3)
    np.testing.assert_allclose(one.opacities, [0.2], rtol=1e-6)
    np.testing.assert_allclose(0.5 + SH_C0 * one.sh[0, 0], [1, 0.5, 0], atol=1e-6)
    expected = np.full((3, 3), -4.0)
    expected[0, 0], expected[1, 0], expected[2, 1] = 4, 1 / 64, -1 / 64
    np.testing.assert_allclose(one.sh[0, 1:], expected, atol=1e-6)


@pytest.mark.parametrize("with_colour_box", [True, False])
def test_compressed_map_stays_within_its_rounding(tmp_path: Path, with_colour_box: bool) -> None:
    """A slow packer, one splat at a time in the order of the format, and the resolution of every field as tolerance."""
    gaussians = scene(300)
    assert gaussians.colors is not None
    chunks, packed = [], []
    for start in (0, 256):
        part = gaussians.select(slice(start, start + 256))
        assert part.colors is not None
        log_scales = np.log(part.scales)
        bounds = [part.means_in_world, log_scales] + ([part.colors] if with_colour_box else [])
        chunks.append([float(v) for table in bounds for v in (*table.min(axis=0), *table.max(axis=0))])
        for i in range(len(part)):
            words = []
            for table, widths in ((part.means_in_world, (11, 10, 11)), (log_scales, (11, 10, 11))):
                fraction = (table[i] - table.min(axis=0)) / np.ptp(table, axis=0)
                words.append(pack(fraction, widths))
            colour = part.colors[i]
            if with_colour_box:
                colour = (colour - part.colors.min(axis=0)) / np.ptp(part.colors, axis=0)
            color = pack([*colour, part.opacities[i]], (8, 8, 8, 8))
            quat = part.quats_wxyz[i]
            largest = int(np.argmax(np.abs(quat)))
            others = np.delete(quat * np.sign(quat[largest]), largest) / np.sqrt(2) + 0.5
            packed.append([words[0], (largest << 30) | pack(others, (10, 10, 10)), words[1], color])
    names = [*BOX, *SCALE_BOX, *(COLOUR_BOX if with_colour_box else [])]
    content = encode(
        "binary_little_endian", [("chunk", [("float", n) for n in names], chunks), ("vertex", PACKED, packed)]
    )
    again = read_ply(write(tmp_path, content))
    span = np.ptp(gaussians.means_in_world, axis=0).max()
    np.testing.assert_allclose(again.means_in_world, gaussians.means_in_world, atol=0.51 * span / 1023)
    span = np.ptp(np.log(gaussians.scales), axis=0).max()
    np.testing.assert_allclose(np.log(again.scales), np.log(gaussians.scales), atol=0.51 * span / 1023)
    np.testing.assert_allclose(again.opacities, gaussians.opacities, atol=0.51 / 255)
    np.testing.assert_allclose(again.rgb(), gaussians.colors, atol=0.51 / 255)
    turn = (again.rotations() * gaussians.rotations().inv()).magnitude()
    assert np.degrees(turn.max()) < 0.25


def pack(fractions: Sequence[float], widths: Sequence[int]) -> int:
    word = 0
    for fraction, width in zip(fractions, widths, strict=True):
        word = (word << width) | int(np.floor(float(fraction) * ((1 << width) - 1) + 0.5))
    return word


def test_compressed_map_without_its_chunks(tmp_path: Path) -> None:
    content = encode("binary_little_endian", [("vertex", PACKED, [[0, 0, 0, 0]])])
    with pytest.raises(ValueError, match=r"map\.ply must be a compressed splat PLY.*0 chunks"):
        read_ply(write(tmp_path, content))
