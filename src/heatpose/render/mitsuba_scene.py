"""Scenes in the terms of mitsuba 3.

mitsuba compiles a program for each kind of scene, which takes as long as a picture. The program
depends on how many surfaces and lights there are, not on their shapes, colours or places. So all
surfaces are triangle meshes of one of two kinds (colours at vertices, or a texture), and each kind
is filled up to a round number with specks that no ray ever meets, lights with dark ones.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heatpose.errors import UnknownObjectError
from heatpose.geometry.arrays import Array, Image
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points
from heatpose.objects.mesh import Mesh
from heatpose.render.raycast import GREY
from heatpose.render.scene import (
    AreaLight,
    Environment,
    Instance,
    Material,
    Panel,
    Scene,
    albedo_of,
)

Floats = NDArray[np.float32]
Surface: TypeAlias = tuple[Mesh, Array, Material]  # with world_from_object, (4, 4), mm

ROUND = {"coloured": 16, "textured": 16, "light": 8}  # each kind comes in multiples of this
CLIP = (1.0, 1e6)  # mm, nearest and farthest that a camera sees
DARKEST = 1e-6  # radiance of a sky
LEAST = 1e-6  # a metallic or clearcoat of 0 would be another program

# mitsuba's cameras have x to the left and y up, its environments y up and -z in the first column.
_MITSUBA_CAMERA = np.diag([-1.0, -1.0, 1.0, 1.0])
_MITSUBA_SKY = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])


def mitsuba_scene(mi: Any, scene: Scene, meshes: Mapping[int, Mesh]) -> Any:
    """Build a scene.

    Args:
        mi: mitsuba, its variant set.
        scene: the scene.
        meshes: its objects by id.

    Raises:
        UnknownObjectError: an instance of an object without a mesh.
    """
    surfaces = [_surface(one, meshes) for one in scene.instances]
    surfaces += [(_sheet(panel), panel.world_from_panel, panel.material) for panel in scene.panels]
    coloured = [surface for surface in surfaces if surface[0].texture is None]
    textured = [surface for surface in surfaces if surface[0].texture is not None]
    parts = [_shape(mi, *surface) for surface in _filled(coloured, _COLOURED_SPECK, "coloured")]
    parts += [_shape(mi, *surface) for surface in _filled(textured, _TEXTURED_SPECK, "textured")]
    parts += [_lamp(mi, light) for light in _filled(scene.lights, _DARK, "light")]
    parts.append(_sky(mi, scene.environment))
    return mi.load_dict({"type": "scene"} | {f"part_{i}": part for i, part in enumerate(parts)})


def mitsuba_sensor(mi: Any, camera: Camera, world_from_camera: Array) -> Any:
    """Build a camera with square pixels, ``fx = fy``, without distortion."""
    # mitsuba's offsets grow to the left and upwards, in shares of the picture.
    shift_x = 0.5 - (camera.cx + 0.5) / camera.width
    shift_y = 0.5 - (camera.cy + 0.5) / camera.height
    return mi.load_dict(
        {
            "type": "perspective",
            "fov": float(np.degrees(2 * np.arctan(camera.width / 2 / camera.fx))),
            "fov_axis": "x",
            "principal_point_offset_x": float(shift_x),
            "principal_point_offset_y": float(shift_y),
            "near_clip": CLIP[0],
            "far_clip": CLIP[1],
            "to_world": mi.ScalarTransform4f(world_from_camera @ _MITSUBA_CAMERA),
            "sampler": {"type": "independent"},
            "film": {
                "type": "hdrfilm",
                "width": camera.width,
                "height": camera.height,
                "pixel_format": "rgb",
                "component_format": "float32",
                "rfilter": {"type": "box"},  # neighbours stay independent, as denoisers want it
            },
        }
    )


def linear(srgb: NDArray[np.uint8]) -> Floats:
    """Undo the sRGB curve (IEC 61966-2-1): 0 to 255 becomes linear light from 0 to 1."""
    return _LINEAR[srgb]


def _linear_table() -> Floats:
    encoded = np.arange(256) / 255
    powers = ((encoded + 0.055) / 1.055) ** 2.4
    return np.where(encoded <= 0.04045, encoded / 12.92, powers).astype(np.float32)


_LINEAR = _linear_table()


def _surface(one: Instance, meshes: Mapping[int, Mesh]) -> Surface:
    try:
        return meshes[one.object_id], one.world_from_object, one.material
    except KeyError:
        known = sorted(meshes)
        raise UnknownObjectError(f"object {one.object_id} is not one of {known}") from None


def _sheet(panel: Panel) -> Mesh:
    """Return a panel as a mesh of two triangles; its texture stands upright with y up."""
    return _rectangle(panel.width, panel.height, panel.texture)


def _rectangle(width: float, height: float, texture: Image | None = None) -> Mesh:
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    return Mesh(
        vertices=np.pad((corners - 0.5) * [width, height], ((0, 0), (0, 1))),
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        normals=np.tile([0, 0, 1.0], (4, 1)),
        uv=None if texture is None else corners,
        texture=texture,
    )


def _filled(parts: Any, speck: Any, kind: str) -> list[Any]:
    """Fill up to a multiple of ROUND, with one speck at least: none would be another program."""
    missing = ROUND[kind] - len(parts) % ROUND[kind]
    return [*parts, *[speck] * missing]


_COLOURED_SPECK: Surface = (_rectangle(1e-4, 1e-4), np.eye(4), Material())
_TEXTURED_SPECK: Surface = (
    _rectangle(1e-4, 1e-4, np.zeros((2, 2, 3), np.uint8)),
    np.eye(4),
    Material(),
)
_DARK = AreaLight(np.eye(4), 1e-4, 1e-4, np.zeros(3))


def _shape(mi: Any, mesh: Mesh, world_from_object: Array, material: Material) -> Any:
    """Build a mesh where it stands, with its own material."""
    tint = np.array(material.tint, np.float32)
    saturation = np.array([material.saturation], np.float32)
    if mesh.texture is not None:
        # mitsuba has the first row of a texture at v = 0.
        albedo = np.clip(albedo_of(linear(mesh.texture), tint, saturation), 0, 1)[::-1]
        colour = {"type": "bitmap", "bitmap": mi.Bitmap(np.ascontiguousarray(albedo)), "raw": True}
    else:
        colour = {"type": "mesh_attribute", "name": "vertex_color"}
    shape = _mesh(mi, mesh, world_from_object, bsdf=_bsdf(material, colour))
    if mesh.texture is None:
        grey = np.full((len(mesh.vertices), 3), round(GREY * 255), np.uint8)
        colours = linear(grey if mesh.colours is None else mesh.colours)
        albedo = np.clip(albedo_of(colours, tint, saturation), 0, 1)
        shape.add_attribute("vertex_color", 3, albedo.ravel())
    return shape


def _bsdf(material: Material, colour: dict[str, Any]) -> dict[str, Any]:
    """Describe a surface; both sides, as scanned meshes are often open and panels have two."""
    principled = {
        "type": "principled",
        "base_color": colour,
        "roughness": material.roughness,
        "metallic": max(material.metallic, LEAST),
        "specular": max(material.specular, LEAST),
        "clearcoat": max(material.clearcoat, LEAST),
        "clearcoat_gloss": 0.9,
    }
    return {"type": "twosided", "bsdf": principled}


def _mesh(mi: Any, mesh: Mesh, world_from_object: Array, **parts: dict[str, Any]) -> Any:
    """Build a mesh where it stands, with what else belongs to its shape in mitsuba."""
    properties = mi.Properties()
    for name, part in parts.items():
        properties[name] = mi.load_dict(part)
    shape = mi.Mesh(
        "surface",
        vertex_count=len(mesh.vertices),
        face_count=len(mesh.faces),
        has_vertex_normals=True,
        has_vertex_texcoords=mesh.uv is not None,
        props=properties,
    )
    values = mi.traverse(shape)
    points = transform_points(world_from_object, mesh.vertices)
    values["vertex_positions"] = points.astype(np.float32).ravel()
    normals = mesh.normals @ world_from_object[:3, :3].T
    values["vertex_normals"] = normals.astype(np.float32).ravel()
    values["faces"] = mesh.faces.astype(np.uint32).ravel()
    if mesh.uv is not None:
        values["vertex_texcoords"] = mesh.uv.astype(np.float32).ravel()
    values.update()
    return shape


def _lamp(mi: Any, light: AreaLight) -> Any:
    """Build a light of triangles: where mitsuba's rectangles are is part of the program."""
    emitter = {
        "type": "area",
        "radiance": {"type": "rgb", "value": [float(value) for value in light.radiance]},
        "sampling_weight": float(np.any(light.radiance > 0)),  # a dark one is never asked for light
    }
    black = {"type": "diffuse", "reflectance": {"type": "rgb", "value": 0.0}}
    sheet = _rectangle(light.width, light.height)
    return _mesh(mi, sheet, light.world_from_light, bsdf=black, emitter=emitter)


def _sky(mi: Any, environment: Environment) -> Any:
    cos, sin = np.cos(environment.azimuth), np.sin(environment.azimuth)
    turned = np.eye(4)
    turned[:2, :2] = [[cos, -sin], [sin, cos]]
    # Light is drawn in proportion to its radiance, which cannot be nothing everywhere.
    radiance = np.maximum(environment.radiance * np.float32(environment.strength), DARKEST)
    return mi.load_dict(
        {
            "type": "envmap",
            "bitmap": mi.Bitmap(np.ascontiguousarray(radiance, np.float32)),
            "to_world": mi.ScalarTransform4f(turned @ _MITSUBA_SKY),
        }
    )
