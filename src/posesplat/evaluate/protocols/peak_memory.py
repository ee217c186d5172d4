"""A process of its own that localises one frame and tells its peak memory: MAP.ply QUERY.npz CAMERA.json OBJECTIVE."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.splat_map import SplatMap
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.methods.localize import LocalizeOptions, localize


def peak_mb() -> float:
    """Peak resident memory of this process so far, 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # The peak of getrusage would include that of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def main(arguments: list[str]) -> None:
    """Localise and write one JSON object to stdout."""
    map_path, query_path, camera, objective = arguments
    if objective not in ("plane", "joint"):
        raise ValueError(f"objective must be plane or joint; got {objective!r}.")
    imported = peak_mb()
    scene = SplatMap.load(map_path)
    with np.load(query_path) as query:
        frame = Frame(Camera.from_json(camera), image=query["image"], depth=query["depth"])
        start = RigidTransform.from_matrix(query["start"])
    loaded = peak_mb()
    estimate = localize(scene, frame, start, LocalizeOptions(objective=objective))  # type: ignore[arg-type]
    record = {"imported_mb": imported, "loaded_mb": loaded, "peak_mb": peak_mb(), "success": estimate.success}
    sys.stdout.write(json.dumps(record))


if __name__ == "__main__":
    main(sys.argv[1:])
