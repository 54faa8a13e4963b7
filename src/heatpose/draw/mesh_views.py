"""A mesh from four sides in one picture, with its axes, box and keypoints."""

from dataclasses import dataclass

import cv2
import numpy as np

from heatpose.geometry.arrays import Array, Image
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.objects.keypoints import box_keypoints
from heatpose.objects.mesh import Mesh
from heatpose.render.raycast import Renderer, Rendering
from heatpose.render.shading import shade

AXES = {"x": (214, 39, 40), "y": (44, 140, 44), "z": (31, 90, 200)}
BOX, KEYPOINT, INK = (150, 150, 150), (255, 190, 0), (40, 40, 40)
PAPER = 245
# Corners as `box_keypoints` numbers them: x is bit 2, y bit 1, z bit 0.
BOX_EDGES = [(i, i | bit) for bit in (1, 2, 4) for i in range(8) if not i & bit]
# Where each side is seen from, and which way is up in its picture; object frame.
SIDES = {
    "front (from -y)": ((0.35, -1.0, 0.35), (0, 0, 1)),
    "right (from +x)": ((1.0, 0.35, 0.35), (0, 0, 1)),
    "back (from +y)": ((-0.35, 1.0, 0.35), (0, 0, 1)),
    "top (from +z)": ((0.0, 0.0, 1.0), (0, 1, 0)),
}


@dataclass(frozen=True, eq=False)
class _View:
    camera: Camera
    camera_from_object: Array

    def project(self, points: Array) -> Array:
        return self.camera.project(transform_points(self.camera_from_object, points))


def draw_mesh(mesh: Mesh, keypoints: Array | None = None, size: int = 480) -> Image:
    """Draw a mesh from the front, the right, the back and above.

    Axes start at the object's origin: x red, y green, z blue. Keypoints that the object hides
    from a side are drawn as rings there.

    Args:
        mesh: the object.
        keypoints: (k, 3), mm, or None.
        size: of the picture of one side, px.

    Returns:
        (2 size, 2 size, 3), RGB.
    """
    renderer = Renderer({1: mesh})
    tiles = []
    for name, (direction, up) in SIDES.items():
        view = _look_from(mesh, np.array(direction), np.array(up, float), size * 2)
        tile = _draw_side(renderer, mesh, keypoints, view)
        small = cv2.resize(tile, (size, size), interpolation=cv2.INTER_AREA)
        cv2.putText(small, name, (10, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
        tiles.append(small)
    return np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])]).astype(np.uint8)


def _look_from(mesh: Mesh, direction: Array, up: Array, size: int) -> _View:
    """Return a view of the mesh and its origin from a direction, filling a square picture."""
    inside = np.vstack([box_keypoints(mesh), np.zeros((1, 3))])  # the origin may lie outside
    low, high = inside.min(axis=0), inside.max(axis=0)
    centre, across = (low + high) / 2, float(np.linalg.norm(high - low))
    z = -direction / np.linalg.norm(direction)
    x = np.cross(z, up)
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z])
    distance = 4 * across
    camera_from_object = make_transform(rotation, [0, 0, distance] - rotation @ centre)
    focal, middle = 0.8 * size * distance / across, (size - 1) / 2
    return _View(Camera(focal, focal, middle, middle, size, size), camera_from_object)


def _draw_side(renderer: Renderer, mesh: Mesh, keypoints: Array | None, view: _View) -> Image:
    rendering = renderer.render([1], [view.camera_from_object], view.camera)
    picture = np.full((view.camera.height, view.camera.width, 3), PAPER, np.uint8)
    corners = box_keypoints(mesh)[:8]
    farthest = int(transform_points(view.camera_from_object, corners)[:, 2].argmax())
    behind = [edge for edge in BOX_EDGES if farthest in edge]
    _draw_box(picture, view.project(corners), behind)
    seen = rendering.instance >= 0
    picture[seen] = shade(rendering, view.camera)[seen]
    _draw_box(picture, view.project(corners), [e for e in BOX_EDGES if e not in behind])
    _draw_axes(picture, mesh, view)
    if keypoints is not None:
        _draw_keypoints(picture, keypoints, rendering, view)
    return picture


def _draw_box(picture: Image, corners: Array, edges: list[tuple[int, int]]) -> None:
    """Draw edges of a box between its projected corners, (8, 2), px."""
    for first, second in edges:
        _line(picture, corners[first], corners[second], BOX, 2)


def _draw_axes(picture: Image, mesh: Mesh, view: _View) -> None:
    length = 0.6 * float(mesh.extents.max())
    start = view.project(np.zeros((1, 3)))[0]
    for (name, colour), end in zip(AXES.items(), view.project(length * np.eye(3)), strict=True):
        _line(picture, start, end, colour, 5)
        at = (int(end[0]) + 6, int(end[1]) - 6)
        cv2.putText(picture, name, at, cv2.FONT_HERSHEY_SIMPLEX, 1.1, colour, 3, cv2.LINE_AA)


def _draw_keypoints(picture: Image, keypoints: Array, rendering: Rendering, view: _View) -> None:
    depths = transform_points(view.camera_from_object, keypoints)[:, 2]
    size = picture.shape[0]
    for (x, y), depth in zip(view.project(keypoints), depths, strict=True):
        col, row = (int(np.clip(round(value), 0, size - 1)) for value in (x, y))
        surface = float(rendering.depth[row, col])
        hidden = np.isfinite(surface) and depth > surface + 0.002 * depth
        cv2.circle(picture, (col, row), 9, INK, 2, cv2.LINE_AA)
        cv2.circle(picture, (col, row), 8, KEYPOINT, 2 if hidden else -1, cv2.LINE_AA)


def _line(
    picture: Image, start: Array, end: Array, colour: tuple[int, int, int], width: int
) -> None:
    first, second = (tuple(int(v) for v in np.round(p)) for p in (start, end))
    cv2.line(picture, first, second, colour, width, cv2.LINE_AA)
