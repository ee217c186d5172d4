"""A process of its own that tracks one clip and tells its times and peak memory: CLIP.npz CAMERA.json THREADS RUNS."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from posesplat.evaluate.protocols.peak_memory import peak_mb
from posesplat.evaluate.protocols.thread_limits import limited_threads
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.methods.track import track


def main(arguments: list[str]) -> None:
    """Track and write one JSON object to stdout."""
    clip, camera, threads, runs = arguments
    imported = peak_mb()
    pinhole = Camera.from_json(Path(camera))
    with np.load(clip) as stored:
        frames = [
            Frame(pinhole, image, None, f"{index:06d}", index / 30) for index, image in enumerate(stored["images"])
        ]
    loaded = peak_mb()
    wall, cpu, posed = [], [], 0
    with limited_threads(int(threads)):
        for _ in range(int(runs)):
            began, began_cpu = time.perf_counter(), time.process_time()
            posed = int(track(frames).posed.sum())
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - began_cpu)
    record = {
        "imported_mb": imported,
        "loaded_mb": loaded,
        "peak_mb": peak_mb(),
        "wall_s": wall,
        "cpu_s": cpu,
        "posed": posed,
    }
    sys.stdout.write(json.dumps(record))


if __name__ == "__main__":
    main(sys.argv[1:])
