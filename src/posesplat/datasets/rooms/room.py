"""A room: surfaces, where cameras may stand in it, and pictures of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms.casting import Highlight, RayHits, cast_rays
from posesplat.datasets.rooms.surfaces import Surface
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame

_PROBE = Camera.from_fov(62.7, 32, 24)
_TRIES_PER_VIEW = 500


@dataclass(frozen=True, eq=False)
class ViewingVolume:
    """The part of a room in which cameras stand, and how they look around; its y axis points down, z ahead."""

    world_from_volume: RigidTransform
    """Centre and axes of the volume."""
    size_m: tuple[float, float, float]
    """Edge lengths along the volume's axes."""
    max_yaw_deg: float = 180.0
    """Largest turn to either side of straight ahead."""
    max_pitch_deg: float = 18.0
    """Largest tilt up or down."""
    max_roll_deg: float = 6.0
    """Largest roll to either side."""

    def random_view(self, rng: np.random.Generator) -> RigidTransform:
        """cam_from_world of a camera somewhere in the volume, whether or not a surface is in its way."""
        centre = rng.uniform(-0.5, 0.5, size=3) * self.size_m
        limits = np.array([self.max_yaw_deg, self.max_pitch_deg, self.max_roll_deg])
        turn = Rotation.from_euler("YXZ", rng.uniform(-limits, limits), degrees=True)
        return (self.world_from_volume * RigidTransform.from_components(centre, turn)).inv()

    def contains(self, points_in_world: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Which points lie in the volume."""
        points_in_volume = self.world_from_volume.inv().apply(points_in_world)
        inside: Bool[np.ndarray, " n"] = np.all(np.abs(points_in_volume) <= 0.5 * np.array(self.size_m), axis=-1)
        return inside


@dataclass(frozen=True, eq=False)
class Room:
    """A scene of analytic surfaces, rendered exactly from any pose at any time."""

    name: str
    """What it is called in reports."""
    surfaces: tuple[Surface, ...]
    """Everything that can be seen."""
    default_view: RigidTransform
    """cam_from_world of a camera that sees much of the room."""
    viewing: ViewingVolume
    """Where other cameras stand."""
    highlight: Highlight | None = None
    """Optional view-dependent brightness; None keeps the brightness of a point the same from every view."""

    @property
    def down_in_world(self) -> Float[np.ndarray, "3"]:
        """The unit direction of gravity."""
        return self.viewing.world_from_volume.rotation.apply(np.array([0.0, 1.0, 0.0]))

    def transformed(self, new_from_world: RigidTransform) -> Room:
        """The same room in another world frame."""
        viewing = replace(self.viewing, world_from_volume=new_from_world * self.viewing.world_from_volume)
        highlight = self.highlight
        if highlight is not None:
            x, y, z = new_from_world.apply(np.array(highlight.lamp_in_world)).tolist()
            highlight = replace(highlight, lamp_in_world=(x, y, z))
        return replace(
            self,
            surfaces=tuple(surface.transformed(new_from_world) for surface in self.surfaces),
            default_view=self.default_view * new_from_world.inv(),
            viewing=viewing,
            highlight=highlight,
        )

    def cast(
        self,
        camera: Camera,
        cam_from_world: RigidTransform,
        time_s: float = 0.0,
        *,
        colour: bool = True,
        normals: bool = False,
        prefilter: bool = True,
    ) -> RayHits:
        """Depth, surface, colour and normal at the pixel centres, unrounded; see :func:`cast_rays`."""
        return cast_rays(
            self.surfaces,
            camera,
            cam_from_world,
            time_s,
            colour=colour,
            normals=normals,
            prefilter=prefilter,
            highlight=self.highlight,
        )

    def render(
        self,
        camera: Camera,
        cam_from_world: RigidTransform,
        time_s: float = 0.0,
        supersample: int = 2,
        colour: bool = True,
    ) -> Frame:
        """What a noise-free RGB-D camera sees: the frame's depth is that of the pixel centres, rounded to float32.

        Args:
            camera: a pinhole without distortion.
            cam_from_world: single pose of the camera.
            time_s: when, for surfaces that move; becomes the frame's timestamp.
            supersample: the image is the mean of this many samples along each side of a pixel.
            colour: False leaves the image out, which is much faster.

        Raises:
            ValueError: for a camera with distortion, or ``supersample`` below 1.
        """
        if camera.distortion:
            raise ValueError(
                f"Room.render needs a pinhole camera; got distortion {camera.distortion}. Pass Camera.pinhole."
            )
        depth = self.cast(camera, cam_from_world, time_s, colour=False).depth.astype(np.float32)
        image = None
        if colour:
            levels = self.colours(camera, cam_from_world, time_s, supersample) * np.float32(255.0)
            image = np.rint(levels).astype(np.uint8)
        return Frame(camera, image, depth, self.name, time_s)

    def colours(
        self, camera: Camera, cam_from_world: RigidTransform, time_s: float = 0.0, supersample: int = 2
    ) -> Float32[np.ndarray, "height width 3"]:
        """RGB in [0, 1] of each pixel, the mean of ``supersample`` samples along each of its sides.

        Raises:
            ValueError: for ``supersample`` below 1.
        """
        if supersample < 1:
            raise ValueError(f"supersample must be 1 or more; got {supersample}. 2 is a good choice.")
        fine = camera.resized(camera.width * supersample, camera.height * supersample)
        samples = self.cast(fine, cam_from_world, time_s).colour
        assert samples is not None
        blocks = samples.reshape(camera.height, supersample, camera.width, supersample, 3)
        total = sum(blocks[:, row, :, column] for row in range(supersample) for column in range(supersample))
        return np.asarray(total * np.float32(1.0 / supersample**2))

    def clearance(self, points_in_world: Float[np.ndarray, "n 3"], time_s: float = 0.0) -> Float[np.ndarray, " n"]:
        """Metres to the nearest surface or fewer; negative within a solid or beyond the walls."""
        nearest = np.full(len(points_in_world), np.inf)
        for surface in self.surfaces:
            world_from_body = surface.world_from_body_at(time_s).as_matrix()
            points_in_body = (points_in_world - world_from_body[:3, 3]) @ world_from_body[:3, :3]
            np.minimum(nearest, surface.shape.clearance(points_in_body), out=nearest)
        return nearest

    def sample_views(
        self,
        rng: np.random.Generator,
        count: int,
        min_clearance_m: float = 0.4,
        min_median_depth_m: float = 1.2,
        time_s: float = 0.0,
    ) -> RigidTransform:
        """Random camera poses in free space that look at something, stacked cam_from_world of shape (count,).

        Args:
            rng: source of all random choices.
            count: how many.
            min_clearance_m: least distance from the camera centre to any surface, and least depth in view.
            min_median_depth_m: least median depth in view, against cameras that stare at a nearby wall.
            time_s: when, for surfaces that move.

        Raises:
            ValueError: when the room has no space for such views.
        """
        if count < 1:
            raise ValueError(f"count must be 1 or more views; got {count}.")
        views: list[RigidTransform] = []
        for _ in range(_TRIES_PER_VIEW * count):
            view = self.viewing.random_view(rng)
            if self.clearance(view.inv().translation[None], time_s)[0] < min_clearance_m:
                continue
            depth = self.cast(_PROBE, view, time_s, colour=False).depth
            if depth.min() < min_clearance_m or np.median(depth) < min_median_depth_m:
                continue
            views.append(view)
            if len(views) == count:
                return RigidTransform.concatenate(views)
        raise ValueError(
            f"Room {self.name!r} must have free space for {count} views with {min_clearance_m} m clearance and "
            f"{min_median_depth_m} m median depth; found {len(views)} in {_TRIES_PER_VIEW * count} tries. "
            "Ask for smaller distances."
        )


def render_sequence(
    room: Room,
    camera: Camera,
    cam_from_world: RigidTransform,
    rate_hz: float = 30.0,
    supersample: int = 2,
    colour: bool = True,
) -> Iterator[Frame]:
    """The frames of a camera that moves through a room (whose own movers move too), rendered one at a time.

    Args:
        room: the scene.
        camera: a pinhole without distortion.
        cam_from_world: stacked poses, shape (n,).
        rate_hz: frames a second; frame i is taken at i / rate_hz seconds.
        supersample: see :meth:`Room.render`.
        colour: see :meth:`Room.render`.
    """
    for index, pose in enumerate(cam_from_world):
        frame = room.render(camera, pose, index / rate_hz, supersample, colour)
        yield replace(frame, name=f"{index:06d}")
