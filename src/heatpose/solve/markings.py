"""Tell which way round an object is by its markings, where its shape leaves that open.

Cans, bottles and boxes have shapes that several turns leave as they are: outlines and depth fit one
as well as another, keypoints hardly tell them apart, and what is left is what is printed on them.
So the turns that the shape of an object allows are looked up (`heatpose.objects.shape_turns`),
and the colours that it would show after each are held against the picture.

None of these turns changes which pixels the object is seen at, so it is drawn once, and only the
colours of the points that are seen change. Of these and of the picture's, what is the same all
around a pixel is taken away, which light and shade are, and what is left of both is correlated.
Of the many turns of a round object a few that are far apart come first, then those near the best.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from heatpose.data.crops import crop_around
from heatpose.geometry.arrays import Array, Depth, Image, Mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import invert, make_transform, rotation_angle
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.mesh import Mesh, sample_colours
from heatpose.objects.shape_turns import Labels, turns_of_shape
from heatpose.render.raycast import Renderer
from heatpose.solve.depth_verdict import agreeing_keypoints
from heatpose.types import PoseEstimate

Floats = NDArray[np.float32]

SIDE = 64  # px of the picture of an object
STEP = np.radians(5)  # between turns about an axis that an object is round about
FIRST, N_BEST = np.radians(15), 4  # those looked at first are so far apart; and which are followed
N_POINTS, CELLS = 40_000, 64  # of a surface, and along the longest side of its volume
# Lightness, and red against green and both against blue, which lights change less.
OPPONENT = np.array([[1, 1, 1], [6, -6, 0], [3, 3, -6]], np.float32) / 3
TOGETHER = 32  # turns that are looked at in one go; OpenCV blurs up to 128 channels
AROUND = 17  # side of the square, px, whose mean is taken away from the pixel in its middle
FEWEST_PIXELS = 30  # that must be seen of an object
IN_FRONT = 0.05  # diameters: what was measured nearer than the object by more hides it
MARGIN = 0.05  # of correlation, by which another turn must be better than what keypoints tell


class Markings:
    """Turns objects as their markings say; what it takes is worked out when first needed."""

    def __init__(
        self, objects: Mapping[int, ObjectModel], renderer: Renderer, labels: Labels = "colour"
    ) -> None:
        """Take the objects by id, what renders them, and what keypoints tell of their turns."""
        self.objects = objects
        self.labels = labels
        self.renderer = renderer
        self._turns: dict[int, _Turns] = {}
        self._colours: dict[int, ColourVolume] = {}

    def __call__(
        self, estimate: PoseEstimate, image: Image, camera: Camera, depth: Depth | None
    ) -> PoseEstimate | None:
        """Return an object turned the other way round if its markings clearly say so.

        Args:
            estimate: the pose of an object, but maybe for the turns that its shape allows.
            image: the picture, (h, w, 3).
            camera: that took it, without distortion.
            depth: (h, w), mm along z, NaN where nothing was measured; tells what hides it.
        """
        scores = self.scores(estimate, image, camera, depth)
        by_shape = self.labels == "shape"  # all turns are alike to the keypoints, and agree
        if scores is None or scores.max() <= scores[0] + (0 if by_shape else MARGIN):
            return None
        turn = self.turns(estimate.object_id)[scores.argmax()]
        pose = estimate.camera_from_object @ turn
        if by_shape:
            return replace(estimate, camera_from_object=pose)
        model = self.objects[estimate.object_id]
        inliers = agreeing_keypoints(pose, estimate, model, camera)
        return replace(estimate, camera_from_object=pose, inliers=inliers)

    def tell(self, estimate: PoseEstimate) -> bool:
        """Say whether colours know more of how an object is turned than its shape."""
        return len(self.turns(estimate.object_id)) > 1

    def turns(self, object_id: int) -> Array:
        """Return the turns (m, 4, 4) that shape allows and colours do not, the identity first."""
        return self._known(object_id).all

    def scores(
        self, estimate: PoseEstimate, image: Image, camera: Camera, depth: Depth | None
    ) -> Array | None:
        """Return how well colours after each turn fit a picture, (m,), correlations in [-1, 1].

        Minus infinity for turns that were not looked at, as those near them fit badly. None where
        there is no such turn, or too little of the object is seen.
        """
        object_id, pose = estimate.object_id, estimate.camera_from_object
        if not self.tell(estimate):
            return None
        rows, cols = self.renderer.region(object_id, pose, camera)
        if rows.start >= rows.stop or cols.start >= cols.stop:
            return None
        box = (float(cols.start), float(rows.start), float(cols.stop), float(rows.stop))
        picture, part = crop_around(image, camera, box, SIDE, margin=1.1)
        drawn = self.renderer.render([object_id], [pose], part)
        seen = _inside(drawn.full_masks[0])
        if depth is not None:
            near = IN_FRONT * self.objects[object_id].diameter
            seen[seen] = ~_hidden(drawn.depth, seen, part, depth, camera, near)
        if np.count_nonzero(seen) < FEWEST_PIXELS:
            return None
        points = drawn.object_coordinates[seen]
        share = _around(seen.astype(np.float32))[seen]
        colours = np.asarray(picture[seen] / 255 @ OPPONENT.T, np.float32)
        there = _details(colours[:, None], seen, share)
        volume, turns = self._volume(object_id), self._known(object_id)
        scores = np.full(len(turns.all), -np.inf)

        def look_at(chosen: NDArray[np.intp]) -> None:
            for start in range(0, len(chosen), TOGETHER):
                some = chosen[start : start + TOGETHER]
                # After a turn, another point of the object is where this one was.
                shown = volume(points, invert(turns.all[some]))
                scores[some] = _correlations(there, _details(shown, seen, share))

        look_at(turns.first)
        best = np.argsort(-scores)[:N_BEST]
        look_at(np.flatnonzero(turns.near[best].any(axis=0) & np.isinf(scores)))
        return scores

    def _known(self, object_id: int) -> "_Turns":
        if object_id not in self._turns:
            self._turns[object_id] = _Turns.of(turns_of_shape(self.objects[object_id], STEP))
        return self._turns[object_id]

    def _volume(self, object_id: int) -> "ColourVolume":
        if object_id not in self._colours:
            self._colours[object_id] = colour_volume(self.objects[object_id].mesh)
        return self._colours[object_id]


@dataclass(frozen=True, eq=False)
class _Turns:
    """Turns of an object, and which of them are near each other."""

    all: Array  # (m, 4, 4), object from object, mm, the identity first
    first: NDArray[np.intp]  # those looked at first, (p,): all others are near one of them
    near: Mask  # pairs less than `FIRST` apart, (m, m)

    @classmethod
    def of(cls, turns: Array) -> "_Turns":
        rotations = turns[:, :3, :3]
        apart = rotation_angle(rotations[:, None].swapaxes(-1, -2) @ rotations)
        near = apart < FIRST - 1e-6
        first: list[int] = []
        for i in range(len(turns)):
            if not near[i, first].any():
                first.append(i)
        return cls(turns, np.array(first), near)


@dataclass(frozen=True, eq=False)
class ColourVolume:
    """The colour of the nearest part of a surface, all around it."""

    cell_from_object: Array  # (4, 4): cells along x, y and z from mm in the object frame
    shape: tuple[int, int, int]  # number of cells along x, y and z
    colours: Floats  # (a b c, 3), as `OPPONENT` has them

    def __call__(self, points: Floats, turns: Array) -> Floats:
        """Return the colours (n, t, 3) at points (n, 3), mm, once turns (t, 4, 4) have moved them.

        Points are in the object frame, before and after.
        """
        into = (self.cell_from_object @ turns)[:, :3].astype(np.float32)
        cells = points @ into[..., :3].reshape(-1, 3).T + into[..., 3].ravel()
        most = np.tile(np.array(self.shape, np.float32) - 1, len(turns))
        inside = np.clip(cells, 0, most).astype(np.int32).reshape(len(points), len(turns), 3)
        x, y, z = np.moveaxis(inside, -1, 0)
        _, b, c = self.shape
        colours: Floats = self.colours.take((x * b + y) * c + z, axis=0)
        return colours


def colour_volume(mesh: Mesh) -> ColourVolume:
    """Work out the colours of a coloured surface and around it."""
    points, colours = sample_colours(mesh, N_POINTS, np.random.default_rng(0))
    if colours is None:
        raise ValueError("the mesh has no colours")
    low, high = points.min(axis=0), points.max(axis=0)
    cell = float((high - low).max()) / CELLS
    a, b, c = (int(n) for n in np.floor((high - low) / cell) + 1)
    cells = np.ravel_multi_index(np.floor((points - low) / cell).astype(int).T, (a, b, c))
    counts = np.bincount(cells, minlength=a * b * c)
    sums = np.stack([np.bincount(cells, one, len(counts)) for one in colours.T / 255], axis=1)
    empty = (counts == 0).reshape(a, b, c)
    nearest = distance_transform_edt(empty, return_distances=False, return_indices=True)
    filled = np.ravel_multi_index(tuple(nearest), (a, b, c)).ravel()
    means = (sums / np.maximum(counts, 1)[:, None])[filled] @ OPPONENT.T
    scaled = make_transform(np.eye(3) / cell, -low / cell)
    return ColourVolume(scaled, (a, b, c), means.astype(np.float32))


def _inside(mask: Mask) -> Mask:
    """Return a mask (h, w) without its rim, where colours are mixed with others."""
    return np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)), bool)


def _hidden(
    drawn: Depth, seen: Mask, part: Camera, depth: Depth, camera: Camera, near: float
) -> Mask:
    """Say which pixels of an object have something else measured in front of it, (n,).

    Args:
        drawn: its depth as the part of the picture shows it, (h, w), mm.
        seen: those of its pixels that are asked for, (h, w).
        part: camera of that part.
        depth: of the whole picture, mm, NaN where nothing was measured.
        camera: of the whole picture.
        near: how much nearer something must be, mm.
    """
    rows, cols = np.nonzero(seen)
    pixels = np.stack([cols, rows], axis=1).astype(float)
    places = np.rint(camera.project(part.unproject(pixels, drawn[rows, cols].astype(float))))
    col, row = np.clip(places, 0, [camera.width - 1, camera.height - 1]).astype(int).T
    hidden: Mask = depth[row, col] < drawn[rows, cols] - near  # NaN is not
    return hidden


def _around(values: Floats) -> Floats:
    """Return the mean of what is around each pixel, (h, w, ...), beyond the edges 0."""
    blurred = cv2.blur(values, (AROUND, AROUND), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)


def _details(colours: Floats, seen: Mask, share: Floats) -> Floats:
    """Return colours (n, t, 3), as `OPPONENT` has them, less what is the same around.

    Args:
        colours: of the pixels that are seen, t times, (n, t, 3).
        seen: which these are, (h, w).
        share: of what is around each of them, how much is seen, (n,).
    """
    flat = colours.reshape(len(colours), -1)
    values, where = np.zeros((seen.size, flat.shape[1]), np.float32), np.flatnonzero(seen)
    values[where] = flat
    around = _around(values.reshape(*seen.shape, -1)).reshape(values.shape).take(where, axis=0)
    details: Floats = (flat - around / share[:, None]).reshape(colours.shape)
    return details


def _correlations(first: Floats, others: Floats) -> Array:
    """Return how well details (n, 1, 3) agree with others (n, t, 3), (t,), in [-1, 1].

    0 where there are none.
    """
    products = np.einsum("nic,ntc->t", first, others)
    sizes = np.sqrt(np.einsum("nic,nic->", first, first) * np.einsum("ntc,ntc->t", others, others))
    correlations: Array = products / np.maximum(sizes, 1e-9)
    return correlations
