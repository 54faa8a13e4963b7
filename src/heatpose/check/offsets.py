"""By how much the origin of each model differs from what its poses are made for.

The outline of an object is moved as a move of its model would move it, in all pictures of it at
once, until edges lie on it. One picture alone says nothing of moves along its line of sight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.check.fit import FLAT, SIDE, Fitter, Scene, outline_points
from heatpose.check.views import View
from heatpose.geometry.arrays import Array
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import invert, transform_points

Floats = NDArray[np.float32]

FARTHEST = 0.6  # of a move, in diameters
STEPS = (8, 4, 2)  # of the search on either side, from coarse to fine
SOFT = 1.5  # blur of the edges, px of a crop
N_POINTS, N_VIEWS = 70, 6  # of an outline, of an object: enough, and three times as quick
NEAR = 0.1  # of the score of edges, that a move by a diameter must be worth


@dataclass(frozen=True, eq=False)
class _Rim:
    """The outline of one view, and what the picture has around it."""

    points: Array  # (n, 3), mm, object frame
    normals: Array  # (n, 2), unit, px
    pose: Array  # (4, 4)
    camera: Camera  # of the crop
    slopes: Floats  # (2, s, s, 3), over how strong edges are around


def find_offsets(
    views: Sequence[View], fitter: Fitter, objects: Sequence[int] | None = None
) -> dict[int, Array]:
    """Return how each object's model should be moved, (3,), mm, in its frame; zero if unknown.

    Args:
        views: with some of each object.
        fitter: knows the models.
        objects: that are looked at; None for all.
    """
    offsets = dict.fromkeys(fitter.meshes, np.zeros(3))
    for object_id in sorted({view.object_id for view in views}):
        if objects is not None and object_id not in objects:
            continue
        own = [view for view in views if view.object_id == object_id][:N_VIEWS]
        rims = [rim for rim in (_rim(view, fitter) for view in own) if rim is not None]
        offsets[object_id] = _best_move(rims, fitter.diameters[object_id])
    return offsets


def _rim(view: View, fitter: Fitter) -> _Rim | None:
    scene = fitter.scene(view, margin=2.2)
    if scene is None:
        return None
    pixels, normals = outline_points(scene)
    columns, rows = np.rint(pixels - 0.5 * normals).astype(int).T
    depth = scene.rendering.depth[rows, columns].astype(float)
    there = np.isfinite(depth)
    if np.count_nonzero(there) < 15:
        return None
    there &= np.arange(len(there)) % max(1, len(there) // N_POINTS) == 0
    points = scene.camera.unproject(pixels[there], depth[there])
    return _Rim(
        points=transform_points(invert(view.camera_from_object), points),
        normals=normals[there],
        pose=view.camera_from_object,
        camera=scene.camera,
        slopes=_slopes(scene),
    )


def _slopes(scene: Scene) -> Floats:
    """Return how colours change along x and y, over how much they do so around."""
    soft = cv2.GaussianBlur(scene.colours, (0, 0), SOFT)
    slopes = np.stack([cv2.Sobel(soft, cv2.CV_32F, *o, ksize=1) / 2 for o in ((1, 0), (0, 1))])
    strength = np.sqrt((slopes**2).sum(axis=(0, 3)))
    around = cv2.blur(strength, (SIDE // 4, SIDE // 4))
    return np.asarray(slopes * scene.known[..., None] / (around + FLAT)[..., None], np.float32)


def _best_move(rims: Sequence[_Rim], diameter: float) -> Array:
    """Search moves (3,), mm, from coarse to fine, for the one that puts edges on the outlines."""
    best = np.zeros(3)
    if not rims:
        return best
    reach = FARTHEST * diameter
    for steps in STEPS:
        grid = np.linspace(-reach, reach, 2 * steps + 1)
        moves = best + np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(
            -1, 3
        )
        scores = np.mean([_scores(rim, moves) for rim in rims], axis=0)
        scores -= NEAR * np.linalg.norm(moves, axis=1) / diameter
        best = moves[int(scores.argmax())]
        reach /= steps / 1.5
    return best


def _scores(rim: _Rim, moves: Array) -> Array:
    """Return how strong edges are along the outline after each move (m, 3), mm, (m,)."""
    seen = transform_points(rim.pose, rim.points) + (moves @ rim.pose[:3, :3].T)[:, None]
    pixels = np.nan_to_num(rim.camera.project(seen), nan=-1.0)
    places = np.clip(np.rint(pixels), -1, SIDE).astype(int)
    inside = ((places >= 0) & (places < SIDE)).all(axis=2)
    columns, rows = np.clip(places, 0, SIDE - 1).transpose(2, 0, 1)
    along = rim.slopes[0][rows, columns] * rim.normals[:, :1]
    along += rim.slopes[1][rows, columns] * rim.normals[:, 1:]
    strength: Array = (np.sqrt((along**2).sum(axis=2)) * inside).mean(axis=1)
    return strength


def describe_offsets(offsets: Mapping[int, Array]) -> str:
    """Return moves in words, the largest first."""
    order = sorted(offsets, key=lambda one: -float(np.linalg.norm(offsets[one])))
    words = [
        f"object {one} by ({', '.join(f'{value:+.0f}' for value in offsets[one])}) mm"
        for one in order[:4]
    ]
    more = f" and {len(order) - 4} more" if len(order) > 4 else ""
    return ", ".join(words) + more
