"""A BOP data set as a folder: where its files are, and what they say of one image.

    dataset = BopDataset("lmo")
    for scene_id, image_id, object_id, _ in dataset.targets():
        camera = dataset.camera(scene_id, image_id)
        image = read_image(dataset.image_path(scene_id, image_id))

The formats are those of https://github.com/thodan/bop_toolkit/blob/master/docs; each file is
read and written in `heatpose.data.bop_files`, `results` and `cameras`, whose functions are
offered here too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image, UnidentifiedImageError

from heatpose.data.bop_files import (
    FrameCamera,
    GroundTruth,
    Target,
    Visibility,
    read_detections,
    read_models_info,
    read_scene_camera,
    read_scene_gt,
    read_scene_gt_info,
    read_targets,
    write_detections,
    write_models_info,
    write_scene_camera,
    write_scene_gt,
    write_scene_gt_info,
    write_targets,
)
from heatpose.data.cameras import read_camera, write_camera
from heatpose.data.results import Result, read_results, write_results
from heatpose.errors import DataError
from heatpose.geometry.camera import Camera

__all__ = [
    "BopDataset",
    "FrameCamera",
    "GroundTruth",
    "Result",
    "Target",
    "Visibility",
    "read_camera",
    "read_detections",
    "read_models_info",
    "read_results",
    "read_scene_camera",
    "read_scene_gt",
    "read_scene_gt_info",
    "read_targets",
    "write_camera",
    "write_detections",
    "write_models_info",
    "write_results",
    "write_scene_camera",
    "write_scene_gt",
    "write_scene_gt_info",
    "write_targets",
]

IMAGE_FOLDERS = ("rgb", "gray")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

T = TypeVar("T")


class BopDataset:
    """A data set on disk. Each file is read once, when it is first asked for."""

    def __init__(
        self, root: str | Path, split: str = "test", targets_file: str | None = None
    ) -> None:
        """Look at a folder.

        Args:
            root: the folder with ``models``, the splits and the targets file.
            split: the folder of the scenes.
            targets_file: name of the targets file; by default SPLIT_targets_bop19.json.

        Raises:
            DataError: the folder or the split is not there.
        """
        self.root = Path(root)
        self.split = split
        self.targets_file = targets_file or f"{split}_targets_bop19.json"
        self._read: dict[Path, Any] = {}
        if not self.split_folder.is_dir():
            raise DataError(f"{self.root} is not a BOP data set: it has no folder {split}")

    @property
    def split_folder(self) -> Path:
        """The folder of the scenes."""
        return self.root / self.split

    def targets(self) -> list[Target]:
        """Return what is to be found, in the order of the targets file."""
        return self._once(self.root / self.targets_file, read_targets)

    def scene_ids(self) -> list[int]:
        """Return the scenes that are there."""
        return sorted(int(p.name) for p in self.split_folder.iterdir() if p.name.isdigit())

    def image_ids(self, scene_id: int) -> list[int]:
        """Return the images of a scene, those of its ``scene_camera.json``."""
        return sorted(self._scene(scene_id, "scene_camera.json", read_scene_camera))

    def frame_camera(self, scene_id: int, image_id: int) -> FrameCamera:
        """Return calibration and depth scale of an image."""
        return self._of_image(scene_id, image_id, "scene_camera.json", read_scene_camera)

    def camera(self, scene_id: int, image_id: int) -> Camera:
        """Return the camera of an image.

        Its size is that of the data set's camera.json, or of the image where there is none.
        """
        width, height = self._size(scene_id, image_id)
        matrix = self.frame_camera(scene_id, image_id).matrix
        try:
            return Camera.from_matrix(matrix, width, height)
        except ValueError as error:
            place = self.scene_folder(scene_id) / "scene_camera.json"
            raise DataError(f"{place}, image {image_id}: {error}") from None

    def ground_truth(self, scene_id: int, image_id: int) -> list[GroundTruth]:
        """Return the objects in an image and their poses."""
        return self._of_image(scene_id, image_id, "scene_gt.json", read_scene_gt)

    def gt_info(self, scene_id: int, image_id: int) -> list[Visibility]:
        """Return boxes and visible fractions, in the order of `ground_truth`."""
        return self._of_image(scene_id, image_id, "scene_gt_info.json", read_scene_gt_info)

    def objects_seen(self, scene_id: int, image_id: int) -> list[tuple[GroundTruth, Visibility]]:
        """Return the objects in an image, each with its pose and how much is seen of it.

        Raises:
            DataError: a file is missing, or the two have different numbers of objects.
        """
        truth, seen = self.ground_truth(scene_id, image_id), self.gt_info(scene_id, image_id)
        if len(truth) != len(seen):
            raise DataError(
                f"{self.scene_folder(scene_id)}: image {image_id} has {len(truth)} objects in "
                f"scene_gt.json and {len(seen)} in scene_gt_info.json"
            )
        return list(zip(truth, seen, strict=True))

    def image_path(self, scene_id: int, image_id: int) -> Path:
        """Return the colour image, or the grey one where there is no colour.

        Raises:
            DataError: there is neither.
        """
        path = self._find(scene_id, image_id, IMAGE_FOLDERS)
        if path is None:
            folder = self.scene_folder(scene_id)
            raise DataError(f"no image {image_id:06d} (.png, .jpg, .tif) in {folder}/rgb or gray")
        return path

    def depth_path(self, scene_id: int, image_id: int, kind: str = "depth") -> Path | None:
        """Return the depth image, or None where there is none.

        Args:
            scene_id: the scene.
            image_id: the image.
            kind: folder of the depth images, of those that have several.
        """
        return self._find(scene_id, image_id, (kind,))

    def visible_mask_path(self, scene_id: int, image_id: int, index: int) -> Path | None:
        """Return the mask of what is seen of an object, or None where there is none.

        Args:
            scene_id: the scene.
            image_id: the image.
            index: position of the object in `ground_truth`.
        """
        path = self.scene_folder(scene_id) / "mask_visib" / f"{image_id:06d}_{index:06d}.png"
        return path if path.is_file() else None

    def scene_folder(self, scene_id: int) -> Path:
        """Return the folder of a scene."""
        return self.split_folder / f"{scene_id:06d}"

    def models_folder(self, evaluate: bool = True) -> Path:
        """Return the folder of the models: ``models_eval`` for evaluation if it is there."""
        folder = self.root / "models_eval"
        return folder if evaluate and folder.is_dir() else self.root / "models"

    def models_info(self, evaluate: bool = True) -> dict[int, dict[str, Any]]:
        """Return diameter, size and symmetries of each object, as in the file."""
        return self._once(self.models_folder(evaluate) / "models_info.json", read_models_info)

    def model_path(self, object_id: int, evaluate: bool = True) -> Path:
        """Return the mesh of an object, which need not exist."""
        return self.models_folder(evaluate) / f"obj_{object_id:06d}.ply"

    def _once(self, path: Path, read: Callable[[Path], T]) -> T:
        if path not in self._read:
            self._read[path] = read(path)
        result: T = self._read[path]
        return result

    def _scene(self, scene_id: int, name: str, read: Callable[[Path], T]) -> T:
        return self._once(self.scene_folder(scene_id) / name, read)

    def _of_image(
        self, scene_id: int, image_id: int, name: str, read: Callable[[Path], dict[int, T]]
    ) -> T:
        images = self._scene(scene_id, name, read)
        if image_id not in images:
            raise DataError(f"{self.scene_folder(scene_id) / name} lacks image {image_id}")
        return images[image_id]

    def _size(self, scene_id: int, image_id: int) -> tuple[int, int]:
        """Return width and height of an image, px."""
        path = self.root / "camera.json"
        if path.is_file():
            camera = self._once(path, read_camera)
            return camera.width, camera.height
        return self._once(self.image_path(scene_id, image_id), _image_size)

    def _find(self, scene_id: int, image_id: int, folders: tuple[str, ...]) -> Path | None:
        candidates = (
            self.scene_folder(scene_id) / folder / f"{image_id:06d}{ending}"
            for folder in folders
            for ending in IMAGE_ENDINGS
        )
        return next((path for path in candidates if path.is_file()), None)


def _image_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image file, px, from its header."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
