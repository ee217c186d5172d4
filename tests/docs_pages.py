"""The README and the pages of docs/: their fenced blocks, and the small files that their commands and code name.

A block of commands is fenced as ``sh``, one of Python as ``python``. A title says what keeps it from being run by the
tests (``sh title="takes hours"``); readers see it too. Blocks of a page are run in order, in a folder of its own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from posesplat.datasets.samples import sample_sequence
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.colmap import write_colmap
from posesplat.io.tum import write_tum
from posesplat.methods.mapping import MapOptions, build_map

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = {
    "takes a minute",
    "takes minutes",
    "takes minutes to hours",
    "takes hours",
    "downloads a network",
    "needs a GPU",
    "needs nerfstudio",
    "needs gsplat",
    "runs until Ctrl-C",
}
"""Titles of blocks that the tests do not run; their commands are still parsed."""
_FENCE = re.compile(r"^```(\w*)[ ]*(.*?)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_EXIF_FOLDER, _FOCAL_35MM = 0x8769, 41989


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    text: str

    def lines(self) -> list[str]:
        """Its lines with those that a backslash continues joined, less empty ones and comments."""
        joined = re.sub(r"\\\n\s*", " ", self.text).splitlines()
        return [line.strip() for line in joined if line.strip() and not line.lstrip().startswith("#")]


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page in order."""
    found = []
    for language, attributes, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        title = re.fullmatch(r'title="(.*)"', attributes)
        assert not attributes or title, f'{page.name}: write title="..." after {language}, not {attributes}'
        found.append(Block(language, title[1] if title else "", text))
    return found


def beside_blocks(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return _FENCE.sub("\n", page.read_text(encoding="utf-8"))


def write_inputs(folder: Path) -> None:
    """Every file that the pages name, small: frames of the living room at 320 x 240."""
    room = sample_sequence("icl_livingroom1")
    camera = room.camera.resized(320, 240)
    frames = room[:9:2]
    images = [_half(frame.image) for frame in frames]
    depths = [np.rint(5000 * frame.depth[::2, ::2]).astype(np.uint16) for frame in frames]
    times = 100.0 + np.arange(5) / 10
    poses = list(frames.cam_from_world)
    described = json.dumps({**camera.to_json(), "depth_scale": 5000})
    (folder / "camera.json").write_text(described)

    recording = folder / "rgbd_folder"
    for name, pictures in (("rgb", images), ("depth", depths)):
        (recording / name).mkdir(parents=True)
        rows = [f"{time:.6f} {name}/{time:.6f}.png" for time in times]
        (recording / f"{name}.txt").write_text("\n".join(rows) + "\n")
        for row, picture in zip(rows, pictures, strict=True):
            cv2.imwrite(str(recording / row.split()[1]), picture)
    (recording / "camera.json").write_text(described)
    write_tum(recording / "groundtruth.txt", Trajectory.from_poses(poses, times))
    names = [f"{time:.6f}.png" for time in times]
    write_colmap(folder / "sparse" / "0", Trajectory.from_poses(poses, names=names), camera)

    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = camera.width, camera.height, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())

    for place in ("frames", "masks", "clips/walk", "videos/one", "photos"):
        (folder / place).mkdir(parents=True)
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / "frames" / f"{index}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{index}.png"), np.full((240, 320), 255, np.uint8))
        cv2.imwrite(str(folder / "videos" / "one" / f"{index}.png"), image)
    for index in range(1, 8):
        cv2.imwrite(str(folder / "clips" / "walk" / f"{index}.png"), _half(room[index].image))
    for name, index in (("a", 0), ("b", 4)):
        _photograph(folder / f"{name}.jpg", images[index])
        cv2.imwrite(str(folder / f"{name}.png"), images[index])
        cv2.imwrite(str(folder / f"{name}_depth.png"), depths[index])
    _photograph(folder / "photo.jpg", _half(room[5].image))
    for name, index in (("left.jpg", 4), ("right.jpg", 12), ("c.jpg", 8), ("photos/1.jpg", 4), ("photos/2.jpg", 12)):
        _photograph(folder / name, _half(room[index].image))
    scene = build_map(frames, poses, MapOptions(stride=4))
    scene.save(folder / "map.ply")
    scene.save(folder / "point_cloud.ply")
    write_tum(folder / "start.txt", Trajectory.from_poses(poses[2:3]))


def _half(image: np.ndarray) -> np.ndarray:
    """BGR at half the size."""
    return cv2.resize(image[..., ::-1], (320, 240), interpolation=cv2.INTER_AREA)


def _photograph(path: Path, image: np.ndarray) -> None:
    """A JPEG whose EXIF tells the focal length: 525 / 640 of the width of a 36 mm film."""
    picture = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    exif = picture.getexif()
    exif.get_ifd(_EXIF_FOLDER)[_FOCAL_35MM] = round(36 * 525 / 640)
    picture.save(path, quality=95, exif=exif)
