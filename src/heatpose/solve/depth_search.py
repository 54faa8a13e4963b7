"""Look for an object in depth where its pose from the picture cannot be right.

`heatpose.solve.depth` turns an object by some tens of degrees at most: one that the picture has
the wrong way round stays so, and the depth image shows it. The measured surface then lies behind
the one in that pose, where nothing of the object can be: what is nearer may be something else in
front, what is farther contradicts. Such objects are looked for anew: seen from directions all
around, turned about the line of sight, each at the distance where most of its surface was
measured. Points of the surface say how well that fits (near ones for it, farther ones against it,
nearer ones a little against it), and so do the keypoints. The best are fitted to depth, and one
takes the place of the picture's pose if depth, detection box and keypoints together say so
clearly. Scoring poses by what is drawn and what was measured, with occluders excused, goes back
to Hinterstoisser et al. (ACCV 2012) and Hodan et al. (IROS 2015).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from heatpose.geometry.arrays import Array, Depth
from heatpose.geometry.boxes import intersection_over_union
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import make_transform
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.solve.attitudes import Attitudes, Floats, draw_attitudes
from heatpose.solve.depth import FEWEST_PIXELS, NARROWEST, DepthFit, PosePrior, fit_surface
from heatpose.solve.depth_view import DepthView, cut_depth
from heatpose.solve.refine import covariance_of
from heatpose.types import PoseEstimate

N_LOOKED_AT, N_FITTED = 64, 6  # of the best: those that are scored once more, and those fitted
REACH, BINS = 1.3, 36  # diameters to either side of the first guess, and bins of the distances
NEARLY = 0.25  # the same reach for those that are scored once more
SOFT = 0.15  # diameters that a point may be off before it counts for nothing
AGAINST, HIDDEN = 1.5, 0.4  # what a point counts that contradicts, and one that may be hidden
KEYPOINTS_FIRST, KEYPOINTS_LAST = 0.5, 0.6  # weight of keypoints while poses are looked for, and
OVERLAP = 1.0  # in the end, where the detection box counts too
KEYPOINT_SPREAD = 0.06  # of the box's longer side, beside each keypoint's own spread
APART = (np.cos(np.radians(25)), 0.3)  # two poses: cosine of a turn, or a shift in diameters
UNSURE = (0.4, 0.15)  # spread of a pose before it is fitted, rad and diameters
# A pose is doubted, and another looked for, with this share of its surface contradicted or more,
# that overlap of its box with the detection's or less, or so little of it near what was measured.
CONTRADICTED, LEAST_OVERLAP, LEAST_NEAR = 0.1, 0.7, 0.3
UNANIMOUS = 0.9  # support of keypoints from which on a pose is not doubted
CLEAR = (0.05, 0.8, 0.4)  # the same three of a pose after which no other is tried
TOLERANCE = 0.05  # diameters that the surface may be off, where that is more than noise
MARGIN = 0.15  # by which another pose must be better


@dataclass(frozen=True)
class Verdict:
    """How well a pose fits depth, detection box and keypoints."""

    near: float  # share of its surface with a measured depth that lies there
    contradicted: float  # share of it that was measured farther away
    hidden: float  # share of it that was measured nearer
    overlap: float  # of the box of what is seen of it with the detection's (IoU)
    support: float  # of the keypoints, in [0, 1]

    @property
    def score(self) -> float:
        """All of it in one number, larger is better."""
        depth = self.near - AGAINST * self.contradicted - HIDDEN * self.hidden
        return depth + OVERLAP * self.overlap + KEYPOINTS_LAST * self.support

    @property
    def doubtful(self) -> bool:
        """Whether another pose should be looked for.

        Not where keypoints are all but unanimous: depth cameras see through glass.
        """
        return self.support < UNANIMOUS and (
            self.contradicted > CONTRADICTED
            or self.overlap < LEAST_OVERLAP
            or self.near < LEAST_NEAR
        )

    @property
    def clear(self) -> bool:
        """Whether no other pose need be looked for."""
        contradicted, overlap, near = CLEAR
        return self.contradicted < contradicted and self.overlap > overlap and self.near > near


@dataclass(frozen=True, eq=False)
class _Case:
    """What is looked for, and where."""

    estimate: PoseEstimate
    model: ObjectModel
    camera: Camera  # of the picture
    view: DepthView  # around the detection box
    distance: float  # of the object's origin along z, mm, as a first guess

    @property
    def middle(self) -> Array:
        """The ray through the middle of the detection box, (3,), one mm along z."""
        left, top, right, bottom = self.estimate.box
        return self.camera.unproject(np.array([left + right, top + bottom]) / 2, np.array(1.0))


class DepthSearch:
    """Looks for objects in depth; what it knows of their surfaces is drawn when first needed."""

    def __init__(self, objects: Mapping[int, ObjectModel], renderer: Renderer) -> None:
        """Take the objects by id, and what renders them."""
        self.objects = objects
        self.renderer = renderer
        self._attitudes: dict[int, Attitudes] = {}

    def __call__(
        self, estimate: PoseEstimate, fit: DepthFit | None, depth: Depth, camera: Camera
    ) -> DepthFit | None:
        """Return another pose of an object if depth, box and keypoints clearly prefer it.

        Args:
            estimate: what the picture says.
            fit: its pose as depth has corrected it, if that could be done.
            depth: (h, w), mm along z, NaN where nothing was measured.
            camera: of picture and depth, without distortion.
        """
        case = _case(estimate, self.objects[estimate.object_id], depth, camera)
        if case is None:
            return None
        pose = estimate.camera_from_object if fit is None else fit.camera_from_object
        first = judge(pose, case, self.renderer)
        if first is not None and not first.doubtful:
            return None
        best, least = None, -np.inf if first is None else first.score + MARGIN
        for start in _candidates(case, pose, self.attitudes(estimate.object_id)):
            found = _fitted(start, case, self.renderer)
            verdict = found and judge(found.camera_from_object, case, self.renderer)
            if not (found and verdict):
                continue
            if verdict.score > least and not (first is None and verdict.doubtful):
                best, least = replace(found, agreement=verdict.near), verdict.score
            if verdict.clear:
                break
        return best

    def attitudes(self, object_id: int) -> Attitudes:
        """Return an object in turns all around; drawn once."""
        if object_id not in self._attitudes:
            self._attitudes[object_id] = draw_attitudes(self.objects[object_id], self.renderer)
        return self._attitudes[object_id]


def _case(estimate: PoseEstimate, model: ObjectModel, depth: Depth, camera: Camera) -> _Case | None:
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
    distance = float(estimate.camera_from_object[2, 3])
    if len(middle) >= FEWEST_PIXELS:
        distance = float(np.quantile(middle, 0.35)) + 0.3 * model.diameter
    half = max(0.7 * model.diameter * camera.fx / distance, 0.6 * max(width, height)) + 2
    rows = _within(y - half, y + half, camera.height)
    cols = _within(x - half, x + half, camera.width)
    if rows.start == rows.stop or cols.start == cols.stop:
        return None
    view = cut_depth(rows, cols, depth, camera)
    return _Case(estimate, model, camera, view, distance)


def _within(low: float, high: float, size: int) -> slice:
    """Return the pixels from low to high, those beyond an image left out."""
    return slice(int(np.clip(np.floor(low), 0, size)), int(np.clip(np.ceil(high) + 1, 0, size)))


def judge(pose: Array, case: _Case, renderer: Renderer) -> Verdict | None:
    """Say how well a pose (4, 4) fits; None where too little of its surface was measured."""
    view, within = case.view, max(NARROWEST, TOLERANCE * case.model.diameter)
    drawn = renderer.depth(case.estimate.object_id, pose, view.camera)
    off = view.depth - drawn
    measured = np.isfinite(off)
    rows, cols = np.nonzero(np.isfinite(drawn) & ~(off <= -within))
    if np.count_nonzero(measured) < FEWEST_PIXELS or not len(rows):
        return None
    seen = (cols.min() - 0.5, rows.min() - 0.5, cols.max() + 0.5, rows.max() + 0.5)
    corners = np.reshape(case.estimate.box, (2, 2))
    box = view.camera.project(case.camera.unproject(corners, np.ones(2))).ravel()
    off = off[measured]
    return Verdict(
        near=float((np.abs(off) < within).mean()),
        contradicted=float((off >= within).mean()),
        hidden=float((off <= -within).mean()),
        overlap=float(intersection_over_union(np.array([seen]), box[None])[0, 0]),
        support=float(_support(pose[None, :3, :3], pose[None, :3, 3], case)[0]),
    )


def _support(rotations: Array, places: Array, case: _Case) -> Array:
    """Return how well keypoints fit poses, (p,), in [0, 1]: those with small spreads count most."""
    estimate = case.estimate
    if estimate.keypoint_spreads is None:
        return np.zeros(len(places))
    left, top, right, bottom = estimate.box
    spreads = np.hypot(KEYPOINT_SPREAD * max(right - left, bottom - top), estimate.keypoint_spreads)
    points = case.model.keypoints @ rotations.swapaxes(1, 2) + places[:, None]
    errors = np.linalg.norm(case.camera.project(points) - estimate.keypoints, axis=-1) / spreads
    there = np.isfinite(errors).all(axis=0)
    weights = np.where(there, estimate.keypoint_spreads, np.inf) ** -2
    agreeing = (weights / (1 + np.where(there, errors, 0) ** 2)).sum(axis=1)
    support: Array = agreeing / max(weights.sum(), 1e-12)
    return support


def _candidates(case: _Case, pose: Array, attitudes: Attitudes) -> Iterator[Array]:
    """Give the poses (4, 4) that fit best before they are fitted, those that differ, best first.

    Objects are looked for at the place on the picture that their pose so far says, and where what
    is seen of them fills the middle of the detection box.
    """
    turned = attitudes.along(case.middle)
    spot = pose[:3, 3] * (case.distance / pose[2, 3])
    places = np.concatenate(
        [np.broadcast_to(spot, (len(turned.points), 3)), _centred(turned.points, case)]
    )
    numbers = np.tile(np.arange(len(turned.points)), 2)
    diameter = case.model.diameter
    scores, places = _placed(turned.points[numbers], places, case.view, diameter, REACH)
    best = np.argsort(-scores)[: 3 * N_LOOKED_AT]
    scores, places, numbers = scores[best], places[best], numbers[best]
    scores = scores + KEYPOINTS_FIRST * _support(turned.rotations[numbers], places, case)
    best = np.argsort(-scores)[:N_LOOKED_AT]
    places, numbers = places[best], numbers[best]
    scores, places = _placed(turned.points[numbers], places, case.view, diameter, NEARLY)
    scores = scores + KEYPOINTS_FIRST * _support(turned.rotations[numbers], places, case)
    given: list[Array] = []
    for i in np.argsort(-scores):
        found = make_transform(turned.rotations[numbers[i]], places[i])
        if not any(_alike(found, other, diameter) for other in given):
            given.append(found)
            yield found
        if len(given) == N_FITTED:
            return


def _alike(pose: Array, other: Array, diameter: float) -> bool:
    """Say whether two poses are so near each other that fitting both would be for nothing."""
    cosine, shift = APART
    turn = (np.trace(pose[:3, :3].T @ other[:3, :3]) - 1) / 2
    return bool(turn > cosine and np.linalg.norm(pose[:3, 3] - other[:3, 3]) < shift * diameter)


def _centred(points: Floats, case: _Case) -> Array:
    """Return where objects must be to fill the middle of the box, (a, 3), at the first guess.

    Args:
        points: what is seen of them, (a, n, 3), mm, from their origins.
        case: box and distance.
    """
    across = points[..., :2] / (points[..., 2:] + case.distance)
    middle = (across.min(axis=1) + across.max(axis=1)) / 2
    places = np.empty((len(points), 3))
    places[:, :2] = (case.middle[:2] - middle) * case.distance
    places[:, 2] = case.distance
    return places


def _placed(
    points: Floats, places: Array, view: DepthView, diameter: float, reach: float
) -> tuple[Array, Array]:
    """Move surfaces along their rays to where most of each was measured, and score them there.

    Args:
        points: of each surface, (p, n, 3), mm, from the object's origin.
        places: of the origins, (p, 3), mm.
        view: what was measured.
        diameter: of the object, mm.
        reach: how far they may be off, diameters.

    Returns:
        Scores (p,), at most 1, and places (p, 3).
    """
    off = _measured_behind(points, places, view)
    there = np.isfinite(off)
    off = np.where(there, off, np.float32(1e6))
    farther = _mode(off, reach * diameter)
    rest = np.where(there, off - farther[:, None], 0) / (SOFT * diameter)
    near = np.where(there, np.clip(1 - np.abs(rest), 0, 1), 0).sum(axis=1)
    contradicted = np.clip(rest - 0.5, 0, 1).sum(axis=1)
    hidden = np.clip(-rest - 0.5, 0, 1).sum(axis=1)
    count = np.maximum(there.sum(axis=1), points.shape[1] / 3)
    scores = (near - AGAINST * contradicted - HIDDEN * hidden) / count
    return scores, places * (1 + farther / places[:, 2])[:, None]


def _measured_behind(points: Floats, places: Array, view: DepthView) -> Floats:
    """Return how far behind points (p, n, 3) of objects at (p, 3) it was measured, mm; else NaN."""
    seen = points + places[:, None].astype(np.float32)
    camera, (height, width) = view.camera, view.depth.shape
    inverse = 1 / np.maximum(seen[..., 2], 1)
    cols = np.rint(seen[..., 0] * inverse * camera.fx + camera.cx).astype(np.int32)
    rows = np.rint(seen[..., 1] * inverse * camera.fy + camera.cy).astype(np.int32)
    inside = (cols >= 0) & (cols < width) & (rows >= 0) & (rows < height)
    measured = view.depth[np.clip(rows, 0, height - 1), np.clip(cols, 0, width - 1)]
    return np.where(inside, measured - seen[..., 2], np.float32(np.nan))


def _mode(values: Floats, reach: float) -> Array:
    """Return the mode (p,) of each row of values (p, n) within reach of 0: a mean around it."""
    width = 2 * reach / BINS
    bins = np.floor((values + reach) / width).astype(np.int64)
    within = (bins >= 0) & (bins < BINS)
    rows = np.arange(len(values))[:, None] * BINS
    votes = np.bincount((rows + bins)[within], minlength=len(values) * BINS).reshape(-1, BINS)
    votes[:, 1:-1] += votes[:, :-2] + votes[:, 2:]
    mode = (votes.argmax(axis=1) + 0.5) * width - reach
    rest = values - mode[:, None]
    near = np.abs(rest) < 1.5 * width
    mean: Array = mode + np.where(near, rest, 0).sum(axis=1) / np.maximum(near.sum(axis=1), 1)
    return mean


def _fitted(start: Array, case: _Case, renderer: Renderer) -> DepthFit | None:
    """Fit a pose to depth; None where that fails."""
    turn, shift = UNSURE[0], UNSURE[1] * case.model.diameter
    precision = np.diag(np.repeat([turn**-2, shift**-2], 3))
    prior = PosePrior(start, precision, shift)
    found = fit_surface(case.estimate.object_id, start, case.view, prior, renderer)
    if found is None or not np.isfinite(found[0]).all() or found[0][2, 3] <= 0:
        return None
    pose, normal, _ = found
    return DepthFit(pose, covariance_of(normal, np.array(1.0), pose), 0.0)
