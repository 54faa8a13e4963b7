"""Objects that send no light back stand on what a depth camera measures around them.

The picture alone says how far away a dark or shiny object is, and says it badly. But what it stands
on was measured: a plane, which the lowest point of the object touches. That is one residual along
the normal of the plane, and with the object turned about rightly it says the distance to some
thousandths. An object that floats is as far from where it seems to stand as it would have to move:
too far, and nothing is done.
"""

import numpy as np

from heatpose.geometry.arrays import Array, Depth
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.solve.depth import NARROWEST, PosedObject, pose_prior
from heatpose.solve.depth_view import DepthView, cut_depth
from heatpose.solve.refine import covariance_of, perturbed

# Share of an object's surface that was measured there or behind it, at most, over the share of what
# is around it that was measured at all.
UNSEEN = 0.1
# Share of its surface that may have been measured nearer: what is all but hidden may be elsewhere.
MOST_HIDDEN = 0.8
SAMPLED = 32  # rows and columns of pixels, at most, that say whether it was
FEWEST_POINTS = 60  # pixels that were measured around an object
TRIES = 64  # planes through three of these
FLAT = 10.0  # mm that a point of a plane may be off
LEAST_SHARE = 0.35  # of what was measured around an object, that its plane must have
# Share of what was measured next to the lowest point that may lie below the plane, which ends there
# then (above it other things stand); and what is next to it, as a share of the longer side of what
# is seen of the object.
MOST_BELOW, BESIDE = 0.3, 0.3
FARTHEST = 0.08  # share of its distance by which an object may move
EXACT = 0.01  # spread of the gap between object and plane, diameters


def stand(
    one: PosedObject, model: ObjectModel, depth: Depth, camera: Camera, renderer: Renderer
) -> PosedObject | None:
    """Put an object that was not measured onto the plane that was measured around it.

    Args:
        one: the object, as it is turned.
        model: of it.
        depth: (h, w), mm along z, NaN where nothing was measured.
        camera: of the depth image, without distortion.
        renderer: knows the object.

    Returns:
        None where it was measured, or all but hidden, or no plane was that it can stand on.
    """
    pose = one.camera_from_object
    rows, cols = renderer.region(one.object_id, pose, camera)
    height, width = rows.stop - rows.start, cols.stop - cols.start
    if height <= 0 or width <= 0:  # out of sight
        return None
    side = max(height, width)
    around = _wider(rows, side, camera.height), _wider(cols, side, camera.width)
    known = np.isfinite(depth[around]).mean()
    seen, hidden = _shares(one, rows, cols, depth, camera, renderer)
    if seen > UNSEEN * known or hidden > MOST_HIDDEN:
        return None
    view = cut_depth(*around, depth, camera)
    points = _points(view)
    plane = find_plane(points)
    if plane is None:
        return None
    normal, offset = plane
    lowest, gap = _foot(model, pose, normal, offset)
    if abs(gap) > FARTHEST * abs(normal @ pose[:3, 3]):
        return None
    across = np.linalg.norm(camera.project(points) - camera.project(lowest), axis=1)
    heights = points[across < BESIDE * side] @ normal - offset
    if len(heights) and (heights <= -FLAT).mean() > MOST_BELOW:
        return None
    return _touching(one, lowest, normal, gap, EXACT * model.diameter)


def _foot(model: ObjectModel, pose: Array, normal: Array, offset: float) -> tuple[Array, float]:
    """Return the lowest point of an object over a plane, (3,), and how far that must rise, mm."""
    vertices = transform_points(pose, model.mesh.vertices)
    lowest = vertices[np.argmin(vertices @ normal)]
    return lowest, float(offset - normal @ lowest)


def _shares(
    one: PosedObject, rows: slice, cols: slice, depth: Depth, camera: Camera, renderer: Renderer
) -> tuple[float, float]:
    """Return which share of an object's surface was measured there or behind, and which nearer."""
    step = -(-max(rows.stop - rows.start, cols.stop - cols.start) // SAMPLED)
    part = depth[rows, cols][::step, ::step]
    shift = -np.array([cols.start, rows.start]) / step
    seen_by = camera.warped(1 / step, shift, part.shape[1], part.shape[0])
    drawn = renderer.depth(one.object_id, one.camera_from_object, seen_by)
    count = max(np.isfinite(drawn).sum(), 1)
    nearest = drawn - NARROWEST
    return float((part > nearest).sum() / count), float((part <= nearest).sum() / count)


def _wider(part: slice, margin: int, size: int) -> slice:
    return slice(max(part.start - margin, 0), min(part.stop + margin, size))


def _touching(
    one: PosedObject, point: Array, normal: Array, gap: float, spread: float
) -> PosedObject:
    """Move an object so that a point of it, (3,), comes nearer to a plane by a gap, mm.

    How the picture has it counts as its covariance says, but for its distance.
    """
    pose, prior = one.camera_from_object, pose_prior(one)
    slope = np.concatenate([np.cross(point - pose[:3, 3], normal), normal])
    equations = prior.precision + np.outer(slope, slope) / spread**2
    change = np.linalg.solve(equations, slope * (gap / spread**2))
    moved = perturbed(pose, np.asarray(change, float))
    return PosedObject(one.object_id, moved, covariance_of(equations, np.array(1.0), moved))


def find_plane(points: Array) -> tuple[Array, float] | None:
    """Find the plane that most points (n, 3), mm, camera frame, lie on, by RANSAC.

    Returns:
        Its normal n (3,), towards the camera, and n . p of its points p, mm. None where there are
        too few points, or too few of them lie on one plane.
    """
    if len(points) < FEWEST_POINTS:
        return None
    rng = np.random.default_rng(0)
    corners = points[rng.integers(len(points), size=(TRIES, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    offsets = np.einsum("ti,ti->t", normals, corners[:, 0])
    near = np.abs(points @ normals.T - offsets) < FLAT
    near[:, ~normals.any(axis=1)] = False  # the same point twice is no plane
    on = points[near[:, near.sum(axis=0).argmax()]]
    if len(on) < max(LEAST_SHARE * len(points), 3):
        return None
    middle = on.mean(axis=0)
    normal = np.linalg.svd(on - middle, full_matrices=False)[2][2]
    normal = normal if normal @ middle < 0 else -normal
    return normal, float(normal @ middle)


def _points(view: DepthView) -> Array:
    """Return what was measured, (n, 3), mm, camera frame."""
    rows, cols = np.nonzero(np.isfinite(view.depth))
    pixels = np.stack([cols, rows], axis=1).astype(float)
    return view.camera.unproject(pixels, view.depth[rows, cols].astype(float))
