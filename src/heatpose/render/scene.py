"""What a training scene is made of, before any engine draws it.

World frame: z up, mm, the origin on the ground below the middle of the scene. Both engines
(`heatpose.render.preview`, `heatpose.render.pathtrace`) take the same scene; masks, depth and
labels always come from `heatpose.render.raycast`, so that they are exact in both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array, Image
from heatpose.geometry.camera import Camera

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Material:
    """How a surface answers light (the parameters of Disney's principled model, 2012)."""

    roughness: float = 0.6  # 0 is a mirror, 1 is chalk
    metallic: float = 0.0
    specular: float = 0.5
    clearcoat: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)  # multiplies the surface's own colour
    saturation: float = 1.0  # factor on that of the surface's own colour; those of CAD are pale


def albedo_of(colours: Floats, tint: Floats, saturation: Floats) -> Floats:
    """Return what colours (..., 3), linear RGB, become with a material's tint and saturation.

    Args:
        colours: of the surface itself.
        tint: (..., 3).
        saturation: (..., 1).
    """
    grey = colours.mean(axis=-1, keepdims=True)
    albedo: Floats = np.clip(colours * saturation + grey * (1 - saturation), 0, 1) * tint
    return albedo


@dataclass(frozen=True, eq=False)
class Instance:
    """One object that stands or lies in a scene."""

    object_id: int  # key of its mesh; below zero for a distractor, which is not labelled
    world_from_object: Array  # (4, 4), mm
    material: Material = Material()


@dataclass(frozen=True, eq=False)
class Panel:
    """A flat, textured, two-sided rectangle: a table top, a floor, a wall of a bin."""

    world_from_panel: Array  # (4, 4), mm; it lies in its own z = 0, its outer side towards +z
    width: float  # along x, mm
    height: float  # along y, mm
    texture: Image  # (h, w, 3), stretched over the whole rectangle, its top row along +y
    material: Material = Material()


@dataclass(frozen=True, eq=False)
class AreaLight:
    """A rectangle that shines towards its own +z, like a ceiling lamp or a window."""

    world_from_light: Array  # (4, 4), mm
    width: float  # mm
    height: float  # mm
    radiance: Array  # (3,), linear RGB


@dataclass(frozen=True, eq=False)
class Environment:
    """Light from all around, on a map by latitude and longitude.

    At azimuth 0 the middle column lies towards the world's +x, and columns farther to the right
    farther to the right as seen from the origin: a quarter of the width on is towards -y.
    """

    radiance: NDArray[np.float32]  # (h, 2 h, 3), linear RGB, sky at the top
    azimuth: float = 0.0  # turned by this about the world's z axis, rad
    strength: float = 1.0

    @property
    def directions(self) -> Array:
        """Where the centre of each pixel of the map lies, unit vectors (h, 2 h, 3), world frame."""
        height, width = self.radiance.shape[:2]
        polar = (np.arange(height)[:, None] + 0.5) / height * np.pi
        around = self.azimuth + (0.5 - (np.arange(width) + 0.5) / width) * 2 * np.pi
        towards = [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around)]
        return np.stack([*towards, np.broadcast_to(np.cos(polar), (height, width))], axis=-1)


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that an engine needs to draw all views of one scene, but the meshes."""

    instances: tuple[Instance, ...]
    panels: tuple[Panel, ...]
    lights: tuple[AreaLight, ...]
    environment: Environment
    camera: Camera
    world_from_cameras: tuple[Array, ...]  # (4, 4) each, mm; camera frame x right, y down, z on

    def camera_from_objects(self, view: int) -> list[Array]:
        """Return the pose of each instance in one view, (4, 4) each, mm."""
        camera_from_world = np.linalg.inv(self.world_from_cameras[view])
        return [camera_from_world @ one.world_from_object for one in self.instances]
