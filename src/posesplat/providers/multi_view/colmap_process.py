"""A process of its own that runs COLMAP on the images of a folder: FOLDER holds ``images/`` and ``job.json``.

It writes one answer for each mapper and subset of the images, as soon as there is one, so that what is done stays if a
later one takes it down.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from posesplat.files import write_text

SMALL_INIT_DEG = 0.5
"""Least angle between the rays of a point in the first two views; COLMAP's own is 16, more than a still camera has."""
SMALL_DEG = 0.1
"""Least angle between the rays of a point; COLMAP's own are 1 to 1.5."""
SMALL_LOCAL_DEG = 0.3
"""Least angle between neighbours that are adjusted together; COLMAP's own is 6."""


def incremental(pycolmap: Any, job: dict[str, Any]) -> Any:
    """COLMAP's incremental mapper as it comes, with the camera held fixed unless its focal length is asked for."""
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = job["threads"]
    options.random_seed = job["seed"]
    options.ba_refine_principal_point = options.ba_refine_extra_params = False
    options.ba_refine_focal_length = options.mapper.abs_pose_refine_focal_length = job["refine_focal"]
    options.mapper.abs_pose_refine_extra_params = False
    options.min_model_size = 3
    options.extract_colors = False
    return options


def small_angle(pycolmap: Any, job: dict[str, Any]) -> Any:
    """The same, made to accept small angles between the rays of a point."""
    options = incremental(pycolmap, job)
    options.mapper.init_min_tri_angle = SMALL_INIT_DEG
    options.mapper.filter_min_tri_angle = options.triangulation.min_angle = SMALL_DEG
    options.mapper.ba_local_min_tri_angle = SMALL_LOCAL_DEG
    return options


def global_mapper(pycolmap: Any, job: dict[str, Any]) -> Any:
    """COLMAP's global mapper (GLOMAP), with the camera held fixed."""
    options = pycolmap.GlobalPipelineOptions()
    options.num_threads = job["threads"]
    options.random_seed = job["seed"]
    adjustment = options.mapper.bundle_adjustment
    adjustment.refine_focal_length = adjustment.refine_principal_point = adjustment.refine_extra_params = False
    return options


def global_small_angle(pycolmap: Any, job: dict[str, Any]) -> Any:
    """The same, made to accept small angles between the rays of a point."""
    options = global_mapper(pycolmap, job)
    options.mapper.min_tri_angle_deg = options.mapper.retriangulation.min_angle = SMALL_DEG
    return options


MAPPERS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "incremental": incremental,
    "incremental, small angles": small_angle,
    "global": global_mapper,
    "global, small angles": global_small_angle,
}
"""Options of each mapper by the name it has in the tables."""


def answer_name(setting: str, subset: int = 0) -> str:
    """The file in the folder with a mapper's answer for one of the job's subsets."""
    return f"answer_{list(MAPPERS).index(setting)}_{subset}.json"


def main(arguments: list[str]) -> None:
    """Features and matches once, then every mapper on every subset."""
    import pycolmap

    folder = Path(arguments[0])
    job = json.loads((folder / "job.json").read_text())
    pycolmap.set_random_seed(job["seed"])
    began = time.process_time()
    _match(pycolmap, folder, job)
    shared_s = time.process_time() - began
    for setting in job["settings"]:
        for number, names in enumerate(job["subsets"]):
            began = time.process_time()
            options = MAPPERS[setting](pycolmap, job)
            if names is not None:
                options.image_names = names
            fault, models = "", {}
            try:
                models = _mapped(pycolmap, folder, options, f"models_{setting}_{number}".replace(" ", "_"))
            except Exception as error:
                fault = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            largest = max(models.values(), key=lambda model: model.num_reg_images(), default=None)
            answer = {
                "poses": {} if largest is None else _poses(largest),
                **({} if largest is None else _points(largest)),
                "cpu_s": shared_s + time.process_time() - began,
                "fault": fault,
            }
            write_text(folder / answer_name(setting, number), json.dumps(answer))


def _match(pycolmap: Any, folder: Path, job: dict[str, Any]) -> None:
    """Features of all images and matches of all pairs into ``database.db``."""
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads = job["threads"]
    extraction.use_gpu = False
    extraction.sift.max_num_features = job["max_features"]
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = job["threads"]
    matching.use_gpu = False
    database = folder / "database.db"
    # Each call makes one camera, which its images share.
    for lens in job["cameras"]:
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = "PINHOLE"
        reader.camera_params = ",".join(repr(value) for value in lens["parameters"])
        pycolmap.extract_features(
            database,
            folder / "images",
            image_names=lens["images"],
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=extraction,
        )
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = job["seed"]
    pycolmap.match_exhaustive(database, matching_options=matching, verification_options=verification)


def _mapped(pycolmap: Any, folder: Path, options: Any, name: str) -> dict[int, Any]:
    """The models that a mapper finds."""
    output = folder / name
    output.mkdir(exist_ok=True)
    run = pycolmap.incremental_mapping
    if isinstance(options, pycolmap.GlobalPipelineOptions):
        run = pycolmap.global_mapping
    models: dict[int, Any] = run(folder / "database.db", folder / "images", output, options=options)
    return models


def _poses(model: Any) -> dict[str, list[float]]:
    """cam_from_world of the registered images by name: quaternion xyzw and translation."""
    poses = {}
    for image in model.images.values():
        if image.has_pose:
            pose = image.cam_from_world()
            poses[image.name] = [*map(float, pose.rotation.quat), *map(float, pose.translation)]
    return poses


def _points(model: Any) -> dict[str, Any]:
    """How many points a model has, how well they fit, and which images see each."""
    names = {identifier: image.name for identifier, image in model.images.items()}
    tracks = [
        sorted({names[element.image_id] for element in point.track.elements}) for point in model.points3D.values()
    ]
    error = float(model.compute_mean_reprojection_error())
    return {"points": len(tracks), "residual_px": error if error == error else None, "tracks": tracks}


if __name__ == "__main__":
    main(sys.argv[1:])
