"""What a camera sees of a scene, exactly: depth, masks, boxes and visible fractions.

Whatever engine draws the picture, the labels come from here, by ray casting. Tables, floors and
walls are cast as well: they cover what lies behind them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatpose.data.bop_files import GroundTruth, Visibility
from heatpose.geometry.arrays import Array, Box, Depth, Mask
from heatpose.geometry.boxes import box_of_mask
from heatpose.geometry.camera import Camera
from heatpose.objects.mesh import Mesh
from heatpose.render.raycast import Renderer, Rendering
from heatpose.render.scene import Material, Panel, Scene

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
    """What one camera sees: one value per pixel in every map, and the labels."""

    depth: Depth  # (h, w), mm along z, NaN where only the surroundings are
    normals: Floats  # (h, w, 3), unit, camera frame, towards the camera; 0 where the depth is NaN
    albedo: Floats  # (h, w, 3), RGB in [0, 1]
    shine: Floats  # (h, w), share of light that is mirrored instead of scattered, in [0, 1]
    instance: NDArray[np.int16]  # (h, w), index into the scene's instances; -1 for all else
    labels: tuple[Label, ...]  # of the instances with an object id from 0 on, in their order


class Labeller:
    """Keeps the meshes ready; distractors have ids below zero and are not labelled."""

    def __init__(self, meshes: Mapping[int, Mesh]) -> None:
        self._renderer = Renderer(meshes)

    def render(self, scene: Scene, view: int) -> Rendering:
        """Render the objects of a scene, without panels, as the camera with this number has it."""
        ids = [one.object_id for one in scene.instances]
        return self._renderer.render(ids, scene.camera_from_objects(view), scene.camera)

    def __call__(self, scene: Scene, view: int, objects: Rendering | None = None) -> View:
        """Return what the camera with this number sees of a scene.

        Args:
            scene: the scene.
            view: number of the camera.
            objects: what `render` gave for them, if it was called before.
        """
        objects = objects or self.render(scene, view)
        poses, camera = scene.camera_from_objects(view), scene.camera
        depth, instance = objects.depth.copy(), objects.instance.copy()
        normals, albedo = objects.normals.copy(), objects.albedo.copy()
        shine = _shine([one.material for one in scene.instances])[instance]
        if scene.panels:
            numbers = range(len(scene.panels))
            camera_from_world = np.linalg.inv(scene.world_from_cameras[view])
            panels = Renderer({i: panel_mesh(scene.panels[i]) for i in numbers}).render(
                numbers, [camera_from_world @ one.world_from_panel for one in scene.panels], camera
            )
            # The ray that misses has depth NaN, of which no comparison holds.
            nearer = (panels.depth < depth) | (np.isnan(depth) & np.isfinite(panels.depth))
            depth[nearer], instance[nearer] = panels.depth[nearer], -1
            normals[nearer], albedo[nearer] = panels.normals[nearer], panels.albedo[nearer]
            panel_shine = _shine([one.material for one in scene.panels])
            shine[nearer] = panel_shine[panels.instance[nearer]]
        labels = []
        for index, (one, pose) in enumerate(zip(scene.instances, poses, strict=True)):
            if one.object_id < 0:
                continue
            mask = objects.full_masks[index]
            pixels, box = self._whole_silhouette(one.object_id, pose, camera, mask)
            truth = GroundTruth(one.object_id, pose)
            labels.append(Label(truth, mask, instance == index, pixels, box))
        return View(depth, normals, albedo, shine, instance, tuple(labels))

    def _whole_silhouette(
        self, object_id: int, pose: Array, camera: Camera, mask: Mask
    ) -> tuple[int, Box | None]:
        """Return the pixels of a silhouette and the box around it, on a canvas of 3 x 3 images."""
        edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
        if mask.any() and not any(edge.any() for edge in edges):
            return int(mask.sum()), box_of_mask(mask)
        width, height = camera.width, camera.height
        canvas = camera.warped(1.0, np.array([width, height]), 3 * width, 3 * height)
        whole = np.isfinite(self._renderer.depth(object_id, pose, canvas))
        box = box_of_mask(whole)
        if box is None:
            return 0, None
        left, top, right, bottom = box
        return int(whole.sum()), (left - width, top - height, right - width, bottom - height)


def _shine(materials: Sequence[Material]) -> Floats:
    """Return the share of light that each material mirrors, (n + 1,); the last one is 0.

    Disney's model reflects 0.08 of its specular parameter, and a quarter of the clear coat,
    head on; what is rough spreads it again.
    """
    mirrored = [
        (m.metallic + (1 - m.metallic) * 0.08 * m.specular) * (1 - m.roughness)
        + 0.25 * 0.04 * m.clearcoat
        for m in materials
    ]
    return np.clip([*mirrored, 0.0], 0, 1).astype(np.float32)


def panel_mesh(panel: Panel) -> Mesh:
    """Return the surface of a panel, (4,) vertices in its own frame, with its texture."""
    x, y = panel.width / 2, panel.height / 2
    return Mesh(
        vertices=np.array([[-x, -y, 0.0], [x, -y, 0.0], [x, y, 0.0], [-x, y, 0.0]]),
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        normals=np.tile([0.0, 0.0, 1.0], (4, 1)),
        uv=np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]),
        texture=panel.texture,
    )
