"""Refine poses so that the surface lies where a depth camera has measured it.

A picture says well where on it an object is and how it is turned, and badly how far away it is;
depth says that first. So an object first moves along its ray, by what most of its visible surface
is off, which neither holes nor something in front of it changes. A few steps of robust
point-to-plane least squares follow: each point of the surface is held against what was measured at
the pixel where it is seen (projective association: Blais and Levine, PAMI 1995), along the normal
of its facet (Chen and Medioni, 1992; Rusinkiewicz and Levoy, 3DIM 2001). The pose from the picture
stays in as a prior with its covariance, so that what depth cannot see, as the turn of a ball or the
shift of a plate, is left to the picture.

Poses are perturbed as in `heatpose.solve.refine`. Pixels are those of a part of the depth image
around the object, every so many of them, which has its own camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array, Depth
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import skew, vector_from_matrix
from heatpose.geometry.transforms import invert, transform_points
from heatpose.render.raycast import Renderer, Surface
from heatpose.solve.depth_view import DepthView, cut_depth
from heatpose.solve.refine import covariance_of, perturbed
from heatpose.solve.threads import in_threads

Floats = NDArray[np.float32]

FEWEST_PIXELS = 12  # of the surface with a measured depth, below which depth says nothing
BIN = 4.0  # of the histogram of what the surface is off, mm
STEPS = (3, 3)  # of least squares; the surface is looked up anew for each number
AGAIN = (3,)  # the same for a pose that depth has corrected before
WIDEST, NARROWEST = 20.0, 6.0  # residual that counts a quarter, mm: three times the noise, within
LEAST_AGREEMENT = 0.15  # share of the surface within the last reach, below which depth is not heard
LEAST_NOISE = 1.0  # of a measured depth, mm
SYSTEMATIC = 1.0  # error that all measured depths of an object share, mm
MOST_COUNTED = 100.0  # pixels: neighbouring ones are not independent
GRAZING = 0.15  # cosine at which a surface is seen too flatly to be measured
PRIOR_SCALE = 4.0  # how much wider than it says a pose from the picture is taken to be spread
PRIOR_DISTANCE = 0.1  # and how unsure its distance is besides, as a share of it
MOST_SPREAD = 0.2  # share of the distance: further off nothing is looked for
UNKNOWN = (0.2, 10.0)  # spread of a pose that comes without covariance, rad and mm


@dataclass(frozen=True, eq=False)
class PosedObject:
    """An object and where the picture puts it."""

    object_id: int
    camera_from_object: Array  # (4, 4), mm
    covariance: Array  # (6, 6) of a left perturbation: rotation vector in rad, translation in mm


@dataclass(frozen=True, eq=False)
class DepthFit:
    """A pose that picture and depth agree on."""

    camera_from_object: Array  # (4, 4), mm
    covariance: Array  # (6, 6) of a left perturbation: rotation vector in rad, translation in mm
    agreement: float  # see `depth_agreement`


def refine_with_depth(
    objects: Sequence[PosedObject],
    depth: Depth,
    camera: Camera,
    renderer: Renderer,
    threads: int = 1,
    steps: Sequence[int] = STEPS,
) -> list[DepthFit | None]:
    """Move the objects of a picture to where picture and depth fit best.

    Args:
        objects: with the poses that the picture gives.
        depth: (h, w), mm along z, NaN where nothing was measured.
        camera: of the depth image, without distortion.
        renderer: knows the objects.
        threads: that share the objects.
        steps: of least squares after each look at the surface.

    Returns:
        For each object the fit; None where too little of it was measured, what was measured lies
        elsewhere, or no pose fits picture and depth together better than the one given.
    """
    return in_threads(lambda one: _fit(one, depth, camera, renderer, steps), objects, threads)


def depth_ratio(
    objects: Sequence[PosedObject], depth: Depth, camera: Camera, renderer: Renderer
) -> float | None:
    """Return how many times as far as their poses say objects were measured, in the median.

    None where nothing was measured on any. Far from one, the two are not in the same unit.
    """
    ratios = []
    for one in objects:
        view = _view(one, depth, camera, renderer)
        if view is not None:
            surface = renderer.surface(one.object_id, one.camera_from_object, view.camera)
            ratios.append((view.depth / surface.depth)[np.isfinite(view.depth - surface.depth)])
    known = np.concatenate(ratios) if ratios else np.empty(0)
    return float(np.median(known)) if len(known) else None


def depth_agreement(
    one: PosedObject, depth: Depth, camera: Camera, renderer: Renderer
) -> float | None:
    """Return which share of an object's surface with a measured depth lies there, in [0, 1].

    There is within `NARROWEST` whatever the sensor, so that poses can be compared. None where too
    little of the surface was measured.
    """
    view = _view(one, depth, camera, renderer)
    if view is None:
        return None
    surface = renderer.surface(one.object_id, one.camera_from_object, view.camera)
    enough = len(_off(surface, view)) >= FEWEST_PIXELS
    return _agreement(surface, view, NARROWEST) if enough else None


@dataclass(frozen=True, eq=False)
class PosePrior:
    """What is known of a pose before depth is looked at."""

    pose: Array  # (4, 4), mm
    precision: Array  # (6, 6) of a perturbation: of rotation vector, rad, and translation, mm
    spread: float  # of the depth of its origin, mm

    def offset(self, pose: Array) -> Array:
        """Return what turns and moves the prior's pose to another one, (6,), rad and mm."""
        turn = vector_from_matrix(pose[:3, :3] @ self.pose[:3, :3].T)
        return np.concatenate([turn, pose[:3, 3] - self.pose[:3, 3]])


@dataclass(frozen=True, eq=False)
class _Residuals:
    """How far points of the surface are from what was measured, along their normals."""

    values: Array  # (n,), mm
    slopes: Array  # of the distances that the points move along their normals, (n, 6)
    along: Array  # how much they change as all of the depth image moves by 1 mm, (n,)


def _fit(
    one: PosedObject, depth: Depth, camera: Camera, renderer: Renderer, steps: Sequence[int]
) -> DepthFit | None:
    view = _view(one, depth, camera, renderer)
    if view is None:
        return None
    prior = pose_prior(one)
    start = renderer.surface(one.object_id, prior.pose, view.camera)
    farther = _farther(view.depth - start.depth, prior)
    if farther is None or prior.pose[2, 3] + farther <= 0:
        return None
    pose = _at_distance(prior.pose, farther)
    stepped = fit_surface(one.object_id, pose, view, prior, renderer, steps)
    if stepped is None:
        return None
    pose, normal, reach = stepped
    end = renderer.surface(one.object_id, pose, view.camera)
    near = _agreement(end, view, reach)
    before = _energy(start, view, prior.pose, prior, reach)
    if near < LEAST_AGREEMENT or _energy(end, view, pose, prior, reach) >= before:
        return None
    agreement = _agreement(end, view, NARROWEST)
    return DepthFit(pose, covariance_of(normal, np.array(1.0), pose), agreement)


def fit_surface(
    object_id: int,
    pose: Array,
    view: DepthView,
    prior: PosePrior,
    renderer: Renderer,
    steps: Sequence[int] = STEPS,
) -> tuple[Array, Array, float] | None:
    """Fit a pose to depth and to what is known of it, from where it is.

    Args:
        object_id: the object.
        pose: (4, 4), mm, within some tens of degrees of the right one.
        view: what was measured.
        prior: what is known of the pose.
        renderer: knows the object.
        steps: of least squares after each look at the surface.

    Returns:
        The pose, the matrix of its normal equations, (6, 6), and the residual that counted a
        quarter in the end, mm. None where too little was measured.
    """
    reach = WIDEST
    for count in steps:
        surface = renderer.surface(object_id, pose, view.camera)
        points, normals = _points(surface, pose, view.camera)
        for _ in range(count):
            residuals = _residuals(points, normals, pose, view)
            if len(residuals.values) < FEWEST_PIXELS:
                return None
            noise = _noise(residuals.values, reach)
            reach = float(np.clip(3 * noise, NARROWEST, WIDEST))
            normal, right = _equations(residuals, noise, reach)
            normal, right = normal + prior.precision, right - prior.precision @ prior.offset(pose)
            pose = perturbed(pose, np.asarray(np.linalg.solve(normal, right), float))
    return pose, normal, reach


def _view(one: PosedObject, depth: Depth, camera: Camera, renderer: Renderer) -> DepthView | None:
    """Cut out the part around an object; None where it is out of sight."""
    rows, cols = renderer.region(one.object_id, one.camera_from_object, camera)
    height, width = rows.stop - rows.start, cols.stop - cols.start
    if one.camera_from_object[2, 3] <= 0 or height <= 0 or width <= 0:
        return None
    return cut_depth(rows, cols, depth, camera)


def pose_prior(one: PosedObject) -> PosePrior:
    """Return what the picture knows of a pose: more of its turn than of its distance."""
    pose = one.camera_from_object
    own_from_left = np.eye(6)
    own_from_left[3:, :3] = -skew(pose[:3, 3])
    covariance = PRIOR_SCALE**2 * own_from_left @ one.covariance @ own_from_left.T
    if not np.isfinite(covariance).all():
        covariance = np.diag(np.repeat(np.square(UNKNOWN), 3))
    distance = float(np.linalg.norm(pose[:3, 3]))
    ray = pose[:3, 3] / distance
    covariance[3:, 3:] += (PRIOR_DISTANCE * distance) ** 2 * np.outer(ray, ray)
    covariance += np.diag([1e-8] * 3 + [1e-4] * 3)
    spread = min(np.sqrt(ray @ covariance[3:, 3:] @ ray), MOST_SPREAD * distance) * ray[2]
    return PosePrior(pose, np.asarray(np.linalg.inv(covariance), float), float(spread))


def _farther(off: Depth, prior: PosePrior) -> float | None:
    """Return how much farther than thought most of the surface is, mm along z.

    The mode, with the prior, and then the median around it. None where too little was measured.

    Args:
        off: measured minus rendered depth, (h, w), mm; NaN where there is either none.
        prior: says how far it may be off.
    """
    reach = 3 * prior.spread + 2 * BIN
    near = off[np.abs(off) < reach]  # NaN is not
    if len(near) < FEWEST_PIXELS:
        return None
    votes, edges = np.histogram(near, np.arange(-reach, reach + BIN, BIN))
    votes = np.convolve(votes, [0.25, 0.5, 0.25], "same")
    centres = (edges[1:] + edges[:-1]) / 2
    mode = centres[np.argmax(votes * np.exp(-((centres / prior.spread) ** 2) / 2))]
    return float(np.median(near[np.abs(near - mode) < 2 * BIN]))


def _at_distance(pose: Array, farther: float) -> Array:
    """Return a pose moved along its ray by so much in depth, mm."""
    moved = pose.copy()
    moved[:3, 3] *= 1 + farther / pose[2, 3]
    return moved


def _points(surface: Surface, pose: Array, camera: Camera) -> tuple[Array, Array]:
    """Return what is seen of a surface: points and normals, (n, 3) each, object frame."""
    rows, cols = np.nonzero(np.isfinite(surface.depth))
    points = camera.unproject(
        np.stack([cols, rows], axis=1), surface.depth[rows, cols].astype(float)
    )
    normals = surface.normals[rows, cols].astype(float)
    cosines = -np.einsum("ni,ni->n", normals, points) / np.linalg.norm(points, axis=1)
    facing = np.flatnonzero(cosines > GRAZING)
    return transform_points(invert(pose), points[facing]), normals[facing] @ pose[:3, :3]


def _residuals(points: Array, normals: Array, pose: Array, view: DepthView) -> _Residuals:
    """Compare points of the object, with their normals, (n, 3), with what was measured there."""
    arms = points @ pose[:3, :3].T
    seen, facing = arms + pose[:3, 3], normals @ pose[:3, :3].T
    height, width = view.depth.shape
    with np.errstate(invalid="ignore"):
        pixels = np.rint(view.camera.project(seen))
        inside = np.asarray(((pixels >= 0) & (pixels < [width, height])).all(axis=1))
    cols, rows = np.where(inside[:, None], pixels, 0).astype(int).T
    measured = np.where(inside, view.depth[rows, cols], np.nan)
    there = np.flatnonzero(np.isfinite(measured))
    arms, seen, facing, pixels = arms[there], seen[there], facing[there], pixels[there]
    rays = view.camera.unproject(pixels, np.ones(len(pixels)))
    gaps = rays * measured[there][:, None] - seen
    return _Residuals(
        values=np.einsum("ni,ni->n", facing, gaps),
        slopes=np.concatenate([np.cross(arms, facing), facing], axis=1),
        along=np.einsum("ni,ni->n", facing, rays),
    )


def _noise(values: Array, reach: float) -> float:
    """Return the spread of those residuals (n,), mm, that are within reach."""
    near = np.abs(values)[np.abs(values) < reach]
    return max(1.4826 * float(np.median(near)), LEAST_NOISE) if len(near) else reach


def _equations(residuals: _Residuals, noise: float, reach: float) -> tuple[Array, Array]:
    """Return the normal equations of depth alone, J^T W J (6, 6) and J^T W r (6,).

    Geman and McClure's weights; an error that all depths share is taken out as one more unknown.
    """
    values, slopes, along = residuals.values, residuals.slopes, residuals.along
    weights = (1 + (values / reach) ** 2) ** -2
    weights *= min(1, MOST_COUNTED / weights.sum()) / noise**2
    weighted = slopes * weights[:, None]
    normal, right = weighted.T @ slopes, weighted.T @ values
    shared = weighted.T @ along
    known = 1 / (SYSTEMATIC**-2 + (weights * along**2).sum())
    normal -= known * np.outer(shared, shared)
    right -= known * shared * (weights * along * values).sum()
    return normal, right


def _agreement(surface: Surface, view: DepthView, reach: float) -> float:
    """Return which share of a surface with a measured depth lies within reach, mm, of it."""
    off = _off(surface, view)
    return float((np.abs(off) < reach).mean()) if len(off) else 0.0


def _energy(
    surface: Surface, view: DepthView, pose: Array, prior: PosePrior, reach: float
) -> float:
    """Return how badly a pose, with the surface that it shows, fits depth and picture together."""
    squares = (_off(surface, view) / reach) ** 2
    depth = float((squares / (1 + squares)).mean()) if len(squares) else 1.0
    offset = prior.offset(pose)
    return MOST_COUNTED * depth + float(offset @ prior.precision @ offset) / 2


def _off(surface: Surface, view: DepthView) -> Floats:
    """Return how much farther than a surface it was measured, mm, wherever it was (n,)."""
    off = np.asarray(view.depth - surface.depth)
    return np.asarray(off[np.isfinite(off)])
