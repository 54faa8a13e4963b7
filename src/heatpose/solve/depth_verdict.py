"""How well the pose of an object fits depth, its detection box, its keypoints and its colours.

A surface that was measured farther away than in a pose contradicts it, for nothing of the object
can be there; one that was measured nearer may be hidden by something else. Scoring poses by what is
drawn and what was measured, with what hides them excused, goes back to Hinterstoisser et al. (ACCV
2012) and Hodan et al. (IROS 2015).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array, Depth, Image, Mask
from heatpose.geometry.boxes import intersection_over_union
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.solve.depth import FEWEST_PIXELS, NARROWEST
from heatpose.solve.depth_view import DepthView, cut_depth
from heatpose.types import DepthEvidence, PoseEstimate

Floats = NDArray[np.float32]

AGAINST, HIDDEN = 1.5, 0.4  # what a point counts that contradicts, and one that may be hidden
# And what detection box, keypoints and colours count beside all of them.
OVERLAP, KEYPOINTS, COLOURS = 1.0, 0.6, 0.6
PLAIN = 0.05  # spread of colours, RGB in [0, 1], that says as little as none
KEYPOINT_SPREAD = 0.06  # of the box's longer side, beside each keypoint's own spread
LEAST_MEASURED = 0.5  # share of a surface: with less of it measured, its shares are of so much
TOLERANCE = 0.05  # diameters that the surface may be off, where that is more than noise
FRONT = (0.1, 0.35)  # quantiles of the depth in the middle of the box: the object, or its front
# A pose is doubted, and another looked for, with this share of its surface contradicted or more,
# that overlap of its box with the detection's or less, so little of it near what was measured, or
# less than so much of all of these together.
CONTRADICTED, LEAST_OVERLAP, LEAST_NEAR, LEAST_FIT = 0.1, 0.7, 0.3, 1.0
UNANIMOUS = 0.9  # support of keypoints from which on a pose is not doubted
CLEAR = (0.02, 0.93, 0.5)  # the same three of a pose after which no other is tried


@dataclass(frozen=True)
class Verdict(DepthEvidence):
    """How well a pose fits depth and picture; see `judge`."""

    colours: float = 0.0  # correlation of its colours with the picture's, in [-1, 1]

    @property
    def evidence(self) -> DepthEvidence:
        """What of it is evidence: colours say nothing that keypoints do not."""
        return DepthEvidence(self.near, self.contradicted, self.hidden, self.overlap, self.support)

    @property
    def fit(self) -> float:
        """How well surface and box fit, in one number, larger is better."""
        depth = self.near - AGAINST * self.contradicted - HIDDEN * self.hidden
        return depth + OVERLAP * self.overlap

    @property
    def score(self) -> float:
        """All of it in one number, larger is better."""
        return self.fit + KEYPOINTS * self.support + COLOURS * self.colours

    @property
    def doubtful(self) -> bool:
        """Whether another pose should be looked for.

        Not where keypoints are all but unanimous: depth cameras see through glass.
        """
        return self.support < UNANIMOUS and (
            self.contradicted > CONTRADICTED
            or self.overlap < LEAST_OVERLAP
            or self.near < LEAST_NEAR
            or self.fit < LEAST_FIT
        )

    @property
    def clear(self) -> bool:
        """Whether no other pose need be looked for."""
        contradicted, overlap, near = CLEAR
        return self.contradicted < contradicted and self.overlap > overlap and self.near > near


@dataclass(frozen=True, eq=False)
class Case:
    """What is looked for, and where."""

    estimate: PoseEstimate
    model: ObjectModel
    camera: Camera  # of the picture
    view: DepthView  # around the detection box
    picture: Floats  # of the same part and size, RGB in [0, 1]
    distances: list[float]  # of the object's origin along z, mm: first guesses

    @property
    def tolerance(self) -> float:
        """How far a surface may be from where it was measured, mm."""
        return max(NARROWEST, TOLERANCE * self.model.diameter)

    @property
    def corners(self) -> Array:
        """The rays through the detection box's upper left and lower right corner, (2, 3).

        One mm along z.
        """
        return self.camera.unproject(np.reshape(self.estimate.box, (2, 2)), np.ones(2))


def make_case(
    estimate: PoseEstimate, model: ObjectModel, depth: Depth, image: Image, camera: Camera
) -> Case | None:
    """Cut out what is around a detection box; None where it lies beyond the image.

    What was measured in the middle of the box says how far away the object is, else its pose does.
    """
    left, top, right, bottom = estimate.box
    width, height = right - left, bottom - top
    x, y = (left + right) / 2, (top + bottom) / 2
    rows = _within(y - height / 4, y + height / 4, camera.height)
    cols = _within(x - width / 4, x + width / 4, camera.width)
    middle = depth[rows, cols]
    middle = middle[np.isfinite(middle)]
    distances = [float(estimate.camera_from_object[2, 3])]
    if len(middle) >= FEWEST_PIXELS:
        near, far = np.quantile(middle, FRONT) + 0.3 * model.diameter
        distances = [near, far] if far - near > 0.2 * model.diameter else [far]
    half = max(0.7 * model.diameter * camera.fx / distances[-1], 0.6 * max(width, height)) + 2
    rows = _within(y - half, y + half, camera.height)
    cols = _within(x - half, x + half, camera.width)
    if rows.start == rows.stop or cols.start == cols.stop:
        return None
    view = cut_depth(rows, cols, depth, camera)
    return Case(estimate, model, camera, view, _picture(image, camera, view.camera), distances)


def _picture(image: Image, camera: Camera, part: Camera) -> Floats:
    """Return what a camera of fewer pixels sees of an image's part, (h, w, 3), RGB in [0, 1]."""
    step = camera.fx / part.fx
    low = np.array([camera.cx, camera.cy]) - step * np.array([part.cx, part.cy])
    beside = step + 1  # px that blur and interpolation touch
    end = low + step * np.array([part.width, part.height])
    cols, rows = (
        _within(first - beside, last + beside, size)
        for first, last, size in zip(low, end, (camera.width, camera.height), strict=True)
    )
    near = image[rows, cols]
    smooth = cv2.blur(near, (round(step), round(step))) if step > 1 else near
    warp = np.array([[step, 0, low[0] - cols.start], [0, step, low[1] - rows.start]])
    seen = cv2.warpAffine(
        smooth, warp, (part.width, part.height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return np.asarray(np.asarray(seen, np.float32) / 255, np.float32)


def _within(low: float, high: float, size: int) -> slice:
    """Return the pixels from low to high, those beyond an image left out."""
    return slice(int(np.clip(np.floor(low), 0, size)), int(np.clip(np.ceil(high) + 1, 0, size)))


def judge(pose: Array, case: Case, renderer: Renderer, colours: bool = True) -> Verdict | None:
    """Say how well a pose (4, 4) fits; None where nothing of it is in the picture to be seen.

    Of an object of which less than half was measured, shares are of that half: a few pixels, which
    may be of other things, do not decide about an object that sends no light back. Without
    colours, which take longer, it can be seen whether it is doubtful.
    """
    view, within = case.view, case.tolerance
    drawn = renderer.depth(case.estimate.object_id, pose, view.camera)
    there = np.isfinite(drawn)
    off = view.depth - drawn
    rows, cols = np.nonzero(there & ~(off <= -within))  # NaN is not: it may be seen
    if not len(rows):
        return None
    seen = (cols.min() - 0.5, rows.min() - 0.5, cols.max() + 0.5, rows.max() + 0.5)
    box = view.camera.project(case.corners).ravel()
    off = off[np.isfinite(off)]
    count = max(len(off), LEAST_MEASURED * np.count_nonzero(there))
    return Verdict(
        near=np.count_nonzero(np.abs(off) < within) / count,
        contradicted=np.count_nonzero(off >= within) / count,
        hidden=np.count_nonzero(off <= -within) / count,
        overlap=float(intersection_over_union(np.array([seen]), box[None])[0, 0]),
        support=float(keypoint_support(pose[None, :3, :3], pose[None, :3, 3], case)[0]),
        colours=_colours(pose, case, renderer, rows, cols) if colours else 0.0,
    )


def _colours(
    pose: Array, case: Case, renderer: Renderer, rows: NDArray[np.intp], cols: NDArray[np.intp]
) -> float:
    """Return how well an object's colours agree with the picture at some pixels, in [-1, 1]."""
    drawn = renderer.render([case.estimate.object_id], [pose], case.view.camera)
    return float(correlation(drawn.albedo[rows, cols], case.picture[rows, cols]))


def correlation(colours: Floats, others: Floats, there: Mask | None = None) -> Array:
    """Return how well colours (..., n, 3) agree but for brightness and tint, (...), in [-1, 1].

    Args:
        colours: RGB in [0, 1].
        others: likewise.
        there: which of them count, (..., n); by default all.
    """
    weights = np.ones((*colours.shape[:-1], 1)) if there is None else there[..., None]
    count = np.maximum(weights.sum(axis=(-2, -1)), 1)
    first, second = (
        weights * (one - (weights * one).sum(axis=-2, keepdims=True) / count[..., None, None])
        for one in (colours, others)
    )
    spreads = ((one**2).sum(axis=(-2, -1)) / (3 * count) + PLAIN**2 for one in (first, second))
    both = (first * second).sum(axis=(-2, -1)) / (3 * count)
    agreement: Array = both / np.sqrt(np.prod(list(spreads), axis=0))
    return agreement


def keypoint_support(rotations: Array, places: Array, case: Case) -> Array:
    """Return how well keypoints fit poses, (p,), in [0, 1]: those with small spreads count most."""
    estimate = case.estimate
    if estimate.keypoint_spreads is None:
        return np.zeros(len(places))
    spreads = np.hypot(_spread(estimate), estimate.keypoint_spreads)
    own = estimate.points_of(case.model.keypoints)
    points = own @ rotations.swapaxes(1, 2) + places[:, None]
    errors = np.linalg.norm(case.camera.project(points) - estimate.keypoints, axis=-1) / spreads
    there = np.isfinite(errors).all(axis=0)
    weights = np.where(there, estimate.keypoint_spreads, np.inf) ** -2
    agreeing = (weights / (1 + np.where(there, errors, 0) ** 2)).sum(axis=1)
    support: Array = agreeing / max(weights.sum(), 1e-12)
    return support


def agreeing_keypoints(
    pose: Array, estimate: PoseEstimate, model: ObjectModel, camera: Camera
) -> Mask:
    """Return which keypoints of an estimate lie about where another pose has them, (k,)."""
    pixels = camera.project(transform_points(pose, estimate.points_of(model.keypoints)))
    errors = np.linalg.norm(pixels - estimate.keypoints, axis=1)
    agreeing: Mask = errors < _spread(estimate)  # NaN is not
    return agreeing


def _spread(estimate: PoseEstimate) -> float:
    """Return how far keypoints may be off, px of the image."""
    left, top, right, bottom = estimate.box
    return KEYPOINT_SPREAD * max(right - left, bottom - top)
