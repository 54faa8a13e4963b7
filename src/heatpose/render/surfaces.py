"""What a camera sees at each pixel of a scene: objects by ray casting, flat panels by formula."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array, Image, Mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import invert
from heatpose.render.raycast import Rendering
from heatpose.render.scene import AreaLight, Panel, Scene

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
    camera, world_from_camera = scene.camera, scene.world_from_cameras[view]
    rays = camera_rays(camera)
    turn = world_from_camera[:3, :3].T.astype(np.float32)
    depth = np.where(rendering.instance >= 0, rendering.depth, np.float32(np.inf))
    index, normals = rendering.instance.copy(), rendering.normals @ turn
    tints = np.array([one.material.tint for one in scene.instances], np.float32).reshape(-1, 3)
    albedo = np.zeros_like(normals)
    objects = index >= 0
    albedo[objects] = linear(rendering.albedo[objects]) * tints[index[objects]]
    flats: list[Panel | AreaLight] = [*scene.panels, *scene.lights]
    for number, flat in enumerate(flats, len(scene.instances)):
        seen, where, place = _cross(flat, world_from_camera, rays, depth)
        if not seen.any():
            continue
        index[seen], depth[seen] = number, where[seen]
        normals[seen] = _towards(flat, world_from_camera)
        if isinstance(flat, Panel):
            albedo[seen] = _picture(flat, place, seen) * np.float32(flat.material.tint)
        else:
            albedo[seen] = 0
    world_rays = rays @ turn
    points = world_rays * np.where(index >= 0, depth, 0)[..., None]
    points += world_from_camera[:3, 3].astype(np.float32)
    world_rays /= np.linalg.norm(world_rays, axis=2, keepdims=True)
    return Surfaces(index, points, normals, albedo, world_rays)


def camera_rays(camera: Camera) -> Floats:
    """Return the direction of each pixel, (h, w, 3), camera frame; its z is 1."""
    pixels = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1)
    return camera.unproject(pixels, np.ones(pixels.shape[:2])).astype(np.float32)


def linear(coded: Floats) -> Floats:
    """Undo the gamma of sRGB (IEC 61966-2-1): values in [0, 1] to linear ones."""
    steps = np.arange(1025) / 1024
    curve = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    return np.interp(coded, steps, curve).astype(np.float32)


def _cross(
    flat: Panel | AreaLight, world_from_camera: Array, rays: Floats, depth: Floats
) -> tuple[Mask, Floats, Floats]:
    """Meet a rectangle with rays of z = 1.

    Returns:
        Where it is seen before what is at `depth`, (h, w), its depth (h, w), and the place on it,
        (h, w, 2), mm.
    """
    pose = flat.world_from_light if isinstance(flat, AreaLight) else flat.world_from_panel
    flat_from_camera = (invert(pose) @ world_from_camera).astype(np.float32)
    local = rays @ flat_from_camera[:3, :3].T
    x, y, z = flat_from_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        where = -z / local[..., 2]
        place = local[..., :2] * where[..., None] + [x, y]
        inside = (np.abs(place) < np.float32([flat.width / 2, flat.height / 2])).all(axis=2)
    return inside & (where > 0) & (where < depth), where, place.astype(np.float32)


def _towards(flat: Panel | AreaLight, world_from_camera: Array) -> Floats:
    """Return the normal (3,) of that side of a rectangle which the camera sees."""
    pose = flat.world_from_light if isinstance(flat, AreaLight) else flat.world_from_panel
    side = np.sign(pose[:3, 2] @ (world_from_camera[:3, 3] - pose[:3, 3])) or 1.0
    return (side * pose[:3, 2]).astype(np.float32)


def _picture(panel: Panel, place: Floats, seen: Mask) -> Floats:
    """Return the colours (n, 3), linear, of a panel where it is seen."""
    texture = _shrunk(panel, place, seen)
    height, width = texture.shape[:2]
    x = (place[..., 0] / panel.width + 0.5) * width - 0.5
    y = (0.5 - place[..., 1] / panel.height) * height - 0.5
    with np.errstate(invalid="ignore"):
        maps = [np.nan_to_num(np.clip(one, -1, 32000)).astype(np.float32) for one in (x, y)]
    colours = cv2.remap(texture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return linear(np.asarray(colours)[seen].astype(np.float32) / 255)


def _shrunk(panel: Panel, place: Floats, seen: Mask) -> Image:
    """Return the texture at about the resolution at which it is seen, so that it does not flicker.

    One resolution for the whole panel: the typical distance of neighbouring pixels on it.
    """
    together = seen[:, 1:] & seen[:, :-1]
    if not together.any():
        return panel.texture
    step = np.median(np.linalg.norm(np.diff(place, axis=1)[together], axis=1))  # mm per px
    rows, cols = panel.texture.shape[:2]
    size = [
        max(int(min(n, side / step)), 2) for n, side in ((cols, panel.width), (rows, panel.height))
    ]
    shrunk = cv2.resize(panel.texture, size, interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.uint8)
