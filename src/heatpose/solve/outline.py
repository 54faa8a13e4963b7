"""Refine poses so that outlines lie where the colours of the picture change.

Keypoints that a network is unsure of lean towards the middle of the object, which then seems
farther away than it is. Its outline shows how large it really is. Inside the outline the picture
has the object's colours, outside those of what stands around it. Both are read from the picture
itself, as histograms on either side of the outline in the pose so far, so that nothing has to be
known of light or material, and nothing is trained (PWP3D: Prisacariu and Reid, IJCV 2012). Along
short lines across the outline, colours and edges say how likely it lies at each place, and the
pose follows these places and the keypoints together, several steps for each outline that is drawn
(SRT3D: Stoiber et al., 2022, arXiv 2110.12715, section 3, where lines have colours only). Where
another object of the picture stands in front, nothing is compared.

All of it happens in small pictures, `SIDE` px wide; px are theirs unless it says otherwise.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array, Depth, Image, Mask
from heatpose.geometry.camera import Camera
from heatpose.render.raycast import Renderer
from heatpose.solve.pnp import Correspondences, PnPSolution
from heatpose.solve.refine import Sightings, covariance_of, perturbed, squared
from heatpose.solve.threads import in_threads

Floats = NDArray[np.float32]

SIDE = 128
REACHES = ((10, 8, 6), (4, 3))  # of lines to either side: steps with one outline, then the next
N_LINES = 100  # across an outline
BLUNT = 2  # next to an outline pixels mix both colours
BAND = 12  # within which what is around an object is looked at
FEWEST_PIXELS, FEWEST_LINES = 30, 10  # below which they say nothing
BITS = 4  # of each colour that histograms tell apart
COLOURS = 1 << 3 * BITS
PLACES = np.array([[1 << 2 * BITS, 1 << BITS, 1]], np.float32)  # of the tones in a colour's number
DOUBT = 0.05  # that a colour says nothing: no pixel can outvote many others
TEMPER = 0.5  # exponent of likelihoods of colours: neighbouring pixels are not independent
EDGE_NOISE = 6.0  # step from one pixel to the next that is no edge, of 255
# How far the outline lies beyond where geometry alone would put it (a tenth of a pixel): blurred
# pictures of round objects are darker at their edges, and colours call the last pixel background.
# On rendered scenes AR_MSSD was 0.428, 0.450, 0.436 with 0, 1/4, 1/2.
BEYOND = 0.25
LINE_WEIGHT = 0.3  # of a line beside a keypoint: neighbouring lines are not independent, either
LINE_SPREAD = 4.0  # residual of a line that counts half
KEYPOINT_SPREAD = 2.0  # the same for a keypoint
DAMPING = 1e-3 * np.eye(6)  # of a step: so much longer does the diagonal seem
CREDIBLE = 0.6  # of the support of the best pose of its kind: others hide nothing

# What each of the tones of a colour has of its own and of the next ones; the last ones keep more.
LEND = 0.5 * np.eye(1 << BITS) + 0.25 * np.eye(1 << BITS, k=1) + 0.25 * np.eye(1 << BITS, k=-1)
LEND[0, 0] = LEND[-1, -1] = 0.75


@dataclass(frozen=True, eq=False)
class CroppedObject:
    """An object in its crop, and where its keypoints put it."""

    object_id: int
    crop: Image  # (s, s, 3)
    keypoints: Correspondences  # px of the crop, with the camera that sees it
    solution: PnPSolution


@dataclass(frozen=True, eq=False)
class OutlineFit:
    """A pose that keypoints and outline agree on, and how well the outline fits the picture."""

    camera_from_object: Array  # (4, 4), mm
    covariance: Array  # (6, 6) of a left perturbation: rotation vector in rad, translation in mm
    contrast: float  # how much more of the inside has the object's colours than of the outside
    offset: float  # mean distance of the outline from where the picture has it, px
    open_share: float  # of the outline that nothing hides, in [0, 1]


def refine_with_outlines(
    objects: Sequence[CroppedObject], camera: Camera, renderer: Renderer, threads: int = 1
) -> list[OutlineFit | None]:
    """Move the objects of a picture to where keypoints and outlines fit best.

    Args:
        objects: all of the picture: each may hide others.
        camera: that took the picture the crops come from, without distortion.
        renderer: knows the objects.
        threads: that share the objects.

    Returns:
        For each object the fit, or None where there is too little of its outline to compare.
    """
    pictures = in_threads(lambda one: _picture(one, camera, renderer), objects, threads)
    there = _likely_there(objects)

    def fit(number: int) -> OutlineFit | None:
        # Others of its own kind do not hide it: they may be the same object, found twice.
        kind = objects[number].object_id
        others = [pictures[i] for i in there if objects[i].object_id != kind]
        return _fit(objects[number], pictures[number], others, renderer)

    return in_threads(fit, range(len(objects)), threads)


def _likely_there(objects: Sequence[CroppedObject]) -> list[int]:
    """Return the numbers of those that may hide others: not much worse than the best of a kind."""
    support = [one.keypoints.support(one.solution.inliers) for one in objects]
    best: dict[int, float] = {}
    for one, own in zip(objects, support, strict=True):
        best[one.object_id] = max(own, best.get(one.object_id, 0.0))
    return [i for i, one in enumerate(objects) if support[i] >= CREDIBLE * best[one.object_id]]


@dataclass(frozen=True, eq=False)
class _Picture:
    """A crop made small, and what keypoints say is in it."""

    camera: Camera
    depth: Depth  # of the object where the keypoints put it, (h, w), mm
    distance: float  # of its origin, mm along z
    colours: Floats  # (h, w, 3), in [0, 255], a little blurred
    bins: NDArray[np.int64]  # (h, w), number of each pixel's colour; -1 beyond the photograph
    keypoints: Sightings  # residuals in px
    precisions: Array  # of the keypoints, (k,), 1 / px^2; 0 for outliers


@dataclass(frozen=True, eq=False)
class _Rim:
    """The outline of an object as it is seen in one pose, and the colours on either side."""

    points: Sightings  # n on the object; residuals are where they are seen, px
    outwards: Array  # directions out of the object there, (n, 3), unit, object frame
    evidence: Floats  # log odds of each pixel to be the object's, (h, w)
    contrast: float
    open_share: float


@dataclass(frozen=True, eq=False)
class _Step:
    """Where a step led, and by what."""

    camera_from_object: Array  # (4, 4), mm
    normal: Array  # matrix of the normal equations, (6, 6)
    variance: float  # of a residual of weight one, px^2
    offsets: Array  # of the outline from where the picture has it, along its normals, (n,), px
    precisions: Array  # of these, (n,), 1 / px^2
    rim: _Rim


def _fit(
    one: CroppedObject, picture: _Picture, others: Sequence[_Picture], renderer: Renderer
) -> OutlineFit | None:
    """Fit one object, step by step, others being where their keypoints put them."""
    hidden = _hidden(picture, others)
    pose, depth, last = one.solution.camera_from_object, picture.depth, None
    for reaches in REACHES:
        if last is not None:
            depth = renderer.quick_depth(one.object_id, pose, picture.camera)
        rim = _rim(picture, depth, hidden, pose)
        if rim is None:
            break
        for reach in reaches:
            step = _step(picture, rim, pose, reach)
            if step is None:  # lost: keep what came before
                return None if last is None else _fit_of(last)
            pose, last = step.camera_from_object, step
    return None if last is None else _fit_of(last)


def _fit_of(step: _Step) -> OutlineFit:
    pose, rim = step.camera_from_object, step.rim
    return OutlineFit(
        camera_from_object=pose,
        covariance=covariance_of(step.normal, np.array(step.variance), pose),
        contrast=rim.contrast,
        offset=float(np.average(np.abs(step.offsets), weights=step.precisions)),
        open_share=rim.open_share,
    )


def _picture(one: CroppedObject, camera: Camera, renderer: Renderer) -> _Picture:
    crop_camera, seen = one.keypoints.camera, one.keypoints
    scale = SIDE / crop_camera.width
    shift = np.full(2, (scale - 1) / 2)
    small = crop_camera.warped(scale, shift, SIDE, SIDE)
    colours = np.asarray(
        cv2.resize(one.crop, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8
    )
    tones = (colours >> (8 - BITS)).astype(np.float32)
    bins = cv2.transform(tones, PLACES).astype(np.int64)
    bins[~_inside(camera, small)] = -1

    there = one.solution.inliers
    pixels = np.where(there[:, None], seen.pixels * scale + shift, 0)
    precisions = np.ones(len(pixels)) if seen.confidences is None else seen.confidences
    if seen.covariances is not None:
        precisions = precisions / (np.einsum("kii->k", seen.covariances) / 2 * scale**2)
    return _Picture(
        camera=small,
        depth=renderer.quick_depth(one.object_id, one.solution.camera_from_object, small),
        distance=float(one.solution.camera_from_object[2, 3]),
        colours=cv2.GaussianBlur(colours, (0, 0), 0.7).astype(np.float32),
        bins=bins,
        keypoints=_sightings(seen.points, pixels, small),
        precisions=np.where(there, precisions, 0),
    )


def _inside(camera: Camera, part: Camera) -> Mask:
    """Return which pixels (h, w) of a part, seen from the same place, the whole picture has."""
    zoom = part.fx / camera.fx
    left, top = part.cx - zoom * (camera.cx + 0.5), part.cy - zoom * (camera.cy + 0.5)
    x, y = np.arange(part.width), np.arange(part.height)[:, None]
    inside: Mask = (x > left) & (x < left + zoom * camera.width)
    return inside & (y > top) & (y < top + zoom * camera.height)


def _hidden(picture: _Picture, others: Sequence[_Picture]) -> Mask:
    """Return where other objects stand in front of the one of a picture, (h, w)."""
    hidden = np.zeros(picture.depth.shape, bool)
    own = np.where(np.isfinite(picture.depth), picture.depth, picture.distance)
    for other in others:
        # All crops are seen from one place: what is at pixel p of one is at scale * p + shift here.
        there, here = other.camera, picture.camera
        scale = here.fx / there.fx
        warp = np.array(
            [[scale, 0, here.cx - scale * there.cx], [0, scale, here.cy - scale * there.cy]]
        )
        depth = cv2.warpAffine(
            other.depth, warp, own.shape[::-1], flags=cv2.INTER_NEAREST, borderValue=np.nan
        )
        hidden |= np.asarray(depth) < own
    return hidden


def _rim(picture: _Picture, depth: Depth, hidden: Mask, pose: Array) -> _Rim | None:
    """Read the outline of an object off its depth, (h, w), mm, in a pose (4, 4).

    Returns:
        None where there is too little to compare.
    """
    mask = np.isfinite(depth)
    known = (picture.bins >= 0) & ~hidden
    distance = _signed_distance(mask)
    inside = known & (distance < -BLUNT)
    outside = known & (distance > BLUNT) & (distance < BAND)
    if min(np.count_nonzero(inside), np.count_nonzero(outside)) < FEWEST_PIXELS:
        return None
    pixels, open_share = _outline(mask, known)
    if len(pixels) < FEWEST_LINES:
        return None
    counts = [np.bincount(picture.bins[side], minlength=COLOURS) for side in (inside, outside)]
    share = _share_of_object(*counts)
    odds = np.log((share + DOUBT) / (1 - share + DOUBT)).astype(np.float32)
    within, beyond = (float(count @ share / count.sum()) for count in counts)
    columns, rows = pixels.T
    seen = picture.camera.unproject(pixels.astype(float), depth[rows, columns])
    return _Rim(
        points=_sightings((seen - pose[:3, 3]) @ pose[:3, :3], np.zeros(2), picture.camera),
        outwards=_normals(distance, pixels) @ pose[:2, :3],
        evidence=np.where(known, odds[picture.bins], np.float32(0)),
        contrast=within - beyond,
        open_share=open_share,
    )


def _signed_distance(mask: Mask) -> Floats:
    """Return the distance from the edge of a mask, (h, w), below zero inside."""
    inner = mask.astype(np.uint8)
    outwards = cv2.distanceTransform(1 - inner, cv2.DIST_L2, 3)
    return np.asarray(outwards - cv2.distanceTransform(inner, cv2.DIST_L2, 3), np.float32)


def _share_of_object(inside: NDArray[np.intp], outside: NDArray[np.intp]) -> Array:
    """Return how likely each colour is the object's, (COLOURS,), by how many pixels have it."""
    ours, theirs = (_smoothed(side / side.sum()) + 1e-5 for side in (inside, outside))
    share: Array = ours / (ours + theirs)
    return share


def _smoothed(histogram: Array) -> Array:
    """Let neighbouring colours of a histogram (COLOURS,) lend each other some, on all axes."""
    n = len(LEND)
    red = LEND @ histogram.reshape(n, n * n)
    both = LEND @ red.reshape(n, n, n)
    smoothed: Array = (both.reshape(n * n, n) @ LEND.T).ravel()
    return smoothed


def _outline(mask: Mask, known: Mask) -> tuple[NDArray[np.int32], float]:
    """Return positions on the outline that nothing hides, (n, 2), and their share of all."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    pixels = np.concatenate([contour[:, 0] for contour in contours])
    pixels = pixels[np.linspace(0, len(pixels), min(N_LINES, len(pixels)), False).astype(int)]
    height, width = mask.shape
    inner = ((pixels > 1) & (pixels < [width - 2, height - 2])).all(axis=1)
    # Beside what hides the object, the outline is that of what hides it.
    clear = cv2.erode(known.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    seen = inner & clear[pixels[:, 1], pixels[:, 0]]
    return pixels[seen], float(seen.mean())


def _normals(distance: Floats, pixels: NDArray[np.int32]) -> Array:
    """Return the directions out of the object, (n, 2), unit, at pixels (n, 2)."""
    smooth = cv2.GaussianBlur(distance, (0, 0), 1.5)
    columns, rows = pixels.T
    slopes = [cv2.Sobel(smooth, cv2.CV_32F, *order)[rows, columns] for order in ((1, 0), (0, 1))]
    normals = np.stack(slopes, axis=1).astype(float)
    unit: Array = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return unit


def _positions(
    picture: _Picture, evidence: Floats, pixels: Array, normals: Array, reach: int
) -> tuple[Array, Array]:
    """Return where on lines across it the outline lies, (n,), and with what precision, (n,).

    Args:
        picture: with its colours.
        evidence: log odds of each pixel to be the object's, (h, w).
        pixels: where lines start, (n, 2): the last pixels inside.
        normals: their directions, (n, 2).
        reach: how far they go to either side.
    """
    shifts, nearness, prior = _line(reach)
    steps = np.arange(-reach, reach + 2.0)  # the last one only ends an edge
    x, y = (
        (start[:, None] + steps * along[:, None]).astype(np.float32)
        for start, along in zip(pixels.T, normals.T, strict=True)
    )
    odds = _sampled(evidence, x, y)[:, :-1]
    colours = _sampled(picture.colours, x, y)
    changes = (colours[:, 1:] - colours[:, :-1]) / np.float32(EDGE_NOISE)
    edges = np.einsum("nmc,nmc->nm", changes, changes)
    # If the object ends at a step, all pixels up to there are its, and an edge follows.
    logs = TEMPER * np.cumsum(odds, axis=1) + np.log1p(edges) + nearness
    offsets, variances = _moments(logs, shifts)
    # Only what a line says beyond the prior counts, so a line that says nothing weighs nothing.
    return offsets, np.maximum(1 / (1 + variances) - 1 / (1 + prior), 1e-6)


@functools.cache
def _line(reach: int) -> tuple[Array, Array, float]:
    """Return the places on a line, px, and their log chances, (m,), unseen; and their variance."""
    shifts = np.arange(-reach, reach + 1.0) + BEYOND
    nearness = -2 * (shifts / reach) ** 2
    return shifts, nearness, float(_moments(nearness[None], shifts)[1][0])


def _moments(logs: Array, values: Array) -> tuple[Array, Array]:
    """Return means and variances (n,) of values (m,) that have these log chances, (n, m)."""
    chances = np.exp(logs - logs.max(axis=1, keepdims=True))
    totals = chances.sum(axis=1)
    means = chances @ values / totals
    variances: Array = chances @ values**2 / totals - means**2
    return means, variances


def _sampled(values: Floats, x: Floats, y: Floats) -> Floats:
    """Return values (h, w, ...) at places (n, m) between pixels, (n, m, ...)."""
    found = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def _step(picture: _Picture, rim: _Rim, pose: Array, reach: int) -> _Step | None:
    """Move a pose (4, 4) by one Gauss-Newton step on keypoints and lines across a rim.

    Returns:
        None for an object that reaches behind the camera before or after: it is lost.
    """
    pixels, distances = rim.points.residuals_and_depth(pose[None])
    residuals, depth = picture.keypoints.residuals_and_depth(pose[None])
    if distances.min() <= 0 or depth.min() <= 0:
        return None
    normals = (rim.outwards @ pose[:3, :3].T)[:, :2]
    normals /= np.maximum(np.hypot(*normals.T), 1e-9)[:, None]
    offsets, precisions = _positions(picture, rim.evidence, pixels[0], normals, reach)
    line_weights = LINE_WEIGHT * precisions / (1 + (offsets / LINE_SPREAD) ** 2)
    # How far points move along their normals, (n, 6).
    across = (normals[:, None] @ rim.points.slopes(pose[None], pixels, distances)[0])[:, 0]

    slopes = picture.keypoints.slopes(pose[None], residuals, depth).reshape(-1, 6)  # (2 k, 6)
    squares = squared(residuals[0])
    weights = picture.precisions / (1 + squares / KEYPOINT_SPREAD**2)

    weighted_across = across.T * line_weights
    weighted_slopes = slopes.T * np.repeat(weights, 2)
    normal: Array = weighted_across @ across + weighted_slopes @ slopes
    pull = weighted_across @ offsets - weighted_slopes @ residuals.ravel()
    change = np.linalg.solve(normal + DAMPING * normal + 1e-9 * np.eye(6), pull)

    square = line_weights @ offsets**2 + weights @ squares
    count = LINE_WEIGHT * len(offsets) + 2 * np.count_nonzero(weights)
    moved = perturbed(pose, change)
    if not moved[2, 3] > 0:  # NaN is not
        return None
    return _Step(
        camera_from_object=moved,
        normal=normal,
        variance=float(square) / max(count - 6, 1),
        offsets=offsets,
        precisions=precisions,
        rim=rim,
    )


def _sightings(points: Array, pixels: Array, camera: Camera) -> Sightings:
    """Return what a camera sees of points (n, 3), mm, object frame; residuals are in px."""
    count = len(points)
    pixels = np.broadcast_to(pixels, (count, 2))
    return Sightings(points, pixels, np.broadcast_to(np.eye(2), (count, 2, 2)), camera.matrix)
