"""Look for an object in depth where its pose from the picture cannot be right.

`heatpose.solve.depth` turns an object by some tens of degrees at most: one that the picture has
the wrong way round stays so, and the depth image shows it. The measured surface then lies behind
the one in that pose, where nothing of the object can be: what is nearer may be something else in
front, what is farther contradicts. Such objects are looked for anew: seen from directions all
around, turned about the line of sight, each at the distance where most of its surface was
measured. Points of the surface say how well that fits (near ones for it, farther ones against it,
nearer ones a little against it), and so do keypoints, detection box, and colours but for their
brightness and tint. The best are fitted to depth, and one takes the place of the picture's pose if
all of that together says so clearly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array, Mask
from heatpose.geometry.boxes import intersection_over_union
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.solve.attitudes import Attitudes, Floats, draw_attitudes
from heatpose.solve.depth import PosedObject, PosePrior, fit_surface
from heatpose.solve.depth_verdict import (
    AGAINST,
    COLOURS,
    HIDDEN,
    OVERLAP,
    Case,
    correlation,
    judge,
    keypoint_support,
)
from heatpose.solve.depth_view import DepthView
from heatpose.solve.refine import covariance_of

N_LOOKED_AT, N_FITTED = 64, 6  # of the best: those that are scored once more, and those fitted
N_ALIGNED = 128  # attitudes that are held against the edges of the box
IN_MIDDLE = np.zeros((1, 2))  # ways to lie in the box along x and y, see `_aligned`
AT_EDGES = np.array([[x, y] for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y])
REACH, BINS = 1.3, 36  # diameters to either side of the first guess, and bins of the distances
NEARLY = 0.25  # the same reach for those that are scored once more
SOFT = 0.15  # diameters that a point may be off before it counts for nothing
BETWEEN = 1.1  # box of a surface over that of its points
KEYPOINTS = 1.2  # weight of the keypoints beside that
NEARBY = np.radians(8)  # turns that are tried around each of those scored once more
APART = (np.cos(np.radians(25)), 0.3)  # two poses: cosine of a turn, or a shift in diameters
UNSURE = (0.4, 0.15)  # spread of a pose before it is fitted, rad and diameters
MARGIN = 0.15  # by which another pose must be better


class DepthSearch:
    """Looks for objects in depth; what it knows of their surfaces is drawn when first needed."""

    def __init__(self, objects: Mapping[int, ObjectModel], renderer: Renderer) -> None:
        """Take the objects by id, and what renders them."""
        self.objects = objects
        self.renderer = renderer
        self._attitudes: dict[int, Attitudes] = {}

    def __call__(self, case: Case, before: PosedObject | None = None) -> PosedObject | None:
        """Return another pose of an object if depth and picture clearly prefer it.

        Args:
            case: what the picture says of the object, as depth has corrected it, and where that is.
            before: the same before depth has corrected it; taken back where it is clearly better.
        """
        pose = case.estimate.camera_from_object
        first = judge(pose, case, self.renderer)
        if first is not None and not first.doubtful:
            return None
        best, least = None, -np.inf if first is None else first.score + MARGIN
        again = before and judge(before.camera_from_object, case, self.renderer)
        if again and again.score > least:
            best, least = before, again.score + MARGIN
        for start in _candidates(case, pose, self.attitudes(case.estimate.object_id)):
            found = _fitted(start, case, self.renderer)
            verdict = found and judge(found.camera_from_object, case, self.renderer)
            if not (found and verdict):
                continue
            if verdict.score > least and not (first is None and verdict.doubtful):
                best, least = found, verdict.score
            if verdict.clear:
                break
        return best

    def attitudes(self, object_id: int) -> Attitudes:
        """Return an object in turns all around; drawn once."""
        if object_id not in self._attitudes:
            self._attitudes[object_id] = draw_attitudes(self.objects[object_id], self.renderer)
        return self._attitudes[object_id]


@dataclass(frozen=True, eq=False)
class _Starts:
    """Poses that may be near the right one, and what is seen of the object in each."""

    rotations: Array  # (p, 3, 3)
    places: Array  # (p, 3), mm
    points: Floats  # (p, n, 3), mm, from the object's origin, camera's axes
    colours: Floats  # (p, n, 3), RGB in [0, 1]

    def only(self, chosen: NDArray[np.intp]) -> "_Starts":
        return _Starts(
            self.rotations[chosen], self.places[chosen], self.points[chosen], self.colours[chosen]
        )


def _candidates(case: Case, pose: Array, attitudes: Attitudes) -> Iterator[Array]:
    """Give the poses (4, 4) that fit best before they are fitted, those that differ, best first."""
    starts, scores = _turned_a_little(_all_around(case, pose, attitudes), case)
    given: list[Array] = []
    for i in np.argsort(-scores):
        found = make_transform(starts.rotations[i], starts.places[i])
        if not any(_alike(found, other, case.model.diameter) for other in given):
            given.append(found)
            yield found
        if len(given) == N_FITTED:
            return


def _all_around(case: Case, pose: Array, attitudes: Attitudes) -> _Starts:
    """Return the best of all attitudes.

    Objects are looked for at the place on the picture that their pose so far says, and where what
    is seen of them fills the middle of the detection box; those that fit best also where it begins
    or ends with the box, for the middle of what is half hidden lies elsewhere.
    """
    middle = case.corners.mean(axis=0)
    turned = attitudes.along(middle)
    count, ray = len(turned.points), pose[:3, 3] / pose[2, 3]
    places = np.concatenate(
        [np.broadcast_to(z * ray, (count, 3)) for z in case.distances]
        + [_aligned(turned.points, np.full(count, z), case, IN_MIDDLE) for z in case.distances]
    )
    numbers = np.tile(np.arange(count), len(places) // count)
    scores, places = _placed(turned.points[numbers], places, case.view, case.model.diameter, REACH)
    best = scores.reshape(-1, count).argmax(axis=0) * count + np.arange(count)
    best = best[np.argsort(-scores[best])[:N_ALIGNED]]
    aligned = _aligned(turned.points[numbers[best]], places[best, 2], case, AT_EDGES)
    also = np.tile(numbers[best], len(AT_EDGES))
    more, aligned = _placed(turned.points[also], aligned, case.view, case.model.diameter, REACH)
    numbers, scores = np.concatenate([numbers, also]), np.concatenate([scores, more])
    places = np.concatenate([places, aligned])
    best = np.argsort(-scores)[: 3 * N_LOOKED_AT]  # keypoints take longer to look at
    numbers, places, scores = numbers[best], places[best], scores[best]
    starts = _Starts(
        turned.rotations[numbers], places, turned.points[numbers], turned.colours[numbers]
    )
    scores = scores + KEYPOINTS * keypoint_support(starts.rotations, starts.places, case)
    return starts.only(np.argsort(-scores)[:N_LOOKED_AT])


def _turned_a_little(starts: _Starts, case: Case) -> tuple[_Starts, Array]:
    """Return the best of each start and the poses around it, and their scores (p,)."""
    axes = NEARBY * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    turns = matrix_from_vector(axes)
    count, n = starts.points.shape[:2]
    rotations = (turns[:, None] @ starts.rotations).reshape(-1, 3, 3)
    points = np.einsum("tij,pnj->tpni", turns.astype(np.float32), starts.points).reshape(-1, n, 3)
    places = np.tile(starts.places, (len(turns), 1))
    scores, places = _placed(points, places, case.view, case.model.diameter, NEARLY)
    around = _Starts(rotations, places, points, np.tile(starts.colours, (len(turns), 1, 1)))
    scores = scores + KEYPOINTS * keypoint_support(rotations, places, case)
    # What lies behind what was measured is hidden: it has no part in boxes, and no colours.
    seen = ~(_measured_behind(points, places, case.view) <= -2 * case.tolerance)
    scores = scores + OVERLAP * _overlaps(around, seen, case)
    scores = scores + COLOURS * _colours(around, seen, case)
    best = scores.reshape(-1, count).argmax(axis=0) * count + np.arange(count)
    return around.only(best), scores[best]


def _colours(starts: _Starts, seen: Mask, case: Case) -> Array:
    """Return how well colours of seen points (p, n) agree with the picture, (p,), in [-1, 1]."""
    cols, rows, inside = _pixels(starts.points, starts.places, case.view)
    return correlation(starts.colours, case.picture[rows, cols], inside & seen)


def _overlaps(starts: _Starts, seen: Mask, case: Case) -> Array:
    """Return how well boxes of seen points (p, n) cover the detection's, (p,): their IoU."""
    camera, points = case.camera, starts.points + starts.places[:, None]
    pixels = points[..., :2] / points[..., 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    low = np.where(seen[..., None], pixels, np.inf).min(axis=1)
    high = np.where(seen[..., None], pixels, -np.inf).max(axis=1)
    some = np.asarray((low <= high).all(axis=1))
    low, high = low[some], high[some]
    middle, half = (low + high) / 2, BETWEEN * (high - low) / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    overlaps = np.zeros(len(points))
    overlaps[some] = intersection_over_union(boxes, np.array([case.estimate.box]))[:, 0]
    return overlaps


def _alike(pose: Array, other: Array, diameter: float) -> bool:
    """Say whether two poses are so near each other that fitting both would be for nothing."""
    cosine, shift = APART
    turn = (np.trace(pose[:3, :3].T @ other[:3, :3]) - 1) / 2
    return bool(turn > cosine and np.linalg.norm(pose[:3, 3] - other[:3, 3]) < shift * diameter)


def _aligned(points: Floats, distances: Array, case: Case, ways: Array) -> Array:
    """Return where objects must be to fill the detection box in some ways, (w * p, 3), mm.

    Args:
        points: what is seen of them, (p, n, 3), mm, from their origins.
        distances: of the origins along z, mm, (p,).
        case: has the box.
        ways: along x and y, (w, 2): they begin with the box (-1), lie in its middle (0), or end
            with it (1).
    """
    deep = points[..., 2:] + distances[:, None, None]
    low, high = case.corners[:, :2]
    begin = (low * deep - points[..., :2]).max(axis=1)  # mm at which no point lies before the box
    end = (high * deep - points[..., :2]).min(axis=1)
    places = np.empty((len(ways), len(points), 3))
    places[..., :2] = (begin + end) / 2 + ways[:, None] * (end - begin) / 2
    places[..., 2] = distances
    return places.reshape(-1, 3)


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
    cols, rows, inside = _pixels(points, places, view)
    behind = view.depth[rows, cols] - points[..., 2] - places[:, None, 2].astype(np.float32)
    return np.where(inside, behind, np.float32(np.nan))


def _pixels(
    points: Floats, places: Array, view: DepthView
) -> tuple[NDArray[np.int32], NDArray[np.int32], Mask]:
    """Return columns and rows at which points are seen, moved into the view, and which were in."""
    seen = points + places[:, None].astype(np.float32)
    camera, (height, width) = view.camera, view.depth.shape
    inverse = 1 / np.maximum(seen[..., 2], 1)
    cols = np.rint(seen[..., 0] * inverse * camera.fx + camera.cx).astype(np.int32)
    rows = np.rint(seen[..., 1] * inverse * camera.fy + camera.cy).astype(np.int32)
    inside = (cols >= 0) & (cols < width) & (rows >= 0) & (rows < height)
    return np.clip(cols, 0, width - 1), np.clip(rows, 0, height - 1), inside


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


def _fitted(start: Array, case: Case, renderer: Renderer) -> PosedObject | None:
    """Fit a pose to depth; None where that fails."""
    turn, shift = UNSURE[0], UNSURE[1] * case.model.diameter
    precision = np.diag(np.repeat([turn**-2, shift**-2], 3))
    prior = PosePrior(start, precision, shift)
    found = fit_surface(case.estimate.object_id, start, case.view, prior, renderer)
    if found is None or not np.isfinite(found[0]).all() or found[0][2, 3] <= 0:
        return None
    pose, normal, _ = found
    covariance = covariance_of(normal, np.array(1.0), pose)
    return PosedObject(case.estimate.object_id, pose, covariance)
