"""How objects look from all around: points of their surface, to be held against depth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array
from heatpose.geometry.camera import Camera
from heatpose.geometry.directions import even_directions
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer

Floats = NDArray[np.float32]

N_DIRECTIONS, N_TURNS = 72, 12  # that objects are seen from, and turns about the line of sight
N_POINTS = 48  # of the surface, in each
VIEW_SIDE = 40  # px of the views that these points come from


@dataclass(frozen=True, eq=False)
class Attitudes:
    """An object in turns all around, and what a camera along z would see of it."""

    rotations: Array  # (a, 3, 3), camera from object
    points: Floats  # (a, n, 3), mm, of the surface, from the object's origin, camera's axes
    colours: Floats  # (a, n, 3), of these, RGB in [0, 1]

    def along(self, ray: Array) -> "Attitudes":
        """Return the same for an object along a ray (3,) that looks the same from there."""
        unit = ray / np.linalg.norm(ray)
        axis = np.cross([0, 0, 1.0], unit)
        sine = np.linalg.norm(axis)
        turn = matrix_from_vector(axis / max(sine, 1e-12) * np.arctan2(sine, unit[2]))
        return Attitudes(
            turn @ self.rotations, self.points @ turn.T.astype(np.float32), self.colours
        )


def draw_attitudes(model: ObjectModel, renderer: Renderer) -> Attitudes:
    """Draw an object from directions all around, and turn each view about the line of sight."""
    distance = 6 * model.diameter
    focal = VIEW_SIDE * distance / (1.1 * model.diameter)
    middle = (VIEW_SIDE - 1) / 2
    camera = Camera(focal, focal, middle, middle, VIEW_SIDE, VIEW_SIDE)
    rng = np.random.default_rng(0)
    rotations, points, colours = [], [], []
    for direction in even_directions(N_DIRECTIONS):
        rotation = _looking_from(direction)
        centre = rotation @ model.mesh.corners.mean(axis=0)
        pose = make_transform(rotation, np.array([0, 0, distance]) - centre)
        drawn = renderer.render([model.object_id], [pose], camera)
        rows, cols = np.nonzero(np.isfinite(drawn.depth))
        if not len(rows):  # a sheet, seen from its edge
            continue
        some = np.resize(rng.permutation(len(rows)), N_POINTS)  # again and again, if there are few
        rows, cols = rows[some], cols[some]
        seen = camera.unproject(
            np.stack([cols, rows], axis=1), drawn.depth[rows, cols].astype(float)
        )
        rotations.append(rotation)
        points.append(seen - pose[:3, 3])
        colours.append(drawn.albedo[rows, cols])
    angles = np.arange(N_TURNS) * 2 * np.pi / N_TURNS
    turns = matrix_from_vector(np.stack([0 * angles, 0 * angles, angles], axis=1))
    turned = np.einsum("tij,anj->atni", turns, np.stack(points))
    return Attitudes(
        (turns @ np.stack(rotations)[:, None]).reshape(-1, 3, 3),
        turned.reshape(-1, N_POINTS, 3).astype(np.float32),
        np.repeat(np.stack(colours), N_TURNS, axis=0),
    )


def _looking_from(direction: Array) -> Array:
    """Return a rotation, camera from object, for a camera in that direction from the object."""
    forward = -direction
    aside = np.array([1.0, 0, 0]) if abs(forward[2]) > 0.9 else np.array([0, 0, 1.0])
    right = np.cross(aside, forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])
