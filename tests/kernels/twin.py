"""Plain float64 twins of the compiled loops: every pixel meets every Gaussian, one formula a line, nothing clever.

Pixel centres lie at whole numbers + 0.5. Tangents are (rotation, translation), left perturbations of cam_from_world.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.cameras import Camera
from posesplat.kernels.splatting import RobustTerm, Scene

NEAR, BLUR, ALPHA_MIN, ALPHA_MAX, TRANSMITTANCE_MIN = 0.01, 0.3, 1 / 255, 0.999, 1e-4
GRAZING = 0.05
LAYER_SIGMAS, THICKEST_LAYER = 7.0, 0.25
BLOCK = 16


@dataclass(frozen=True)
class Cloud:
    """Gaussians in float64; every number is a float32, so that the kernel sees exactly the same."""

    means: np.ndarray
    quats_wxyz: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    normals: np.ndarray
    channels: np.ndarray

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, np.asarray(value, dtype=np.float32).astype(np.float64))

    def scene(self) -> Scene:
        fields = (self.means, self.quats_wxyz, self.scales, self.opacities, self.normals, self.channels)
        return Scene(*(field.astype(np.float32) for field in fields))

    def select(self, index: np.ndarray | slice) -> Cloud:
        return self.replaced(**{name: value[index] for name, value in vars(self).items()})

    def replaced(self, **values: np.ndarray) -> Cloud:
        """A copy with some arrays changed, which keep all their digits: for differences."""
        other = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(other, name, value)
        return other


@dataclass(frozen=True)
class Images:
    alpha: np.ndarray
    depth: np.ndarray
    planes: np.ndarray
    variance: np.ndarray
    channels: np.ndarray
    kappa: np.ndarray
    """Inverse depth of the rendered planes."""


@dataclass(frozen=True)
class Sums:
    hessian: np.ndarray
    gradient: np.ndarray
    cost: float
    observed: float
    covered: float
    inliers: float
    weights: float
    curvatures: float


def pixel_rays(camera: Camera) -> np.ndarray:
    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], axis=-1)


def axes_in_cam(cloud: Cloud, rotation: np.ndarray) -> np.ndarray:
    """The Gaussians' axes as columns, each as long as its standard deviation."""
    return rotation @ Rotation.from_quat(cloud.quats_wxyz, scalar_first=True).as_matrix() * cloud.scales[:, None, :]


def layer_ends(cloud: Cloud, rotation: np.ndarray, z: np.ndarray, layer: float) -> np.ndarray:
    """Depths beyond which Gaussians hide others: seven of their own standard deviations in depth, within limits."""
    spread = np.linalg.norm(axes_in_cam(cloud, rotation)[:, 2], axis=1)
    return z + np.maximum(np.minimum(LAYER_SIGMAS * spread, THICKEST_LAYER * z), layer * z)


def screen_covariances(cloud: Cloud, camera: Camera, rotation: np.ndarray, x_in_cam: np.ndarray) -> np.ndarray:
    """J C J^T + blur, with J at the centre clamped to 1.3 times the field of view (gsplat's classic mode)."""
    x, y, z = x_in_cam.T
    margin_x, margin_y = 0.15 * camera.width / camera.fx, 0.15 * camera.height / camera.fy
    x = z * np.clip(x / z, -camera.cx / camera.fx - margin_x, (camera.width - camera.cx) / camera.fx + margin_x)
    y = z * np.clip(y / z, -camera.cy / camera.fy - margin_y, (camera.height - camera.cy) / camera.fy + margin_y)
    jacobian = np.zeros((len(z), 2, 3))
    jacobian[:, 0, 0], jacobian[:, 0, 2] = camera.fx / z, -camera.fx * x / z**2
    jacobian[:, 1, 1], jacobian[:, 1, 2] = camera.fy / z, -camera.fy * y / z**2
    on_screen = jacobian @ axes_in_cam(cloud, rotation)
    return on_screen @ np.swapaxes(on_screen, 1, 2) + BLUR * np.eye(2)


def plane_vectors(normals_in_cam: np.ndarray, x_in_cam: np.ndarray) -> np.ndarray:
    """n / (n . X), or the plane that faces the camera when n is nearly at right angles to X."""
    distance = np.sum(normals_in_cam * x_in_cam, axis=1, keepdims=True)
    squared = np.sum(x_in_cam**2, axis=1, keepdims=True)
    grazing = distance**2 < GRAZING**2 * squared
    return np.where(grazing, x_in_cam / squared, normals_in_cam / np.where(grazing, 1.0, distance))


def render(
    cloud: Cloud,
    camera: Camera,
    cam_from_world: RigidTransform,
    *,
    layer: float = 0.0,
    shift: tuple[complex, complex] = (0.0, 0.0),
) -> Images:
    """Composite all Gaussians front to back at every pixel; ``shift`` moves the splats on the screen.

    An imaginary shift leaves every decision as it is and gives derivatives as imaginary parts (the complex step).
    """
    rays = pixel_rays(camera).reshape(-1, 3)
    rotation, x_in_cam = cam_from_world.rotation.as_matrix(), cam_from_world.apply(cloud.means.reshape(-1, 3))
    order = np.argsort(x_in_cam[:, 2].astype(np.float32), kind="stable")
    order = order[(x_in_cam[order, 2] > NEAR) & (cloud.opacities[order] >= ALPHA_MIN)]
    cloud, x_in_cam = cloud.select(order), x_in_cam[order]
    z = x_in_cam[:, 2:]

    # One row a Gaussian, one column a pixel.
    precision = np.linalg.inv(screen_covariances(cloud, camera, rotation, x_in_cam))
    du = camera.fx * (rays[:, 0] - x_in_cam[:, :1] / z) - shift[0]
    dv = camera.fy * (rays[:, 1] - x_in_cam[:, 1:2] / z) - shift[1]
    a, b, c = (precision[:, i, j, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    alpha = cloud.opacities[:, None] * np.exp(-0.5 * ((a * du + 2 * b * dv) * du + c * dv * dv))
    alpha = np.where(alpha.real >= ALPHA_MAX, ALPHA_MAX, np.where(alpha.real >= ALPHA_MIN, alpha, 0.0))

    def left_by(alpha: np.ndarray) -> np.ndarray:
        """What the first 0, 1, ... n splats leave of the light."""
        left = np.cumprod(1 - alpha, axis=0)
        return np.concatenate([np.ones((1, len(rays))), np.where(left.real > TRANSMITTANCE_MIN, left, 0.0)])

    if layer > 0:  # a Gaussian is weighed by what those left whose layers end in front of it
        ends = layer_ends(cloud, rotation, z[:, 0], layer)
        by_end = np.argsort(ends, kind="stable")
        visible = left_by(alpha[by_end])[np.searchsorted(ends[by_end], z[:, 0])]
    else:
        left = left_by(alpha)
        visible = left[:-1] * (left[1:].real > 0)
    weights = alpha * visible

    planes = plane_vectors(cloud.normals @ rotation.T, x_in_cam)
    total = weights.sum(axis=0)
    share = weights.T / np.where(total.real > 0, total, 1.0)[:, None]
    mean_plane = share @ planes
    kappa = np.sum(mean_plane * rays, axis=-1)
    second = np.sum(share * (rays @ planes.T) ** 2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where((total.real > 0) & (kappa.real > 0), second / kappa**2 - 1, 1.0)
    size = camera.height, camera.width
    return Images(
        alpha=np.where(total.real > 1, 1.0, total).reshape(size),
        depth=(share @ z).reshape(size),
        planes=mean_plane.reshape(*size, 3),
        variance=variance.reshape(size),
        channels=(share @ cloud.channels).reshape(*size, -1),
        kappa=kappa.reshape(size),
    )


def robust_sums(residual: np.ndarray, jacobian: np.ndarray, observed: float) -> Sums:
    """Geman-McClure sums of scaled residuals (p,) and Jacobians (p, d); whatever else was observed pays 1/2."""
    weight = (1 + residual**2) ** -2
    return Sums(
        hessian=np.einsum("p,pa,pb->ab", weight, jacobian, jacobian),
        gradient=np.einsum("p,pa,p->a", weight, jacobian, residual),
        cost=float(np.sum(0.5 * residual**2 / (1 + residual**2)) + 0.5 * (observed - len(residual))),
        observed=observed,
        covered=len(residual),
        inliers=float(np.sum(residual**2 < 1)),
        weights=float(np.sum(weight)),
        curvatures=float(np.sum((1 - 3 * residual**2) / (1 + residual**2) ** 3)),
    )


def distance_sums(planes: np.ndarray, rays: np.ndarray, depth: np.ndarray, term: RobustTerm, observed: float) -> Sums:
    """Signed distances of points depth * ray to planes (p, 3), over a scale that grows with the plane's depth."""
    norm = np.linalg.norm(planes, axis=1)
    kappa = np.sum(planes * rays, axis=1)
    on_plane = rays / kappa[:, None]
    scale = term.scale * (1 + term.scale_growth / kappa**2)
    residual = (1 - kappa * depth) / norm
    jacobian = np.concatenate([np.cross(on_plane, planes), planes], axis=1) / norm[:, None]
    return robust_sums(residual / scale, jacobian / scale[:, None], observed)


def pixel_motion(camera: Camera, rays: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    """d(u, v)/d(pose) of points ray / inverse_depth, shape (p, 2, 6): the pinhole's derivative times [-[X]x, I]."""
    x, y, zero = rays[:, 0], rays[:, 1], np.zeros(len(rays))
    by_point = np.stack(
        [
            np.stack([camera.fx * inverse_depth, zero, -camera.fx * x * inverse_depth], axis=-1),
            np.stack([zero, camera.fy * inverse_depth, -camera.fy * y * inverse_depth], axis=-1),
        ],
        axis=1,
    )
    points = rays / inverse_depth[:, None]
    by_rotation = np.cross(points[:, None, :], by_point)
    return np.concatenate([by_rotation, by_point], axis=2)


def one_surface(alpha: np.ndarray, variance: np.ndarray, term: RobustTerm, min_alpha: float) -> np.ndarray:
    return (alpha >= min_alpha) & (variance <= term.gate)


def depth_sums(images: Images, camera: Camera, depth: np.ndarray, term: RobustTerm, min_alpha: float) -> Sums:
    observed = np.isfinite(depth) & (depth > 0)
    valid = observed & one_surface(images.alpha, images.variance, term, min_alpha) & (images.kappa > 1e-6)
    return distance_sums(images.planes[valid], pixel_rays(camera)[valid], depth[valid], term, float(observed.sum()))


def channel_gradients(cloud: Cloud, camera: Camera, pose: RigidTransform, *, layer: float = 0.0) -> np.ndarray:
    """Derivative of the channels for a shift of all splats by one pixel in x and in y, shape (h, w, c, 2)."""
    step = 1e-30
    along_x = render(cloud, camera, pose, layer=layer, shift=(1j * step, 0)).channels
    along_y = render(cloud, camera, pose, layer=layer, shift=(0, 1j * step)).channels
    return np.stack([along_x, along_y], axis=-1).imag / step


def channel_sums(
    images: Images,
    gradients: np.ndarray,
    camera: Camera,
    observed: np.ndarray,
    term: RobustTerm,
    gain: float,
    bias: float,
    min_alpha: float,
) -> Sums:
    valid = one_surface(images.alpha, images.variance, term, min_alpha) & (images.kappa > 1e-6)
    motion = pixel_motion(camera, pixel_rays(camera)[valid], images.kappa[valid])
    by_pose = gain * np.einsum("pcx,pxk->pck", gradients[valid], motion)
    value = images.channels[valid]
    jacobian = np.concatenate([by_pose, value[..., None], np.ones((*value.shape, 1))], axis=2)
    residual = gain * value + bias - observed[valid]
    return robust_sums(residual.ravel() / term.scale, jacobian.reshape(-1, 8) / term.scale, float(observed.size))


def sampled(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear samples of an image (h, w, k) at pixel positions inside its outermost pixel centres."""
    x, y = u - 0.5, v - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    upper = (1 - fx) * image[top, left] + fx * image[top, left + 1]
    lower = (1 - fx) * image[top + 1, left] + fx * image[top + 1, left + 1]
    return (1 - fy) * upper + fy * lower


def inside(camera: Camera, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (u >= 0.5) & (v >= 0.5) & (u < camera.width - 0.5) & (v < camera.height - 0.5)


def strided(camera: Camera, step: int) -> np.ndarray:
    """The pixels that a lookup with a step visits: every step-th of each block."""
    x, y = np.arange(camera.width) % BLOCK, np.arange(camera.height) % BLOCK
    visited = np.arange(step // 2, BLOCK, step)
    return np.isin(y, visited)[:, None] & np.isin(x, visited)[None, :]


@dataclass(frozen=True)
class Frozen:
    """A view as float64 arrays."""

    camera: Camera
    cam_from_world: RigidTransform
    alpha: np.ndarray
    planes: np.ndarray
    variance: np.ndarray
    channels: np.ndarray | None = None


def lookup_depth_sums(
    view: Frozen,
    camera: Camera,
    cam_from_world: RigidTransform,
    depth: np.ndarray,
    term: RobustTerm,
    min_alpha: float,
    step: int = 1,
) -> Sums:
    observed = strided(camera, step) & np.isfinite(depth) & (depth > 0)
    rays, depths = pixel_rays(camera)[observed], depth[observed]
    view_from_query = view.cam_from_world * cam_from_world.inv()
    points = view_from_query.apply(rays * depths[:, None])
    points = np.where(points[:, 2:] > 0, points, np.nan)
    u, v = view.camera.project(points).T
    valid = inside(view.camera, u, v)
    for dx in (0, 1):  # all four neighbours must show one surface
        for dy in (0, 1):
            row, column = (np.where(valid, np.floor(t - 0.5) + d, 0).astype(int) for t, d in ((v, dy), (u, dx)))
            valid &= one_surface(view.alpha[row, column], view.variance[row, column], term, min_alpha)
    planes_in_view = sampled(view.planes, u[valid], v[valid])
    # The plane m . X = 1 with X = R x + t is (R^T m) . x = 1 - m . t.
    planes = planes_in_view @ view_from_query.rotation.as_matrix()
    planes /= 1 - planes_in_view @ view_from_query.translation[:, None]
    in_front = np.sum(planes * rays[valid], axis=1) > 1e-6
    return distance_sums(planes[in_front], rays[valid][in_front], depths[valid][in_front], term, float(observed.sum()))


def lookup_channel_sums(
    view: Frozen,
    camera: Camera,
    cam_from_world: RigidTransform,
    channels: np.ndarray,
    gradients: np.ndarray,
    term: RobustTerm,
    gain: float,
    bias: float,
    min_alpha: float,
    step: int = 1,
    depth: np.ndarray | None = None,
    occlusion: float = 0.0,
) -> Sums:
    assert view.channels is not None
    count = channels.shape[2]
    rays = pixel_rays(view.camera)
    kappa = np.sum(view.planes * rays, axis=-1)
    visited = strided(view.camera, step)
    valid = visited & one_surface(view.alpha, view.variance, term, min_alpha) & (kappa > 1e-6)
    points = (cam_from_world * view.cam_from_world.inv()).apply(rays[valid] / kappa[valid][:, None])
    values = view.channels[valid]
    u, v = camera.project(points).T
    seen = inside(camera, u, v)
    if depth is not None and occlusion > 0:
        row, column = (np.where(seen, np.round(t - 0.5), 0).astype(int) for t in (v, u))
        there = depth[row, column]
        seen &= ~((there > 0) & (np.abs(there - points[:, 2]) > occlusion * points[:, 2]))
    points, values, u, v = points[seen], values[seen], u[seen], v[seen]
    flat = gradients.reshape(*gradients.shape[:2], -1)
    gradient = sampled(flat, u, v).reshape(-1, count, 2)
    by_pose = -np.einsum("pcx,pxk->pck", gradient, pixel_motion(camera, points / points[:, 2:], 1 / points[:, 2]))
    jacobian = np.concatenate([by_pose, values[..., None], np.ones((*values.shape, 1))], axis=2)
    residual = gain * values + bias - sampled(channels, u, v)
    return robust_sums(
        residual.ravel() / term.scale, jacobian.reshape(-1, 8) / term.scale, float(visited.sum() * count)
    )


def fit_planes(
    inverse_depth: np.ndarray, radius: int, tolerance: float, min_support: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares of an affine inverse depth around every pixel: (value, slopes), relative rms, support."""
    height, width = inverse_depth.shape
    fit, residual, support = np.zeros((height, width, 3)), np.zeros((height, width)), np.zeros((height, width))
    for y, x in np.argwhere(inverse_depth > 0):
        rows = np.arange(max(y - radius, 0), min(y + radius + 1, height))
        columns = np.arange(max(x - radius, 0), min(x + radius + 1, width))
        window, centre = inverse_depth[np.ix_(rows, columns)], inverse_depth[y, x]
        used = (window > 0) & (np.abs(window - centre) <= tolerance * centre)
        support[y, x] = used.sum() / (2 * radius + 1) ** 2
        dy, dx = np.meshgrid(rows - y, columns - x, indexing="ij")
        design = np.stack([np.ones(used.sum()), dx[used], dy[used]], axis=1)
        if support[y, x] < min_support or used.sum() < 4 or np.linalg.matrix_rank(design) < 3:
            continue
        fit[y, x] = np.linalg.lstsq(design, window[used], rcond=None)[0]
        residual[y, x] = np.sqrt(np.mean((window[used] - design @ fit[y, x]) ** 2)) / centre
    return fit, residual, support
