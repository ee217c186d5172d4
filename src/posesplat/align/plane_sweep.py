"""Dense inverse depth of a reference image from frames whose poses are known: a plane sweep, then refinement.

Planes at candidate inverse depths carry every frame over to the reference, and each pixel takes the candidate at which
the frames agree best with it. Gauss-Newton steps on all frames then refine each pixel below the candidates' spacing,
held together with its neighbours where the image says little. Sources: Collins, A space-sweep approach to true
multi-image matching, 1996; Horn and Schunck, Determining optical flow, 1981, for the membrane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.align.depth_field import links_of, scattered_field, smoothed_field
from posesplat.geometry.cameras import Camera
from posesplat.kernels.threads import side_by_side

_HALVED_WIDTH = 400
"""Images at least this wide are swept at half size, which averages their noise and loses no depth."""
_OUTSIDE = -1000.0
"""Grey of what no frame shows, far from any real one."""
_DISAGREEING = 40.0
"""Grey levels beyond which a difference counts no more: the pixel is hidden in that frame."""
_TRUSTED = 3.0
"""Robust deviations beyond which refinement distrusts a difference."""
_MAD_TO_SIGMA = 1.4826
_LEAST_NOISE = 0.7
"""Of grey levels rounded to whole numbers after normalising."""
_SUPPORT_PX = 11
"""Side of the square over which information is averaged to say how well a pixel is known."""
_EXCESS = 1.5
"""Deviation over that of independent noise in all frames: the reference's noise is common to them. Measured on
synthetic rooms."""
_POSES_PX = 0.01
"""Errors of the poses displace pixels of the sweep by so much, and depth bends with them. Measured likewise."""
_LEAST_DEVIATION = 0.004
"""Relative deviation that no amount of texture goes below."""
_KNOWN_WITHIN = 0.2
_SUMMED_TOGETHER = 8
"""Frames that one thread sums up; however many threads there are, since the order of sums changes their last digits."""
"""Relative deviation of the depth drawn through the sparse points, where nothing else is known."""


@dataclass(frozen=True)
class SweepOptions:
    """How dense depth is found."""

    max_frames: int = 12
    """Most frames that choose among candidates; all take part in the refinement."""
    spacing_px: float = 0.75
    """Neighbouring candidates shift a pixel of the most displaced frame by this much, at the size of the sweep."""
    candidates: tuple[int, int] = (8, 96)
    """Fewest and most candidates."""
    window_px: int = 5
    """Side of the square over which differences are averaged, at the size of the sweep."""
    prior: float = 3.0
    """Grey levels that a candidate must win by to lie 15 % from the depth drawn through the sparse points."""
    slope: float = 1.6
    """Change of the inverse depth of a surface per radian that counts like one standard deviation, in units of its
    median over the image: smoothing where the image says little."""
    step: float = 5.0
    """Changes between neighbouring pixels of more than this share per radian are rather the edge of a surface."""
    image_step: float = 15.0
    """Steps of the image of more than these grey levels (of 45 contrast) may be the edge of a surface."""
    rounds: int = 3
    """Gauss-Newton steps."""
    solver_steps: int = 40
    """Steps of the linear solver in each."""
    min_agreement: float = 0.35
    """Pixels whose mean robust weight is below this are left unknown: the frames contradict each other there."""
    min_seen: float = 0.25
    """So are pixels that fewer than this share of the frames show."""
    min_lead: float = 1.02
    """And those where another, distant candidate fits nearly as well: within this ratio of the best cost."""

    def __post_init__(self) -> None:
        low, high = self.candidates
        sizes = (
            self.max_frames,
            self.spacing_px,
            self.slope,
            self.step,
            self.image_step,
            self.rounds,
        )
        if min(sizes) <= 0 or not 3 <= low <= high or self.window_px < 1 or self.window_px % 2 == 0:
            raise ValueError(
                "SweepOptions needs sizes above 0, an odd window_px and candidates (fewest, most) of at least 3; "
                f"got {self}. Leave options out for their defaults."
            )


@dataclass(frozen=True)
class DenseDepth:
    """Inverse depth of every pixel of a reference image, and how well it is known."""

    inverse_depth: Float32[np.ndarray, "h w"]
    """In the unit of the poses; 0 = unknown."""
    deviation: Float32[np.ndarray, "h w"]
    """Standard deviation relative to the inverse depth; infinite where unknown."""

    @property
    def depth(self) -> Float32[np.ndarray, "h w"]:
        """Distance along the optical axis; 0 = unknown."""
        known = self.inverse_depth > 0
        return np.divide(1.0, self.inverse_depth, out=np.zeros_like(self.inverse_depth), where=known)


def swept_depth(
    reference: UInt8[np.ndarray, "h w"],
    frames: Sequence[UInt8[np.ndarray, "h w"]],
    cam_from_reference: RigidTransform,
    camera: Camera,
    pixels: Float[np.ndarray, "n 2"],
    inverse_depths: Float[np.ndarray, " n"],
    options: SweepOptions = SweepOptions(),
    *,
    reference_mask: Bool[np.ndarray, "h w"] | None = None,
    masks: Sequence[Bool[np.ndarray, "h w"] | None] | None = None,
) -> DenseDepth:
    """Dense inverse depth of a reference image from posed frames.

    Args:
        reference: the image, of :func:`posesplat.align.tracks.locally_normalised`.
        frames: other images of the same camera, normalised too; at least one must be displaced.
        cam_from_reference: their poses, shape (frames,).
        camera: pinhole of all images.
        pixels: corner-based places in the reference of points whose depth is known; they guide the sweep.
        inverse_depths: of those points in the reference, in the unit of the poses.
        options: how to search and smooth.
        reference_mask: True where the reference may be used; the rest stays unknown.
        masks: the same for each frame; None = all of it.

    Raises:
        ValueError: when counts or sizes differ, no frame is displaced, or no point has a depth.
    """
    known = np.isfinite(inverse_depths) & (inverse_depths > 0)
    _check(reference, frames, cam_from_reference, camera, int(known.sum()))
    frame_masks = [None] * len(frames) if masks is None else list(masks)
    small = _small(camera)
    sweep = _Sweep(
        _resized(reference, small),
        [_resized(frame, small) for frame in frames],
        [None if mask is None else _resized_mask(mask, small) for mask in frame_masks],
        cam_from_reference,
        small,
        options,
    )
    scale = np.array([small.width / camera.width, small.height / camera.height])
    drawn = scattered_field(pixels[known] * scale, inverse_depths[known], small.height, small.width)
    low, high = np.quantile(inverse_depths[known], [0.005, 0.995])
    chosen, lead = sweep.chosen(drawn, 0.7 * float(low), 1.5 * float(high))
    field, deviation, doubtful = sweep.refined(chosen, drawn, float(np.median(inverse_depths[known])))
    doubtful |= lead < options.min_lead
    if reference_mask is not None:
        doubtful |= ~_resized_mask(reference_mask, small)
    return _enlarged(field, deviation, doubtful, camera, options.step / small.fx)


def _check(
    reference: UInt8[np.ndarray, "h w"],
    frames: Sequence[UInt8[np.ndarray, "h w"]],
    cam_from_reference: RigidTransform,
    camera: Camera,
    known: int,
) -> None:
    size = (camera.height, camera.width)
    shapes = {image.shape for image in (reference, *frames)}
    if shapes != {size}:
        raise ValueError(f"swept_depth needs images of shape {size} as their camera says; got {sorted(shapes)}.")
    poses = 0 if cam_from_reference.single else len(cam_from_reference)
    if poses != len(frames) or not poses:
        raise ValueError(f"swept_depth needs one pose for each of at least one frame; got {len(frames)} and {poses}.")
    if not np.linalg.norm(cam_from_reference.translation, axis=1).max() > 0:
        raise ValueError("swept_depth needs a frame that is displaced; got rotations only, which show no depth.")
    if not known:
        raise ValueError("swept_depth needs points whose inverse depth is finite and above 0; got none.")


class _Sweep:
    """The images at the size of the sweep."""

    def __init__(
        self,
        reference: Float32[np.ndarray, "h w"],
        frames: list[Float32[np.ndarray, "h w"]],
        masks: list[Bool[np.ndarray, "h w"] | None],
        cam_from_reference: RigidTransform,
        camera: Camera,
        options: SweepOptions,
    ) -> None:
        self._reference, self._frames, self._masks = reference, frames, masks
        self._rotations = cam_from_reference.rotation.as_matrix()
        self._translations = np.asarray(cam_from_reference.translation)
        self._camera, self._options = camera, options
        # Pixels that a point at unit inverse depth is displaced by.
        self._parallax = camera.fx * np.linalg.norm(self._translations, axis=1)

    def chosen(
        self, drawn: Float32[np.ndarray, "h w"], low: float, high: float
    ) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        """The best candidate of every pixel, and by what ratio it leads over those that are not beside it."""
        import cv2

        options, window = self._options, (self._options.window_px,) * 2
        fewest, most = options.candidates
        wanted = int(np.ceil((high - low) * self._parallax.max() / options.spacing_px)) + 1
        candidates = np.linspace(low, high, min(max(wanted, fewest), most), dtype=np.float32)
        shown = {index: self._masked(index) for index in self._spread_frames()}

        def cost_of(candidate: np.float32) -> Float32[np.ndarray, "h w"]:
            total, count = np.zeros_like(drawn), np.full_like(drawn, 1e-3)
            for index, frame in shown.items():
                warped = self._on_plane(frame, index, float(candidate))
                seen = warped > -1.0
                total += np.where(seen, np.minimum(np.abs(warped - self._reference), _DISAGREEING), 0.0)
                count += seen
            known = options.prior * np.minimum(np.abs(candidate / drawn - 1.0) / 0.15, 3.0)
            return np.asarray(cv2.blur(total, window) / cv2.blur(count, window) + known, dtype=np.float32)

        costs = np.stack(side_by_side(cost_of, list(candidates)))
        best = np.clip(costs.argmin(axis=0), 1, len(candidates) - 2)
        before, there, after = (np.take_along_axis(costs, best[None] + step, axis=0)[0] for step in (-1, 0, 1))
        curvature = np.maximum(before - 2.0 * there + after, 1e-6)
        offset = np.clip(0.5 * (before - after) / curvature, -1.0, 1.0)
        field = candidates[best] + offset * (candidates[1] - candidates[0])
        lead = _lead(costs, best) if wanted > fewest else np.full_like(drawn, np.inf)
        return cv2.medianBlur(np.asarray(field, dtype=np.float32), 5), lead

    def _spread_frames(self) -> list[int]:
        """Frames spread over the more displaced two thirds."""
        order = np.argsort(self._parallax, kind="stable")
        count = min(self._options.max_frames, len(order))
        places = np.linspace(len(order) // 3, len(order) - 1, count).round().astype(np.int64)
        return [int(index) for index in order[np.unique(places)]]

    def _masked(self, index: int) -> Float32[np.ndarray, "h w"]:
        mask = self._masks[index]
        return self._frames[index] if mask is None else np.where(mask, self._frames[index], np.float32(_OUTSIDE))

    def _on_plane(
        self, frame: Float32[np.ndarray, "h w"], index: int, inverse_depth: float
    ) -> Float32[np.ndarray, "h w"]:
        """A frame as the reference would see it, were everything on the plane of one depth."""
        import cv2

        matrix = self._camera.opencv_matrix
        ahead = np.outer(self._translations[index], [0.0, 0.0, inverse_depth])
        frame_from_reference = matrix @ (self._rotations[index] + ahead) @ np.linalg.inv(matrix)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (self._camera.width, self._camera.height)
        return np.asarray(
            cv2.warpPerspective(
                frame, frame_from_reference, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=_OUTSIDE
            )
        )

    def refined(
        self, start: Float32[np.ndarray, "h w"], drawn: Float32[np.ndarray, "h w"], unit: float
    ) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
        """The field after Gauss-Newton steps on all frames, its relative deviation, and where the frames disagree."""
        options = self._options
        low, high = 0.5 * min(float(start.min()), float(drawn.min())), 1.5 * float(start.max())
        gradients = _gradients(self._reference)
        noise = self._noise(start)
        stiffness = (self._camera.fx / (options.slope * unit)) ** 2
        surface_step = options.step / self._camera.fx
        weak = np.float32(1e-4 / (_KNOWN_WITHIN * unit) ** 2)
        field = start
        for _ in range(options.rounds):
            information, pull, weights, seen = self._sums(field, gradients, noise)
            links = links_of(self._reference, field, stiffness, options.image_step, surface_step)
            target = (information * field - pull + weak * drawn) / (information + weak)
            field = smoothed_field(information + weak, target, links, field, options.solver_steps)
            field = np.clip(field, np.float32(low), np.float32(high))
        needed = max(options.min_seen * len(self._frames), min(2.0, len(self._frames)))
        doubtful = (weights < options.min_agreement * np.maximum(seen, 1.0)) | (seen < needed - 0.5)
        return field, self._deviation(information, field, stiffness), doubtful

    def _deviation(
        self, information: Float32[np.ndarray, "h w"], field: Float32[np.ndarray, "h w"], stiffness: float
    ) -> Float32[np.ndarray, "h w"]:
        """Relative standard deviation of a membrane of this stiffness held by this information.

        1 / (information + 2 stiffness (2 - cos a - cos b)), averaged over the frequencies a and b of the image, is
        about log(1 + 4 pi stiffness / information) / (4 pi stiffness).
        """
        import cv2

        gathered = np.maximum(cv2.blur(information, (_SUPPORT_PX, _SUPPORT_PX)), np.float32(1e-6))
        variance = np.log1p(4.0 * np.pi * stiffness / gathered) / (4.0 * np.pi * stiffness)
        from_poses = _POSES_PX / max(float(self._parallax.max()), 1e-6)
        deviation = np.sqrt((_EXCESS**2 * variance + from_poses**2) / field**2 + _LEAST_DEVIATION**2)
        return np.asarray(np.minimum(deviation, _KNOWN_WITHIN), dtype=np.float32)

    def _noise(self, field: Float32[np.ndarray, "h w"]) -> float:
        """Robust standard deviation of the differences between reference and frames, in grey levels."""
        samples = []
        for index in self._spread_frames()[::2]:
            warped, inside, _ = self._warped(field, index)
            samples.append(np.median(np.abs(warped - self._reference)[inside][::7]) if inside.any() else np.inf)
        return max(_MAD_TO_SIGMA * float(np.median(samples)), _LEAST_NOISE)

    def _sums(
        self,
        field: Float32[np.ndarray, "h w"],
        gradients: tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]],
        noise: float,
    ) -> tuple[
        Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]
    ]:
        """Information about each pixel's inverse depth, gradient of the cost, sum of weights, and frames that show it.

        The derivative of a frame's grey by inverse depth uses the mean gradient of the frame and the reference
        (Malis, Improving vision-based control using efficient second-order minimization techniques, 2004).
        """
        import cv2

        window = (self._options.window_px,) * 2
        scale = np.float32(1.0 / (_TRUSTED * noise) ** 2)

        def sums_of(frames: range) -> Float32[np.ndarray, "4 h w"]:
            sums = np.zeros((4, *field.shape), dtype=np.float32)
            for index in frames:
                warped, inside, (u, v, inverse) = self._warped(field, index)
                difference = warped - self._reference
                own = _gradients(warped)
                x, y = (np.float32(0.5) * (a + b) for a, b in zip(gradients, own, strict=True))
                r, t = self._rotations[index].astype(np.float32), self._translations[index].astype(np.float32)
                along_u = np.float32(self._camera.fx) * (t[0] - u * t[2]) * inverse
                along_v = np.float32(self._camera.fy) * (t[1] - v * t[2]) * inverse
                slope = (r[0, 0] * x + r[0, 1] * y) * along_u + (r[1, 0] * x + r[1, 1] * y) * along_v
                weight = np.where(inside, 1.0 / (1.0 + scale * difference * difference) ** 2, np.float32(0.0))
                weighted = weight * slope
                for place, value in enumerate((weighted * slope, weighted * difference, weight, inside)):
                    sums[place] += value
            return sums

        count = len(self._frames)
        parts = [range(first, min(first + _SUMMED_TOGETHER, count)) for first in range(0, count, _SUMMED_TOGETHER)]
        information, pull, total, shown = np.sum(side_by_side(sums_of, parts), axis=0)
        unit = np.float32(1.0 / noise**2)
        return (
            cv2.blur(information, window) * unit,
            cv2.blur(pull, window) * unit,
            cv2.blur(total, window),
            cv2.blur(shown, window),
        )

    def _warped(
        self, field: Float32[np.ndarray, "h w"], index: int
    ) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"], tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """A frame looked up where each pixel of the reference falls in it, which pixels fall on it, and their rays.

        The rays are (x / z, y / z) in the frame, and 1 / z of the point on the reference's ray at z = 1.
        """
        import cv2

        camera, mask = self._camera, self._masks[index]
        r, t = self._rotations[index].astype(np.float32), self._translations[index].astype(np.float32)
        x = ((np.arange(camera.width) + 0.5 - camera.cx) / camera.fx).astype(np.float32)
        y = ((np.arange(camera.height) + 0.5 - camera.cy) / camera.fy).astype(np.float32)[:, None]
        px, py, pz = (r[row, 0] * x + r[row, 1] * y + r[row, 2] + t[row] * field for row in range(3))
        inverse = 1.0 / np.maximum(pz, np.float32(1e-3))
        u, v = px * inverse, py * inverse
        columns = np.float32(camera.fx) * u + np.float32(camera.cx - 0.5)
        rows = np.float32(camera.fy) * v + np.float32(camera.cy - 0.5)
        warped = cv2.remap(self._frames[index], columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (columns >= 1) & (rows >= 1) & (columns < camera.width - 2) & (rows < camera.height - 2)
        if mask is not None:
            usable = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
            inside &= cv2.remap(usable, columns, rows, cv2.INTER_NEAREST, borderValue=0) > 0
        return np.asarray(warped), inside, (u, v, inverse)


def _lead(costs: Float32[np.ndarray, "k h w"], best: Int[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Least cost among candidates more than two steps from the best, over the best cost."""
    steps = np.abs(np.arange(len(costs))[:, None, None] - best[None])
    distant = np.where(steps > 2, costs, np.float32(np.inf)).min(axis=0)
    return distant / np.maximum(np.take_along_axis(costs, best[None], axis=0)[0], np.float32(0.5))


def _gradients(
    image: Float32[np.ndarray, "h w"],
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    import cv2

    across = cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    down = cv2.Sobel(image, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    return np.asarray(across), np.asarray(down)


def _small(camera: Camera) -> Camera:
    """The camera at the size of the sweep."""
    if camera.width < _HALVED_WIDTH:
        return camera
    return camera.resized(camera.width // 2, camera.height // 2)


def _resized(image: UInt8[np.ndarray, "h w"], camera: Camera) -> Float32[np.ndarray, "h2 w2"]:
    import cv2

    size = (camera.width, camera.height)
    return np.asarray(cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA))


def _resized_mask(mask: Bool[np.ndarray, "h w"], camera: Camera) -> Bool[np.ndarray, "h2 w2"]:
    """True where all of a pixel may be used."""
    import cv2

    size = (camera.width, camera.height)
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)) > 0.999


def _enlarged(
    field: Float32[np.ndarray, "h w"],
    deviation: Float32[np.ndarray, "h w"],
    doubtful: Bool[np.ndarray, "h w"],
    camera: Camera,
    surface_step: float,
) -> DenseDepth:
    """The field at the size of the images: linear within surfaces, the nearest value where two meet."""
    import cv2

    size = (camera.width, camera.height)
    nearest = cv2.resize(field, size, interpolation=cv2.INTER_NEAREST_EXACT)
    linear = cv2.resize(field, size, interpolation=cv2.INTER_LINEAR)
    inverse = np.where(np.abs(linear / nearest - 1.0) < surface_step, linear, nearest)
    unknown = cv2.resize(doubtful.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT) > 0
    spread = cv2.resize(deviation, size, interpolation=cv2.INTER_LINEAR)
    return DenseDepth(
        np.where(unknown, np.float32(0.0), inverse).astype(np.float32),
        np.where(unknown, np.float32(np.inf), spread).astype(np.float32),
    )
