"""Colour from surfaces and lights: ambient, diffuse and specular light (Blinn-Phong)."""

from dataclasses import dataclass, field

import numpy as np

from heatpose.geometry.arrays import Array, Image
from heatpose.geometry.camera import Camera
from heatpose.render.raycast import Rendering


def _from_above_and_left() -> Array:
    return np.array([[-0.4, -0.7, -0.6], [0.8, -0.2, -0.6]])


@dataclass(frozen=True, eq=False)
class Lighting:
    """Light from several directions, all in the camera frame (x right, y down, z forward)."""

    directions: Array = field(default_factory=_from_above_and_left)  # (l, 3), towards the lights
    colours: Array = field(default_factory=lambda: np.array([[0.6] * 3, [0.25] * 3]))  # (l, 3), RGB
    ambient: Array = field(default_factory=lambda: np.full(3, 0.45))  # (3,), RGB
    specular: float = 0.1  # strength of the highlights
    shininess: float = 20.0  # Phong's exponent: the larger, the smaller the highlights


def shade(rendering: Rendering, camera: Camera, lighting: Lighting | None = None) -> Image:
    """Return the colour image (h, w, 3), RGB, of what was rendered; black where no object is.

    Args:
        rendering: surfaces as seen by the camera.
        camera: the camera that sees them; highlights depend on where it looks from.
        lighting: the lights, by default two from above.
    """
    lighting = lighting or Lighting()
    seen = rendering.instance >= 0
    normals, albedo = rendering.normals[seen], rendering.albedo[seen]
    rows, cols = np.nonzero(seen)
    to_camera = -camera.unproject(np.stack([cols, rows], axis=1), np.ones(len(rows)))
    to_camera = _unit(to_camera).astype(np.float32)

    light = np.broadcast_to(lighting.ambient.astype(np.float32), albedo.shape).copy()
    shine = np.zeros_like(light)
    for direction, colour in zip(
        _unit(lighting.directions).astype(np.float32),
        lighting.colours.astype(np.float32),
        strict=True,
    ):
        light += np.maximum(normals @ direction, 0)[:, None] * colour
        halfway = _unit(to_camera + direction)
        shine += (
            np.maximum(np.einsum("ni,ni->n", normals, halfway), 0)[:, None] ** lighting.shininess
            * colour
        )

    image = np.zeros((*seen.shape, 3), np.uint8)
    image[seen] = np.clip((albedo * light + lighting.specular * shine) * 255, 0, 255).astype(
        np.uint8
    )
    return image


def _unit(vectors: Array) -> Array:
    """Return vectors (..., 3) at length one."""
    unit: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return unit
