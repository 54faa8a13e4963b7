"""The files of one scene in a BOP data set, written view by view."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.data.bop_files import (
    FrameCamera,
    GroundTruth,
    Visibility,
    write_scene_camera,
    write_scene_gt,
    write_scene_gt_info,
)
from heatpose.data.fields import write_json
from heatpose.geometry.arrays import Depth, Image, Mask
from heatpose.geometry.transforms import invert
from heatpose.render.scene import Scene
from heatpose.synth.labels import View

DEPTH_SCALE = 0.1  # mm per unit of the depth files: they reach to 6.5 m
LEAST_VISIBLE = 0.1  # share of an object that must be seen for it to be a target, as in BOP
# Compressing harder takes longer than all else together and gains little.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)  # as BOP's own training images


class SceneFiles:
    """A scene folder as it comes into being."""

    def __init__(self, folder: Path, scene: Scene, png: bool, with_clean_depth: bool) -> None:
        """Make the folders of the images.

        Args:
            folder: of the scene; it is there and empty.
            scene: what is seen.
            png: colour without loss; else JPEG.
            with_clean_depth: keep the true depth beside the measured one.
        """
        self.folder = folder
        self.scene = scene
        self.ending, self.options = (".png", _PNG) if png else (".jpg", _JPEG)
        self.with_clean_depth = with_clean_depth
        self.truth: dict[int, list[GroundTruth]] = {}
        self.seen: dict[int, list[Visibility]] = {}
        for name in ("rgb", "depth", "mask", "mask_visib"):
            (folder / name).mkdir()

    def add(self, image_id: int, picture: Image, depth: Depth, view: View) -> None:
        """Write the images of one view and keep its labels.

        Args:
            image_id: its number.
            picture: (h, w, 3), RGB.
            depth: as it was measured, (h, w), mm.
            view: the truth.
        """
        name = f"{image_id:06d}"
        self._image(f"rgb/{name}{self.ending}", picture[..., ::-1], self.options)
        self._image(f"depth/{name}.png", depth_units(depth), _PNG)
        if self.with_clean_depth:
            self.add_depth(image_id, "depth_clean", view.depth)
        for index, label in enumerate(view.labels):
            self._masks(f"{name}_{index:06d}.png", label.mask, label.visible)
        self.truth[image_id] = [label.truth for label in view.labels]
        self.seen[image_id] = [label.visibility(depth) for label in view.labels]

    def add_depth(self, image_id: int, kind: str, depth: Depth) -> None:
        """Write another depth image (h, w), mm, of a view, into a folder of its own."""
        (self.folder / kind).mkdir(exist_ok=True)
        self._image(f"{kind}/{image_id:06d}.png", depth_units(depth), _PNG)

    def finish(self, object_ids: Sequence[int]) -> None:
        """Write what belongs to all views.

        Args:
            object_ids: those of the data set, in this scene or not.
        """
        camera = self.scene.camera
        frames = {
            view: FrameCamera(camera.matrix, DEPTH_SCALE, invert(pose))
            for view, pose in enumerate(self.scene.world_from_cameras)
        }
        write_scene_camera(self.folder / "scene_camera.json", frames)
        write_scene_gt(self.folder / "scene_gt.json", self.truth)
        write_scene_gt_info(self.folder / "scene_gt_info.json", self.seen)
        size = {"width": camera.width, "height": camera.height}
        images = [{"id": i, "file_name": f"rgb/{i:06d}{self.ending}", **size} for i in self.truth]
        coco = {
            "images": images,
            "annotations": coco_boxes(self.truth, self.seen),
            "categories": [{"id": i, "name": str(i)} for i in sorted(object_ids)],
        }
        write_json(self.folder / "scene_gt_coco.json", coco)

    def _masks(self, name: str, mask: Mask, visible: Mask) -> None:
        whole = _encoded(".png", mask.astype(np.uint8) * 255, _PNG)
        hidden = bool((mask & ~visible).any())
        part = _encoded(".png", visible.astype(np.uint8) * 255, _PNG) if hidden else whole
        (self.folder / "mask" / name).write_bytes(whole)
        (self.folder / "mask_visib" / name).write_bytes(part)

    def _image(self, name: str, pixels: NDArray[Any], options: Sequence[int]) -> None:
        # Not by write_whole: the scene's folder as a whole is put in place, and waiting for the
        # disk after each of hundreds of small files would take as long as drawing them.
        (self.folder / name).write_bytes(_encoded(Path(name).suffix, pixels, options))


def depth_units(depth: Depth) -> NDArray[np.uint16]:
    """Return depth (h, w), mm, as it is stored; 0 for NaN and for what is too far to be stored."""
    units = np.rint(np.nan_to_num(depth) / DEPTH_SCALE)
    return np.where(units < 2**16, units, 0).astype(np.uint16)


def coco_boxes(
    truth: Mapping[int, Sequence[GroundTruth]], seen: Mapping[int, Sequence[Visibility]]
) -> list[dict[str, Any]]:
    """Return COCO's boxes x, y, width, height around what is seen of each object, by image.

    The corners are those of COCO, where pixel i spans [i, i + 1]. Objects of which less than a
    tenth is seen are to be ignored, as in BOP; those of which nothing is seen are not there.
    """
    boxes: list[dict[str, Any]] = []
    for image_id, objects in truth.items():
        for one, visibility in zip(objects, seen[image_id], strict=True):
            if visibility.visible_box is None:
                continue
            left, top, right, bottom = visibility.visible_box
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": image_id,
                    "category_id": one.object_id,
                    "bbox": [left + 0.5, top + 0.5, right - left, bottom - top],
                    "area": visibility.visible_pixels,
                    "iscrowd": 0,
                    "ignore": visibility.visible_fraction < LEAST_VISIBLE,
                }
            )
    return boxes


def _encoded(ending: str, pixels: NDArray[Any], options: Sequence[int]) -> bytes:
    done, encoded = cv2.imencode(ending, np.ascontiguousarray(pixels), options)
    assert done
    return encoded.tobytes()
