"""Synthetic rooms: analytic scenes with exact depth, procedural textures, sensor noise and camera motion.

World axes are x right, y down, z ahead; lengths are metres; everything random follows from a seed.
"""

from posesplat.datasets.rooms.casting import Highlight, RayHits, cast_rays
from posesplat.datasets.rooms.exposures import blurred_frame, rolling_frame
from posesplat.datasets.rooms.noise import KinectNoise, colour_noise, kinect_noise, near_depth_edges
from posesplat.datasets.rooms.room import Room, ViewingVolume, render_sequence
from posesplat.datasets.rooms.scenes import (
    box_room,
    corridor,
    curved_room,
    furnished_room,
    repeated_room,
    textured_wall,
)
from posesplat.datasets.rooms.shapes import Box, Cylinder, Ellipsoid, Quad, Shape, Sphere
from posesplat.datasets.rooms.surfaces import Motion, Surface, placed
from posesplat.datasets.rooms.textures import (
    BoxFaces,
    Cells,
    Checker,
    Layered,
    Plain,
    Texture,
    TextureKind,
    Waves,
    procedural_texture,
)
from posesplat.datasets.rooms.trajectories import (
    HandheldMotion,
    handheld_trajectory,
    random_perturbation,
    walk_trajectory,
)

__all__ = [
    "Box",
    "BoxFaces",
    "Cells",
    "Checker",
    "Cylinder",
    "Ellipsoid",
    "HandheldMotion",
    "Highlight",
    "KinectNoise",
    "Layered",
    "Motion",
    "Plain",
    "Quad",
    "RayHits",
    "Room",
    "Shape",
    "Sphere",
    "Surface",
    "Texture",
    "TextureKind",
    "ViewingVolume",
    "Waves",
    "blurred_frame",
    "box_room",
    "cast_rays",
    "colour_noise",
    "corridor",
    "curved_room",
    "furnished_room",
    "handheld_trajectory",
    "kinect_noise",
    "near_depth_edges",
    "placed",
    "procedural_texture",
    "random_perturbation",
    "render_sequence",
    "repeated_room",
    "rolling_frame",
    "textured_wall",
    "walk_trajectory",
]
