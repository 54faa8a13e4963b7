"""Refine poses so that what lies inside of outlines fits the picture, too.

Edges between faces, folds, print: where an object is drawn in its pose, small patches of the
drawing that show something are looked for in the picture around, by the correlation of their
brightness (normalised: Lewis, Vision Interface 1995). That is blind to how bright the light is
and how strong, and folds and edges look much alike under most lights, so models without any
colours do nearly as well. Each place says with a covariance where it should be, and the pose
follows all of these and what it was before, as sure as that was, together.

All of it happens in small pictures of the objects, `SIDE` px wide; px are theirs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.data.crops import crop_around
from heatpose.geometry.arrays import Array, Image, Mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import vector_from_matrix
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer, Rendering
from heatpose.render.shading import shade
from heatpose.solve.passes import box_in_pose
from heatpose.solve.refine import Sightings, covariance_of, own_from_left, perturbed
from heatpose.solve.threads import in_threads
from heatpose.types import PoseEstimate

Floats = NDArray[np.float32]

SIDE, MARGIN = 160, 1.3  # of the picture of an object, px, and over the longer side of its box
ROUNDS = 2  # of drawing the object and looking for its patches
NEAR = 4.0  # spread of where a patch is to be expected
FEWEST_PIXELS = 200
PIXELS_OF_EACH = 2  # cells, in each of which one place is taken, over patches
RIM = 3  # between outlines and places: nearer, patches show mostly what is behind
BLUR = 0.8
FAINTEST = 2.0  # slope of brightness, of 255 a px, from which on a place shows something
LEAST_CORRELATION = 0.65
SHARPNESS = 40.0  # log chances of a place, over the correlation that it has less than the best
UNSURE = 0.5  # px^2, variance of a place beyond what its correlations say
WEIGHT = 0.7  # of a place: neighbouring ones are not independent
SPREAD = 2.0  # of a place that counts half, in its standard deviations
SOLUTIONS = 4  # of the least squares, each with weights from the one before


@dataclass(frozen=True)
class Patches:
    """What patches are taken of a drawing, and where they are looked for; px."""

    most: int
    half: int  # of the side of a patch, beside its middle
    reach: int  # how far each is looked for, right, left, up and down

    @property
    def around(self) -> int:
        """Half of the side of the part of the picture that one is looked for in."""
        return self.half + self.reach


FINE = Patches(most=200, half=6, reach=6)  # to move a pose by
ROUGH = Patches(most=50, half=4, reach=3)  # to see whether a pose can be right at all


def refine_with_patches(
    estimates: Sequence[PoseEstimate],
    image: Image,
    camera: Camera,
    objects: Mapping[int, ObjectModel],
    renderer: Renderer,
    threads: int = 1,
) -> list[PoseEstimate]:
    """Move the objects of an image to where patches inside of their outlines fit best.

    Args:
        estimates: of the image; what is evidence for them stays what it was.
        image: (h, w, 3), RGB.
        camera: that took it, without distortion.
        objects: by id.
        renderer: knows them.
        threads: that share the objects.

    Returns:
        The estimates with the poses and covariances that patches made of them; as they were
        where patches show too little, or nothing fixes the pose.
    """

    def refine(one: PoseEstimate) -> PoseEstimate:
        box = box_in_pose(one, objects[one.object_id], camera)
        crop, seen_by = crop_around(image, camera, box, SIDE, MARGIN)
        return _refined(one, brightness(crop), seen_by, renderer)

    return in_threads(refine, estimates, threads)


@dataclass(frozen=True, eq=False)
class _Found:
    """Where patches are found."""

    points: Array  # that they show, (n, 3), mm, object frame
    pixels: Array  # where they are in the picture, (n, 2), px
    covariances: Array  # of these, (n, 2, 2), px^2


def _refined(
    one: PoseEstimate, picture: Floats, camera: Camera, renderer: Renderer
) -> PoseEstimate:
    before = one.camera_from_object
    own = own_from_left(before)
    try:
        prior = np.asarray(np.linalg.inv(own @ one.covariance @ own.T), float)
        pose, normal = before, prior
        for _ in range(ROUNDS):
            rendering = renderer.render([one.object_id], [pose], camera)
            found = _look_for_patches(rendering, camera, picture)
            if found is None:
                return one
            pose, normal = _solved(found, camera, pose, before, prior)
            if not pose[2, 3] > 0:  # lost, or NaN: its covariance was
                return one
    except np.linalg.LinAlgError:
        return one
    covariance = covariance_of(normal, np.array(1.0), pose)
    return replace(one, camera_from_object=pose, covariance=covariance)


def brightness(colours: Image) -> Floats:
    """Return how bright a picture (h, w, 3) is, (h, w), in [0, 255], a little blurred."""
    grey = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), BLUR), np.float32)


def likeness(
    object_id: int, pose: Array, camera: Camera, picture: Floats, renderer: Renderer
) -> float:
    """Return how much of an object drawn in a pose is found near where it should be, in [0, 1].

    Args:
        object_id: which object.
        pose: camera_from_object, (4, 4), mm.
        camera: sees the picture.
        picture: its `brightness`, (h, w).
        renderer: knows the object.

    Returns:
        The mean over patches of their best correlation; 0 where there is nothing to compare.
    """
    rendering = renderer.render([object_id], [pose], camera)
    best = [max(found.max(), 0.0) for _, found in _search(rendering, camera, picture, ROUGH)]
    return float(np.mean(best)) if best else 0.0


def _search(
    rendering: Rendering, camera: Camera, picture: Floats, patches: Patches
) -> Iterator[tuple[tuple[int, int], Floats]]:
    """Yield x and y of each patch of a drawing, and its correlations around there, (m, m)."""
    there = rendering.mask(0)
    if not there.any():
        return
    colours = shade(rendering, camera)
    colours[~there] = colours[there].mean(axis=0)
    drawing = brightness(colours)
    inside = cv2.erode(there.astype(np.uint8), _square(RIM)) > 0
    for x, y in _places(drawing, inside, patches):
        patch = _window(drawing, x, y, patches.half)
        around = _window(picture, x, y, patches.around)
        found = cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED)
        yield (x, y), np.asarray(found, np.float32)


def _look_for_patches(rendering: Rendering, camera: Camera, picture: Floats) -> _Found | None:
    """Look for patches of a drawing in the picture, (h, w); None where there are none."""
    if np.count_nonzero(rendering.mask(0)) < FEWEST_PIXELS:
        return None
    shifts, covariances, pixels = [], [], []
    for place, correlations in _search(rendering, camera, picture, FINE):
        best = float(correlations.max())
        if best < LEAST_CORRELATION:
            continue
        chances = np.exp(SHARPNESS * (correlations - best) - _FARNESS)
        chances = (chances / chances.sum()).ravel()
        shift = chances @ _SHIFTS
        off = _SHIFTS - shift
        shifts.append(shift)
        covariances.append((chances[:, None] * off).T @ off)
        pixels.append(place)
    if not pixels:
        return None
    columns, rows = np.array(pixels).T
    return _Found(
        points=rendering.object_coordinates[rows, columns].astype(float),
        pixels=np.array(pixels) + np.array(shifts),
        covariances=np.array(covariances) + UNSURE * np.eye(2),
    )


def _places(drawing: Floats, inside: Mask, patches: Patches) -> list[tuple[int, int]]:
    """Return x and y of where a drawing, (h, w), shows most: the best of each cell of a grid."""
    slopes = [cv2.Sobel(drawing, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1))]
    strength = cv2.GaussianBlur(slopes[0] ** 2 + slopes[1] ** 2, (0, 0), 1.5)
    strength[~inside] = 0
    edge = patches.around
    part = strength[edge:-edge, edge:-edge]
    cell = max(3, int(np.sqrt(np.count_nonzero(inside) / (PIXELS_OF_EACH * patches.most))))
    n = len(part) // cell
    cells = part[: n * cell, : n * cell].reshape(n, cell, n, cell).swapaxes(1, 2).reshape(n, n, -1)
    best = cells.max(axis=2)
    rows, columns = np.nonzero(best > FAINTEST**2)
    chosen = np.argsort(-best[rows, columns], kind="stable")[: patches.most]
    rows, columns = rows[chosen], columns[chosen]
    down, right = np.divmod(cells[rows, columns].argmax(axis=1), cell)
    x, y = columns * cell + right + edge, rows * cell + down + edge
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _window(values: Floats, x: int, y: int, half: int) -> Floats:
    return values[y - half : y + half + 1, x - half : x + half + 1]


def _square(half: int) -> NDArray[np.uint8]:
    return np.ones((2 * half + 1, 2 * half + 1), np.uint8)


def _solved(
    found: _Found, camera: Camera, pose: Array, before: Array, prior: Array
) -> tuple[Array, Array]:
    """Return the pose (4, 4) that places and the pose before agree on, and its normal equations.

    Args:
        found: the places.
        camera: sees them.
        pose: in which the object was drawn.
        before: the pose before, from the keypoints and the outline.
        prior: inverse of its covariance, (6, 6), of turns about the object's origin and moves.
    """
    n = len(found.points)
    seen = Sightings(found.points, found.pixels, np.tile(np.eye(2), (n, 1, 1)), camera.matrix)
    residuals, slopes = seen.residuals(pose[None])[0], seen.jacobian(pose[None])[0]
    precisions = np.linalg.inv(found.covariances)
    turn = vector_from_matrix(pose[:3, :3] @ before[:3, :3].T)
    away = np.concatenate([turn, pose[:3, 3] - before[:3, 3]])
    change, normal = np.zeros(6), prior
    for _ in range(SOLUTIONS):
        left = residuals + slopes @ change
        squares = np.einsum("ni,nij,nj->n", left, precisions, left)
        weighted = (WEIGHT / (1 + squares / SPREAD**2))[:, None, None] * precisions @ slopes
        normal = prior + np.einsum("nia,nib->ab", weighted, slopes)
        pull = np.einsum("nia,ni->a", weighted, residuals) + prior @ away
        change = np.linalg.solve(normal, -pull)
    return perturbed(pose, change), normal


def _all_shifts() -> Array:
    """Return how far right and down each place of a correlation is from its middle, (m, 2), px."""
    steps = np.arange(-FINE.reach, FINE.reach + 1.0)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


_SHIFTS = _all_shifts()
_FARNESS = (np.square(_SHIFTS).sum(axis=1) / (2 * NEAR**2)).reshape(2 * FINE.reach + 1, -1)
