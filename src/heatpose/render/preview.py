"""The quick engine: scenes by ray casting, with direct light, shadows and reflections of the sky.

Light goes from surface to surface once, and roughly: where the sky is hidden, there comes a part
of what all that is seen sends on average.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array, Mask
from heatpose.objects.mesh import Mesh
from heatpose.render.gather import visibilities
from heatpose.render.occlusion import CELLS, Occluders, coarse_triangles
from heatpose.render.raycast import Renderer
from heatpose.render.scene import AreaLight, Material, Scene
from heatpose.render.skylight import BLURS, Skylight, split_sun
from heatpose.render.surfaces import Surfaces, see

Floats = NDArray[np.float32]

BOUNCED = 0.5  # what surfaces that hide the sky send, over the mean: they shade each other
COAT_ROUGHNESS = 0.15  # of a clear coat


@dataclass(frozen=True, eq=False)
class _Stage:
    """What is the same in all views of a scene."""

    scene: Scene
    lights: tuple[AreaLight, ...]  # the sun last, where there is one
    sky: Skylight
    occluders: Occluders
    lifts: Array  # by index of the surface, mm


class PreviewEngine:
    """Draws scenes of a set of objects, quickly."""

    def __init__(self, meshes: Mapping[int, Mesh]) -> None:
        self._renderer = Renderer(meshes)
        self._coarse = {object_id: coarse_triangles(mesh) for object_id, mesh in meshes.items()}
        self._cells = {i: float(mesh.extents.max()) / CELLS for i, mesh in meshes.items()}
        self._stage: _Stage | None = None

    def __call__(
        self,
        scene: Scene,
        view: int,
        rng: np.random.Generator | None = None,
        seen: Surfaces | None = None,
    ) -> Floats:
        """Draw one view of a scene.

        Args:
            scene: the scene; views of one scene one after the other share some work.
            view: number of the camera.
            rng: not used: nothing is left to chance here.
            seen: what this view shows, where that is known already.

        Returns:
            Linear RGB radiance, (h, w, 3).

        Raises:
            UnknownObjectError: an object of the scene without a mesh.
        """
        if seen is None:
            ids = [one.object_id for one in scene.instances]
            poses = scene.camera_from_objects(view)
            seen = see(scene, view, self._renderer.render(ids, poses, scene.camera))
        if self._stage is None or self._stage.scene is not scene:
            self._stage = self._prepared(scene)
        return _drawn(self._stage, seen)

    def _prepared(self, scene: Scene) -> _Stage:
        sun, rest = split_sun(scene.environment)
        lifts = [0.7 * self._cells[one.object_id] for one in scene.instances]
        return _Stage(
            scene=scene,
            lights=scene.lights if sun is None else (*scene.lights, sun),
            sky=Skylight(rest),
            occluders=Occluders(scene, self._coarse),
            lifts=np.array(lifts + [0.2] * len(scene.panels)),
        )


@dataclass(frozen=True, eq=False)
class _Points:
    """The points that light is computed for, n of them."""

    places: Floats  # (n, 3), mm
    normals: Floats  # (n, 3)
    to_camera: Floats  # (n, 3), unit
    diffuse: Floats  # (n, 3), albedo of matt reflection
    mirror: Floats  # (n, 3), reflectance straight on
    roughness: Floats  # (n,)


def _drawn(stage: _Stage, seen: Surfaces) -> Floats:
    """Return the radiance (h, w, 3) of what is seen."""
    scene = stage.scene
    materials = [
        *(one.material for one in scene.instances),
        *(one.material for one in scene.panels),
    ]
    image = np.zeros_like(seen.albedo)
    sky = seen.index < 0
    image[sky] = stage.sky.seen(seen.rays[sky])
    for number, light in enumerate(scene.lights, len(materials)):
        shining = seen.index == number
        front = np.sum(seen.normals[shining] * light.world_from_light[:3, 2], axis=1) > 0
        image[shining] = front[:, None] * light.radiance
    lit = ~sky & (seen.index < len(materials))
    shares = visibilities(seen, stage.lights, stage.occluders, stage.lifts)[lit]
    image[lit] = _radiance(stage, _points(seen, lit, materials), shares, seen.index[lit], materials)
    return image


def _points(seen: Surfaces, lit: Mask, materials: Sequence[Material]) -> _Points:
    index, albedo = seen.index[lit], seen.albedo[lit]
    metallic = _by_index([one.metallic for one in materials], index)[:, None]
    specular = _by_index([one.specular for one in materials], index)[:, None]
    return _Points(
        places=seen.points[lit],
        normals=seen.normals[lit],
        to_camera=-seen.rays[lit],
        diffuse=albedo * (1 - metallic),
        # Disney's specular: 0.5 is glass with a reflectance of 4 %.
        mirror=0.08 * specular * (1 - metallic) + albedo * metallic,
        roughness=_by_index([one.roughness for one in materials], index),
    )


def _by_index(values: Sequence[float], index: NDArray[np.int16]) -> Floats:
    """Return the value (n,) of the surface that each point belongs to."""
    return np.array(values, np.float32)[index]


def _radiance(
    stage: _Stage,
    points: _Points,
    shares: Floats,
    index: NDArray[np.int16],
    materials: Sequence[Material],
) -> Floats:
    """Add up what points send to the camera, (n, 3), of the lights and the sky."""
    open_sky = shares[:, -1:]
    radiance = stage.sky.irradiance(points.normals) / np.pi * points.diffuse * open_sky
    radiance += _reflected_sky(stage.sky, points, index, materials) * open_sky
    for number, light in enumerate(stage.lights):
        on = np.flatnonzero(shares[:, number] > 0)
        radiance[on] += _from_light(light, points, on) * shares[on, number, None]
    bounced = BOUNCED * radiance.mean(axis=0) if len(radiance) else 0
    radiance += points.diffuse * bounced * (1 - open_sky)
    return radiance


def _from_light(light: AreaLight, points: _Points, on: NDArray[np.intp]) -> Floats:
    """Return what the points `on` send to the camera of one light, (m, 3), nothing in its way.

    The light comes from its centre, as much as a disc of its area sends straight on. The gloss is
    GGX (Walter et al., 2007), widened by the light's size, with the visibility term of Kelemen and
    Szirmay-Kalos (2001).
    """
    normals, to_camera = points.normals[on], points.to_camera[on]
    ways = light.world_from_light[:3, 3].astype(np.float32) - points.places[on]
    distance = np.linalg.norm(ways, axis=1)
    ways /= distance[:, None]
    leaving = np.maximum(-ways @ light.world_from_light[:3, 2].astype(np.float32), 0)
    arriving = np.maximum(np.einsum("ni,ni->n", ways, normals), 0)
    area = np.float32(light.width * light.height)
    falling = arriving * leaving * area / (distance**2 + area / np.float32(np.pi))

    half = ways + to_camera
    half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
    between = np.maximum(np.einsum("ni,ni->n", ways, half), 0.1)
    alpha = np.maximum(points.roughness[on] ** 2, 0.01)
    wider = np.minimum(alpha + np.sqrt(area) / (4 * distance), 1)
    peak = np.maximum(np.einsum("ni,ni->n", normals, half), 0) ** 2 * (wider**2 - 1) + 1
    gloss = wider**2 / (np.pi * peak**2) / (4 * between**2)
    fresnel = points.mirror[on] + (1 - points.mirror[on]) * ((1 - between) ** 5)[:, None]
    sent = (points.diffuse[on] / np.pi + fresnel * gloss[:, None]) * falling[:, None]
    return np.asarray(sent * light.radiance.astype(np.float32), np.float32)


def _reflected_sky(
    sky: Skylight, points: _Points, index: NDArray[np.int16], materials: Sequence[Material]
) -> Floats:
    """Return the sky's mirror image in the points, (n, 3), blurred by their roughness.

    How much is reflected follows the fit of Karis (Physically Based Shading on Mobile, 2014).
    """
    normals = points.normals
    cosine = np.maximum(np.einsum("ni,ni->n", points.to_camera, normals), 0)
    mirrored = 2 * cosine[:, None] * normals - points.to_camera
    rough = points.roughness
    flat = (
        np.minimum((1 - rough) ** 2, 2 ** (-9.28 * cosine)) * (1 - rough) + 0.0425 - 0.0275 * rough
    )
    scale, offset = -1.04 * flat + 1.04 - 0.572 * rough, 1.04 * flat - 0.04 + 0.022 * rough
    share = points.mirror * scale[:, None] + np.maximum(offset, 0)[:, None]
    reflected = np.zeros_like(normals)
    level = _by_index([_blur_for(one.roughness) for one in materials], index)
    for number in range(len(BLURS)):
        of_level = np.flatnonzero(level == number)
        reflected[of_level] = sky.seen(mirrored[of_level], number) * share[of_level]
    coat = _by_index([0.25 * one.clearcoat for one in materials], index)
    coated = np.flatnonzero(coat > 0)
    if len(coated):
        fresnel = 0.04 + 0.96 * (1 - cosine[coated]) ** 5
        seen = sky.seen(mirrored[coated], _blur_for(COAT_ROUGHNESS))
        reflected[coated] += seen * (coat[coated] * fresnel)[:, None]
    return reflected


def _blur_for(roughness: float) -> int:
    """Return the number of the blur nearest to what a surface of this roughness does."""
    return int(np.abs(np.array(BLURS) - 1.5 * roughness**2).argmin())
