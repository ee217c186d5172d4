"""A folder of files that are wrong, each in one way, made from a small clip."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np


def make_wrong_files(folder: Path, clip: Path, map_file: Path) -> Path:
    """Write them all; the names are those that the table of wrong uses has."""
    folder.mkdir()
    _texts(folder)
    _maps(folder, map_file)
    _images(folder, clip)
    _arrays(folder, clip)
    _clips(folder, clip)
    return folder


def _texts(folder: Path) -> None:
    texts = {
        "hello.txt": "hello",
        "short_rows.txt": "0 1 2\n",
        "words.txt": "a b c d e f g h\n",
        "comments.txt": "# nothing\n",
        "zero_quaternion.txt": "0 0 0 0 0 0 0 0\n",
        "path.txt": "".join(f"{i} {0.1 * i} {0.01 * i * i} 0 0 0 0 1\n" for i in range(6)),
        "later.txt": "".join(f"{i + 1000.5} {0.1 * i} {0.01 * i * i} 0 0 0 0 1\n" for i in range(6)),
        "still.txt": "".join(f"{i} 0 0 0 0 0 0 1\n" for i in range(6)),
        "one.txt": "0 0 0 0 0 0 0 1\n",
        "cut.json": "{",
        "other.json": '{"a": 1}',
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "bytes.txt").write_bytes(bytes(range(256)))
    for name in ("empty", "other_result", "foreign"):
        (folder / name).mkdir()
    (folder / "other_result" / "result.json").write_text('{"mine": 1}')
    (folder / "foreign" / "trajectory.txt").write_text("mine")


def _maps(folder: Path, map_file: Path) -> None:
    whole = map_file.read_bytes()
    (folder / "empty.ply").write_bytes(b"")
    (folder / "text.ply").write_text("not a ply\n")
    (folder / "cut.ply").write_bytes(whole[: len(whole) // 2])
    (folder / "header.ply").write_bytes(whole[:200])
    header = "ply\nformat ascii 1.0\nelement vertex 1\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    (folder / "points.ply").write_text(header + "end_header\n0 0 0\n")


def _images(folder: Path, clip: Path) -> None:
    colour = sorted((clip / "rgb").iterdir())[0]
    (folder / "text.png").write_text("hello")
    (folder / "cut.png").write_bytes(colour.read_bytes()[:500])
    (folder / "bad.mp4").write_bytes(b"\x00" * 1000)
    cv2.imwrite(str(folder / "grey.png"), np.full((120, 160, 3), 128, np.uint8))


def _arrays(folder: Path, clip: Path) -> None:
    stored = cv2.imread(str(sorted((clip / "depth").iterdir())[0]), cv2.IMREAD_UNCHANGED)
    np.save(folder / "millimetres.npy", stored.astype(np.float32) / 5)
    np.save(folder / "three_channels.npy", np.zeros((120, 160, 3), np.float32))
    np.savez(folder / "other.npz", a=1)
    cv2.imwrite(str(folder / "half_size.png"), stored[::2, ::2])
    for name in ("bad.npy", "bad.npz", "bad.safetensors"):
        (folder / name).write_bytes(b"PKabc" * 10)


def _clips(folder: Path, clip: Path) -> None:
    def changed(name: str, change: Callable[[Path], object]) -> None:
        shutil.copytree(clip, folder / name)
        change(folder / name)

    def depths(value: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
        def change(copy: Path) -> None:
            for path in (copy / "depth").iterdir():
                cv2.imwrite(str(path), value(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))

        return change

    def camera(**entries: object) -> Callable[[Path], object]:
        record = json.loads((clip / "camera.json").read_text()) | entries
        kept = {key: value for key, value in record.items() if value is not None}
        return lambda copy: (copy / "camera.json").write_text(json.dumps(kept))

    def colour_alone(copy: Path) -> None:
        shutil.rmtree(copy / "depth")
        (copy / "depth.txt").unlink()

    changed("no_depth", colour_alone)
    changed("no_truth", lambda copy: (copy / "groundtruth.txt").unlink())
    changed("no_camera", lambda copy: (copy / "camera.json").unlink())
    changed("bad_truth", lambda copy: (copy / "groundtruth.txt").write_text("1 2 3\n"))
    changed("lost_image", lambda copy: next((copy / "rgb").iterdir()).unlink())
    changed("cut_image", lambda copy: sorted((copy / "rgb").iterdir())[1].write_bytes(b"\x89PNG"))
    changed("small_depth", depths(lambda depth: depth[::2, ::2]))
    changed("eight_bits", depths(lambda depth: (depth / 100).astype(np.uint8)))
    changed("no_measurement", depths(np.zeros_like))
    changed("cut_camera", lambda copy: (copy / "camera.json").write_text('{"fx": 1'))
    changed("camera_without_fy", camera(fy=None))
    changed("negative_focal", camera(fx=-5))
    changed("other_width", camera(width=999))
    changed("zero_scale", camera(depth_scale=0))
