"""What a camera sees at each pixel of a scene: objects by ray casting, flat panels by formula."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array, Image, Mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import invert, transform_points
from heatpose.render.raycast import Rendering
from heatpose.render.scene import AreaLight, Panel, Scene, albedo_of
from heatpose.render.skylight import look_up

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Surfaces:
    """One value per pixel in every map; world frame, mm."""

    index: NDArray[np.int16]  # (h, w), instances first, then panels, then lights; -1 is the sky
    points: Floats  # (h, w, 3); of no use in the sky
    normals: Floats  # (h, w, 3), unit, towards the camera
    albedo: Floats  # (h, w, 3), linear RGB, tint included
    rays: Floats  # (h, w, 3), unit, away from the camera


def see(scene: Scene, view: int, rendering: Rendering) -> Surfaces:
    """Put panels and lights around objects that were rendered from a view of the scene."""
    world_from_camera = scene.world_from_cameras[view]
    rays = camera_rays(scene.camera)
    turn = world_from_camera[:3, :3].T.astype(np.float32)
    depth = np.where(rendering.instance >= 0, rendering.depth, np.float32(np.inf))
    index, normals = rendering.instance.copy(), rendering.normals @ turn
    materials = [one.material for one in scene.instances]
    tints = np.array([one.tint for one in materials], np.float32).reshape(-1, 3)
    saturations = np.array([one.saturation for one in materials], np.float32)[:, None]
    albedo = np.zeros_like(normals)
    objects = index >= 0
    which = index[objects]
    colours = linear(rendering.albedo[objects])
    albedo[objects] = albedo_of(colours, tints[which], saturations[which])
    flats: list[Panel | AreaLight] = [*scene.panels, *scene.lights]
    for number, flat in enumerate(flats, len(scene.instances)):
        flat_from_camera = invert(_pose(flat)) @ world_from_camera
        window = _window(flat, invert(flat_from_camera), scene.camera)
        seen, where, places = _cross(flat, flat_from_camera, rays[window], depth[window])
        if not seen.any():
            continue
        index[window][seen], depth[window][seen] = number, where[seen]
        normals[window][seen] = _towards(_pose(flat), world_from_camera)
        if isinstance(flat, Panel):
            albedo[window][seen] = _picture(flat, places, seen)
        else:
            albedo[window][seen] = 0
    world_rays = rays @ turn
    points = world_rays * np.where(index >= 0, depth, 0)[..., None]
    points += world_from_camera[:3, 3].astype(np.float32)
    world_rays /= np.sqrt(np.einsum("hwi,hwi->hw", rays, rays))[..., None]
    return Surfaces(index, points, normals, albedo, world_rays)


def camera_rays(camera: Camera) -> Floats:
    """Return the direction of each pixel, (h, w, 3), camera frame; its z is 1."""
    x, y = np.arange(camera.width, dtype=float), np.arange(camera.height, dtype=float)
    pixels = np.stack(np.meshgrid(x, y), axis=-1)
    return camera.unproject(pixels, np.ones(pixels.shape[:2])).astype(np.float32)


def linear(coded: Floats) -> Floats:
    """Undo the gamma of sRGB (IEC 61966-2-1): values in [0, 1] to linear ones."""
    steps = np.arange(1025) / 1024
    curve = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    return np.interp(coded, steps, curve).astype(np.float32)


def _pose(flat: Panel | AreaLight) -> Array:
    return flat.world_from_light if isinstance(flat, AreaLight) else flat.world_from_panel


def _window(
    flat: Panel | AreaLight, camera_from_flat: Array, camera: Camera
) -> tuple[slice, slice]:
    """Return the rows and columns in which a rectangle can be seen."""
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) / 2
    corners = transform_points(camera_from_flat, square * [flat.width, flat.height, 0])
    if camera.distortion or (corners[:, 2] <= 1).any():
        return slice(None), slice(None)
    pixels, size = camera.project(corners), [camera.width, camera.height]
    left, top = np.clip(np.floor(pixels.min(axis=0)), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(pixels.max(axis=0)) + 1, 0, size).astype(int)
    return slice(top, bottom), slice(left, right)


def _cross(
    flat: Panel | AreaLight, flat_from_camera: Array, rays: Floats, depth: Floats
) -> tuple[Mask, Floats, tuple[Floats, Floats]]:
    """Meet a rectangle with rays (h, w, 3) of z = 1, camera frame.

    Returns:
        Where it is seen before what is at `depth`, (h, w), its depth, (h, w), and the places on
        it, along its x and y, (h, w) each, mm.
    """
    turn, start = flat_from_camera[:3, :3].astype(np.float32), flat_from_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        where = np.float32(-start[2]) / (rays @ turn[2])
        x = rays @ turn[0] * where + np.float32(start[0])
        y = rays @ turn[1] * where + np.float32(start[1])
        seen: Mask = (where > 0) & (where < depth)
        seen &= (np.abs(x) < flat.width / 2) & (np.abs(y) < flat.height / 2)
    return seen, where, (x, y)


def _towards(world_from_flat: Array, world_from_camera: Array) -> Floats:
    """Return the normal (3,) of that side of a rectangle which the camera sees."""
    axis = world_from_flat[:3, 2]
    side = np.sign(axis @ (world_from_camera[:3, 3] - world_from_flat[:3, 3])) or 1.0
    return np.asarray(side * axis, np.float32)


def _picture(panel: Panel, places: tuple[Floats, Floats], seen: Mask) -> Floats:
    """Return the colours (n, 3), linear, of a panel where it is seen."""
    texture = _shrunk(panel, places, seen)
    height, width = texture.shape[:2]
    x, y = (place[seen] for place in places)
    colours = look_up(
        texture,
        np.clip((x / panel.width + 0.5) * width - 0.5, 0, width - 1),
        np.clip((0.5 - y / panel.height) * height - 0.5, 0, height - 1),
    )
    return linear(colours / np.float32(255)) * np.array(panel.material.tint, np.float32)


def _shrunk(panel: Panel, places: tuple[Floats, Floats], seen: Mask) -> Image:
    """Return the texture at about the resolution at which it is seen, so that it does not flicker.

    One resolution for the whole panel: the typical distance of neighbouring pixels on it.
    """
    together = seen[:, 1:] & seen[:, :-1]
    if not together.any():
        return panel.texture
    x, y = (np.diff(place, axis=1)[together] for place in places)
    step = float(np.median(np.hypot(x, y)))  # mm per px
    rows, cols = panel.texture.shape[:2]
    wanted = [max(int(side / step), 2) for side in (panel.width, panel.height)]
    if wanted[0] >= cols and wanted[1] >= rows:
        return panel.texture
    size = (min(wanted[0], cols), min(wanted[1], rows))
    return np.asarray(cv2.resize(panel.texture, size, interpolation=cv2.INTER_AREA), np.uint8)
