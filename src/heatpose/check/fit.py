"""How well one object in one picture fits where the ground truth puts it.

Everything is measured in a square crop around the object, `SIDE` px wide, so that near and far
objects are treated alike; px are those of the crop.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.check.views import View
from heatpose.data.crops import crop_around
from heatpose.geometry.arrays import Array, Depth, Mask
from heatpose.geometry.boxes import box_of_points
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points
from heatpose.objects.mesh import Mesh
from heatpose.render.raycast import Renderer, Rendering

Floats = NDArray[np.float32]

SIDE = 128
MARGIN = 1.4  # side of the crop over the object's box
REACH = 14  # of the lines across an outline, to either side
BLUNT = 2  # how far from its outline an object's edge may be and still count as there
N_POINTS = 150  # on an outline
FEWEST_PIXELS, FEWEST_POINTS = 60, 15  # below which they say nothing
FLAT = 2.0  # change of colour per px, of 255, that is noise
NEAREST = 15.0  # mm by which a measured surface may lie beside the rendered one; LINEMOD's: 5 to 7
NEAREST_SHARE = 0.1  # the same in diameters, for small objects
SIZES = (10.0, 3000.0)  # of things that data sets show, mm
DISTANCES = (50.0, 20_000.0)


@dataclass(frozen=True)
class Fit:
    """How well an object fits its picture. What cannot be measured is None."""

    outline: float | None  # edges at its outline over those beside it: about 1 by chance
    colour: float | None  # correlation of drawn and seen colours on it, in [-1, 1]
    overlap: float | None  # of its silhouette and its mask, intersection over union
    depth: float | None  # share of measured points on it that lie on its surface
    offset: float | None  # median of measured minus rendered depth, mm
    ratio: float | None  # median of measured over rendered depth
    plausible: bool  # whether it is as large and as far away as things are

    @property
    def agreement(self) -> float:
        """One number to compare explanations by: the sum of what was measured."""
        outline = 0.0 if self.outline is None else float(np.clip(self.outline - 1, -0.5, 1))
        parts = (self.colour or 0.0, self.overlap or 0.0, self.depth or 0.0)
        return outline + sum(parts) + 0.2 * self.plausible


@dataclass(frozen=True, eq=False)
class Scene:
    """What is drawn and what is seen in the crop around an object."""

    camera: Camera  # of the crop
    crop_scale: float  # pixel p of the picture is at scale * p + shift in the crop
    crop_shift: Array  # (2,)
    rendering: Rendering  # the object is number 0
    colours: Floats  # (s, s, 3), RGB in [0, 255]
    known: Mask  # (s, s), what the picture shows of the crop
    depth: Depth | None  # (s, s), measured, mm
    mask: Mask | None  # (s, s)
    mask_pixels: float  # of the whole mask, in pixels of the crop


class Fitter:
    """Holds the models of a data set."""

    def __init__(self, meshes: dict[int, Mesh], diameters: dict[int, float]) -> None:
        self.meshes = meshes
        self.diameters = diameters
        self._corners = {one: mesh.corners for one, mesh in meshes.items()}
        self._renderer = Renderer(meshes)

    def __call__(self, view: View) -> Fit:
        """Measure one view."""
        size = self.diameters[view.object_id] * view.length
        distance = float(view.camera_from_object[2, 3]) * view.length
        plausible = SIZES[0] < size < SIZES[1] and DISTANCES[0] < distance < DISTANCES[1]
        scene = self.scene(view)
        if scene is None:  # out of sight: nothing agrees
            lost = None if view.mask is None else 0.0
            missed = None if view.picture.depth is None else 0.0
            return Fit(None, None, lost, missed, None, None, plausible)
        depth, offset, ratio = _depth_fit(scene, view, size)
        return Fit(
            outline=outline_fit(scene),
            colour=colour_fit(scene),
            overlap=_overlap(scene),
            depth=depth,
            offset=offset,
            ratio=ratio,
            plausible=plausible,
        )

    def scene(self, view: View, margin: float = MARGIN) -> Scene | None:
        """Draw a view and cut it out of its picture; None where too little of it is in sight."""
        corners = transform_points(view.camera_from_object, self._corners[view.object_id])
        if (corners[:, 2] <= 0).any():
            return None
        box = box_of_points(view.camera.project(corners))
        inside = min(box[2], view.camera.width) - max(box[0], 0) > 4
        inside &= min(box[3], view.camera.height) - max(box[1], 0) > 4
        if not inside or max(box[2] - box[0], box[3] - box[1]) > 4 * view.camera.width:
            return None
        crop, camera = crop_around(view.picture.image, view.camera, box, SIDE, margin)
        ids, poses = [view.object_id], [view.camera_from_object]
        for one, pose in view.others:
            if _may_hide(self._corners[one], pose, camera):
                ids.append(one)
                poses.append(pose)
        rendering = self._renderer.render(ids, poses, camera)
        if np.count_nonzero(rendering.mask(0)) < FEWEST_PIXELS:
            return None
        colours = crop[..., ::-1] if view.swapped else crop
        scale, warp = _warp(view.camera, camera)
        depth, mask = view.picture.depth, view.mask
        return Scene(
            camera=camera,
            crop_scale=scale,
            crop_shift=warp[:, 2],
            rendering=rendering,
            colours=cv2.GaussianBlur(colours, (0, 0), 1.0).astype(np.float32),
            known=_moved(np.ones(view.picture.image.shape[:2], np.uint8), warp, 0) > 0,
            depth=None if depth is None else _moved(depth, warp, np.nan),
            mask=None if mask is None else _moved(mask.astype(np.uint8), warp, 0) > 0,
            mask_pixels=0.0 if mask is None else float(mask.sum()) * scale**2,
        )

    def depth_in(self, view: View, scene: Scene) -> Depth:
        """Return the depth (s, s), mm, of the object of a view alone, in the crop of a scene."""
        scale = scene.crop_scale
        shift = scene.crop_shift
        camera = view.camera.warped(scale, shift, SIDE, SIDE)
        return self._renderer.depth(view.object_id, view.camera_from_object, camera)


def _may_hide(corners: Array, pose: Array, camera: Camera) -> bool:
    """Say whether an object with these corners (8, 3) can be in a crop at all."""
    corners = transform_points(pose, corners)
    if (corners[:, 2] <= 0).any():
        return False
    left, top, right, bottom = box_of_points(camera.project(corners))
    return right > 0 and bottom > 0 and left < camera.width and top < camera.height


def _warp(camera: Camera, crop: Camera) -> tuple[float, Array]:
    """Return scale and warp (2, 3) from a picture to its crop."""
    scale = crop.fx / camera.fx
    shift = crop.cx - scale * camera.cx, crop.cy - scale * camera.cy
    return scale, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def _moved(values: NDArray[Any], warp: Array, beyond: float) -> Floats:
    """Return values (h, w) as the crop sees them, (s, s); a mean of two depths would be nowhere."""
    flags = cv2.INTER_NEAREST
    moved = cv2.warpAffine(values, warp, (SIDE, SIDE), flags=flags, borderValue=beyond)
    return np.asarray(moved, np.float32)


def outline_points(scene: Scene) -> tuple[Array, Array]:
    """Return points on the outline that nothing hides, (n, 2), px, and unit normals, (n, 2)."""
    whole = scene.rendering.full_masks[0].astype(np.uint8)
    contours, _ = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate([contour[:, 0] for contour in contours])
    # Beside what hides the object, the outline is that of what hides it.
    clear = scene.known & (scene.rendering.instance <= 0)
    clear = cv2.erode(clear.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    points = points[clear[points[:, 1], points[:, 0]]]
    points = points[:: max(1, len(points) // N_POINTS)]
    distance = cv2.distanceTransform(1 - whole, cv2.DIST_L2, 5)
    distance = cv2.GaussianBlur(distance - cv2.distanceTransform(whole, cv2.DIST_L2, 5), (0, 0), 2)
    columns, rows = points.T
    slopes = [cv2.Sobel(distance, cv2.CV_32F, *order)[rows, columns] for order in ((1, 0), (0, 1))]
    normals = np.stack(slopes, axis=1).astype(float)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return points.astype(float) + 0.5 * normals, normals


def edges_across(scene: Scene, points: Array, normals: Array, shifts: Array) -> Floats:
    """Return how much colours change along normals at points shifted by (m, 2) or along them, (m,).

    Returns:
        (m, n), per px, of 255; 0 outside the picture.
    """
    along = [
        cv2.Sobel(scene.colours, cv2.CV_32F, *order, ksize=1) / 2 for order in ((1, 0), (0, 1))
    ]
    moves = shifts[:, None, None] * normals if shifts.ndim == 1 else shifts[:, None]
    places = np.rint(points + moves).astype(int)  # (m, n, 2)
    columns, rows = np.clip(places, 0, SIDE - 1).transpose(2, 0, 1)
    change = along[0][rows, columns] * normals[:, :1] + along[1][rows, columns] * normals[:, 1:]
    inside = (places >= 0).all(axis=2) & (places < SIDE).all(axis=2) & scene.known[rows, columns]
    return np.asarray(np.abs(change).sum(axis=2) * inside, np.float32)


def outline_fit(scene: Scene) -> float | None:
    """Return how strong edges at the outline are over those on lines across it.

    Each line counts alike, so that a few strong edges of the surroundings do not decide.
    """
    points, normals = outline_points(scene)
    if len(points) < FEWEST_POINTS:
        return None
    edges = edges_across(scene, points, normals, np.arange(-REACH, REACH + 1.0))
    width = 2 * BLUNT + 1
    windows = np.lib.stride_tricks.sliding_window_view(edges, width, axis=0).max(axis=2)
    relative = windows / np.maximum(windows.mean(axis=0), FLAT)
    return float(relative[len(relative) // 2].mean())


def colour_fit(scene: Scene) -> float | None:
    """Return the correlation of brightness and colour, drawn and seen, on what is seen of it."""
    drawn, seen = colours_on(scene)
    if len(drawn) < FEWEST_PIXELS:
        return None
    pairs = zip(_opponents(drawn).T, _opponents(seen).T, strict=True)
    found = [_correlation(first, second) for first, second in pairs]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


def colours_on(scene: Scene) -> tuple[Floats, Floats]:
    """Return what is drawn and what is seen on an object, (n, 3) each, RGB in [0, 1]."""
    visible = cv2.erode(scene.rendering.mask(0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    visible &= scene.known
    facing = -scene.rendering.normals[visible][:, 2:]
    drawn = scene.rendering.albedo[visible] * (0.4 + 0.6 * np.maximum(facing, 0))
    return drawn.astype(np.float32), scene.colours[visible] / np.float32(255)


def _opponents(colours: Floats) -> Floats:
    """Turn RGB (n, 3) into brightness, red minus blue, and green minus both."""
    red, green, blue = colours.T
    return np.stack([red + green + blue, red - blue, green - (red + blue) / 2], axis=1)


def _correlation(first: Floats, second: Floats) -> float | None:
    """Return Pearson's correlation; None where one of them is the same everywhere."""
    if min(first.std(), second.std()) < 1e-3:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _overlap(scene: Scene) -> float | None:
    if scene.mask is None:
        return None
    drawn = scene.rendering.mask(0) & scene.known
    common = float(np.count_nonzero(drawn & scene.mask))
    return common / max(np.count_nonzero(drawn) + scene.mask_pixels - common, 1.0)


def _depth_fit(
    scene: Scene, view: View, size: float
) -> tuple[float | None, float | None, float | None]:
    """Return share of points on the surface, median offset, mm, and median ratio of depth."""
    if scene.depth is None:
        return None, None, None
    inner = cv2.erode(scene.rendering.mask(0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    inner &= np.isfinite(scene.depth)
    if np.count_nonzero(inner) < FEWEST_PIXELS // 2:
        return None, None, None
    measured = scene.depth[inner] * view.depth_factor
    drawn = scene.rendering.depth[inner] * view.length
    near = np.abs(measured - drawn) < min(NEAREST, NEAREST_SHARE * size)
    offset, ratio = np.median(measured - drawn), np.median(measured / drawn)
    return float(near.mean()), float(offset), float(ratio)
