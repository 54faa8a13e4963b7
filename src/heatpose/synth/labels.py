"""What a camera sees of a scene, exactly: depth, masks, boxes and visible fractions.

Whatever engine draws the picture, the labels come from here, by ray casting. Tables, floors, walls
and lamps cover what lies behind them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatpose.data.bop_files import GroundTruth, Visibility
from heatpose.data.silhouettes import whole_silhouette
from heatpose.geometry.arrays import Array, Box, Depth, Mask
from heatpose.geometry.boxes import box_of_mask
from heatpose.objects.mesh import Mesh
from heatpose.render.raycast import Renderer
from heatpose.render.scene import Scene
from heatpose.render.surfaces import Surfaces, see

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Label:
    """One object in one image."""

    truth: GroundTruth
    mask: Mask  # (h, w), its silhouette as if it were alone
    visible: Mask  # (h, w), what is seen of it
    pixels: int  # of the silhouette, those beyond the image too
    box: Box | None  # around the silhouette, beyond the image too, px

    def visibility(self, depth: Depth) -> Visibility:
        """Return what BOP's scene_gt_info says of the object.

        As in BOP's calc_gt_info.py the whole silhouette counts, its part beyond the image too,
        and an object of which nothing is seen has no boxes.

        Args:
            depth: of the image, (h, w), NaN where nothing was measured.
        """
        seen = int(self.visible.sum())
        return Visibility(
            box=self.box if seen else None,
            visible_box=box_of_mask(self.visible),
            pixels=self.pixels,
            valid_pixels=int((self.mask & np.isfinite(depth)).sum()),
            visible_pixels=seen,
            visible_fraction=seen / self.pixels if seen else 0.0,
        )


@dataclass(frozen=True, eq=False)
class View:
    """What one camera sees."""

    depth: Depth  # (h, w), mm along z, NaN where only the surroundings are
    surfaces: Surfaces  # everything at each pixel, as engines have it
    labels: tuple[Label, ...]  # of the instances with an object id from 0 on, in their order


class Labeller:
    """Keeps the meshes ready; distractors have ids below zero and are not labelled."""

    def __init__(self, meshes: Mapping[int, Mesh]) -> None:
        self._renderer = Renderer(meshes)

    def __call__(self, scene: Scene, view: int) -> View:
        """Return what the camera with this number sees of a scene."""
        poses, camera = scene.camera_from_objects(view), scene.camera
        ids = [one.object_id for one in scene.instances]
        objects = self._renderer.render(ids, poses, camera)
        surfaces = see(scene, view, objects)
        labels = []
        for number, (object_id, pose) in enumerate(zip(ids, poses, strict=True)):
            if object_id < 0:
                continue
            mask = objects.full_masks[number]
            pixels, box = whole_silhouette(self._renderer, object_id, pose, camera, mask)
            truth = GroundTruth(object_id, pose)
            labels.append(Label(truth, mask, surfaces.index == number, pixels, box))
        depth = _depth(surfaces, scene.world_from_cameras[view])
        return View(depth, surfaces, tuple(labels))


def normals_to_camera(view: View, world_from_camera: Array) -> Floats:
    """Return the normals of what is seen, (h, w, 3), camera frame; 0 in the surroundings."""
    normals: Floats = view.surfaces.normals @ world_from_camera[:3, :3].astype(np.float32)
    return normals


def shine(view: View, scene: Scene) -> Floats:
    """Return the share of light that is mirrored, not scattered, at each pixel, (h, w).

    Disney's model reflects 0.08 of its specular parameter and 0.04 of a quarter of the clear
    coat, head on, and all of what is metallic; the rougher a surface, the more it spreads that.
    """
    materials = [
        *(one.material for one in scene.instances),
        *(one.material for one in scene.panels),
    ]
    mirrored = [
        (m.metallic + (1 - m.metallic) * 0.08 * m.specular) * (1 - m.roughness)
        + 0.04 * 0.25 * m.clearcoat
        for m in materials
    ]
    # Lights and surroundings: nothing is known to scatter less than others.
    table = np.clip([*mirrored, *[0.0] * len(scene.lights), 0.0], 0, 1).astype(np.float32)
    return np.asarray(table[view.surfaces.index], np.float32)


def _depth(surfaces: Surfaces, world_from_camera: Array) -> Depth:
    """Return the depth (h, w), mm along the camera's z; NaN in the surroundings."""
    origin, forward = world_from_camera[:3, 3], world_from_camera[:3, 2]
    depth = (surfaces.points - origin.astype(np.float32)) @ forward.astype(np.float32)
    return np.asarray(np.where(surfaces.index >= 0, depth, np.nan), np.float32)
