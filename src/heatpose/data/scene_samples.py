"""Training samples for the keypoint network, cut out of BOP data sets on disk, drawn or real.

They go through the same lens, sensor, jitter and crop as samples that are rendered on the fly.

The camera of a sample may be rolled about its own optical axis. That changes nothing of what it
sees but the picture's turn, so it is exact however wide the view is: with R the turn about z and
K the calibration matrix, a point that was seen at p is seen at K' R K^-1 p. The last row of
K' R K^-1 is (0, 0, 1), so the picture moves affinely,

    p -> F R F^-1 (p - c) + c',   F = diag(fx, fy),

where c' is free to be chosen: another principal point is another cut of the same picture. Depth
along the optical axis stays what it is.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from heatpose.data.augment import degrade
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.bop import BopDataset
from heatpose.data.image_memory import ImageMemory
from heatpose.data.images import read_depth
from heatpose.data.samples import ROOM, Sample, SampleConfig, SampleSource, cut_sample
from heatpose.errors import LabelError, UnknownObjectError
from heatpose.geometry.arrays import Array, Box, Depth, Image
from heatpose.geometry.boxes import box_of_points, intersection_over_union
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.mesh import sample_surface
from heatpose.render.raycast import Renderer

LOG = logging.getLogger(__name__)
MEMORY = 4e9  # for images, bytes
SMALLEST = 12.0  # px, longer side of what is seen of an object: below it nothing can be learned
ROLLED = 0.6  # share of samples with a rolled camera; the others are not interpolated
N_SURFACE = 1000  # points of an object's surface, to find the box of what a rolled camera sees
HIDDEN = 0.85  # visible fraction below which an object counts as partly hidden
LEAST_OVERLAP = 0.8  # median, of the data set's boxes and those of the objects in its poses


@dataclass(frozen=True, eq=False)
class Instance:
    """An object in an image of a data set."""

    image: int  # number of the image among all
    camera: Camera
    camera_from_object: Array  # (4, 4), mm
    box: Box  # around its whole silhouette, px
    visible_box: Box  # around what is seen of it, px
    visible_fraction: float  # in [0, 1]


@dataclass(frozen=True)
class Picture:
    """The files of an image."""

    colour: Path
    depth: Path | None
    depth_scale: float  # mm per unit of the depth file


class SceneSampleMaker:
    """Cuts samples of a list of objects out of images; takes the place of a `SampleMaker`."""

    def __init__(
        self,
        datasets: Sequence[BopDataset],
        objects: Sequence[ObjectModel],
        backgrounds: Backgrounds,
        config: SampleConfig,
        memory: float = MEMORY,
    ) -> None:
        """Read data sets.

        Args:
            datasets: with scene_gt, scene_gt_info and images.
            objects: what is to be learned; the data sets may show others too.
            backgrounds: what objects are covered with, and what lies beyond a turned picture.
            config: how samples are made.
            memory: for images, bytes; what does not fit is read again and again.

        Raises:
            DataError: a file is missing or not what it should be.
            UnknownObjectError: the data sets show too little of one of the objects.
            LabelError: the objects in their poses are not where the data sets have their boxes.
        """
        self.objects = list(objects)
        self.backgrounds = backgrounds
        self.config = config
        self.renderer = Renderer({o.object_id: o.mesh for o in objects})
        self.instances, self.pictures = _find_instances(
            datasets, [o.object_id for o in objects], config.views.min_visible
        )
        self.hidden = [
            [one for one in views if one.visible_fraction < HIDDEN] for views in self.instances
        ]
        rng = np.random.default_rng(0)
        self._surfaces = [
            np.concatenate([sample_surface(o.mesh, N_SURFACE, rng), o.mesh.vertices[::7]])
            for o in objects
        ]
        self._check_boxes()
        self.images = ImageMemory([one.colour for one in self.pictures], memory)
        count, n_images = sum(map(len, self.instances)), len(self.pictures)
        LOG.info("%d views of %d objects in %d images", count, len(self.objects), n_images)
        without = sum(one.depth is None for one in self.pictures)
        if config.depth is not None and without:
            LOG.warning("%d of %d images have no depth", without, n_images)

    def __call__(self, rng: np.random.Generator) -> Sample:
        """Draw one sample, each object as likely as any other."""
        index = int(rng.integers(len(self.objects)))
        instance = self._instance(rng, index)
        image, pose = self.images[instance.image], instance.camera_from_object
        angle = 0.0
        if self.config.roll > 0 and rng.random() < ROLLED:
            angle = rng.uniform(-1, 1) * self.config.roll
            box = self._box_when_rolled(index, instance, angle)
            pose = _roll(angle) @ pose
            picture, camera = self._rolled_patch(rng, image, instance.camera, angle, box)
            box = _moved(box, camera, instance.camera)
        else:
            picture, camera = self._patch(image, instance.camera, instance.visible_box)
            box = _moved(instance.visible_box, camera, instance.camera)
        depth = self._depth_patch(instance, camera, angle)
        if self.config.degraded:
            picture = degrade(rng, picture, self.config.harsh)
        crop, crop_depth, crop_camera = cut_sample(
            rng, picture, depth, camera, box, self.config, self.backgrounds
        )
        return Sample(crop, index, crop_camera, pose, crop_depth)

    def _instance(self, rng: np.random.Generator, index: int) -> Instance:
        """Draw a view of an object; a share of them where something stands in front of it."""
        views = self.instances[index]
        if self.config.views.hidden and rng.random() < self.config.views.hidden:
            views = self.hidden[index] or views
        return views[int(rng.integers(len(views)))]

    def _patch(self, image: Image, camera: Camera, box: Box) -> tuple[Image, Camera]:
        """Cut what crops around a box may need out of an image, with the camera that sees it."""
        left, top, side = self._square(box)
        low = np.clip([left, top], 0, [camera.width - 1, camera.height - 1])
        high = np.clip([left + side, top + side], low + 1, [camera.width, camera.height])
        patch = image[low[1] : high[1], low[0] : high[0]]
        return patch, camera.warped(1.0, -low, patch.shape[1], patch.shape[0])

    def _rolled_patch(
        self, rng: np.random.Generator, image: Image, camera: Camera, angle: float, box: Box
    ) -> tuple[Image, Camera]:
        """Return a patch around a box of the rolled image, and the rolled camera that sees it.

        Args:
            rng: for what lies beyond the image.
            image: (h, w, 3).
            camera: of the image.
            angle: of the roll, radians.
            box: in the rolled image, px, whose principal point is that of ``camera``.
        """
        left, top, side = self._square(box)
        rolled = camera.warped(1.0, np.array([-left, -top]), side, side)
        warp = affine_of_roll(camera, rolled, angle)
        patch = cv2.warpAffine(image, warp, (side, side), flags=cv2.INTER_CUBIC)
        ones = np.ones(image.shape[:2], np.uint8)
        beyond = cv2.warpAffine(ones, warp, (side, side), flags=cv2.INTER_NEAREST) == 0
        if beyond.any():  # black is for the edges of images, which lie straight
            patch[beyond] = self.backgrounds.draw(rng, side, side)[beyond]
        return np.asarray(patch, np.uint8), rolled

    def _depth_patch(self, instance: Instance, patch: Camera, angle: float) -> Depth | None:
        """Return what a patch of the rolled image shows of the depth; None if none is wanted.

        The file is read each time: that is quick beside a training step, and as numbers of 16 bits
        or more it would fill the memory that colours need.

        Args:
            instance: says which image.
            patch: the camera that sees the patch.
            angle: of the roll, radians.
        """
        if self.config.depth is None:
            return None
        files = self.pictures[instance.image]
        if files.depth is None:
            return np.full((patch.height, patch.width), np.nan, np.float32)
        moved = cv2.warpAffine(
            read_depth(files.depth, files.depth_scale),
            affine_of_roll(instance.camera, patch, angle),
            (patch.width, patch.height),
            flags=cv2.INTER_NEAREST,
            borderValue=float("nan"),
        )
        return np.asarray(moved, np.float32)

    def _square(self, box: Box) -> tuple[int, int, int]:
        """Return left, top and side, whole px, of what crops around a box may need."""
        left, top, right, bottom = box
        side = int(np.ceil(ROOM * self.config.margin * max(right - left, bottom - top)))
        return round((left + right - side) / 2), round((top + bottom - side) / 2), side

    def _box_when_rolled(self, index: int, instance: Instance, angle: float) -> Box:
        """Return the box, px, of what a camera sees of an object after it has been rolled.

        It is that of the part of the surface that lay in the visible box: turning the corners of
        the box would give one that is too large by up to a half.
        """
        points = transform_points(instance.camera_from_object, self._surfaces[index])
        pixels = instance.camera.project(points)
        left, top, right, bottom = instance.visible_box
        inside = ((pixels >= [left, top]) & (pixels <= [right, bottom])).all(axis=1)
        if not inside.any():
            pixels = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
            inside = np.ones(4, bool)
        warp = affine_of_roll(instance.camera, instance.camera, angle)
        return box_of_points(pixels[inside] @ warp[:, :2].T + warp[:, 2])

    def _check_boxes(self) -> None:
        """Compare the boxes of the data sets with those of the objects in their poses.

        Objects of another unit or origin than those of the data set are found here: labels and
        renderings of samples would agree with each other, but not with the pictures.
        """
        for index, model in enumerate(self.objects):
            overlaps = []
            for instance in self.instances[index][:: len(self.instances[index]) // 50 + 1]:
                points = transform_points(instance.camera_from_object, self._surfaces[index])
                shown = box_of_points(instance.camera.project(points))
                overlap = intersection_over_union(np.array([shown]), np.array([instance.box]))
                overlaps.append(float(overlap[0, 0]))
            if not np.median(overlaps) >= LEAST_OVERLAP:
                raise LabelError(
                    f"object {model.object_id} ({model.name}) in its poses covers its boxes in "
                    f"the data set by {np.median(overlaps):.2f} in the median, expected "
                    f"{LEAST_OVERLAP}: is it the same mesh, in mm?"
                )


class MixedSampleMaker:
    """Draws each sample from one of several sources."""

    def __init__(self, parts: Sequence[tuple[SampleSource, float]]) -> None:
        """Take sources of the same objects, each with its share of the samples."""
        shares = np.array([share for _, share in parts])
        if not len(shares) or (shares < 0).any() or not 0 < shares.sum() < np.inf:
            raise ValueError(f"shares must be positive, got {shares.tolist()}")
        self.makers = [maker for maker, _ in parts]
        self.shares = shares / shares.sum()
        self.objects = self.makers[0].objects
        self.renderer = self.makers[0].renderer
        ids = [[model.object_id for model in maker.objects] for maker in self.makers]
        if any(others != ids[0] for others in ids):
            raise ValueError(f"all sources must have the same objects, got {ids}")

    def __call__(self, rng: np.random.Generator) -> Sample:
        """Draw one sample."""
        return self.makers[int(rng.choice(len(self.makers), p=self.shares))](rng)


def affine_of_roll(camera: Camera, rolled: Camera, angle: float) -> Array:
    """Return where pixels move when a camera is rolled, (2, 3): ``F R F^-1 (p - c) + c'``.

    Args:
        camera: before.
        rolled: after, with the same focal lengths; may be cut differently.
        angle: what it sees turns by, from x to y (clockwise in the picture), radians.
    """
    turn = rolled.matrix @ _roll(angle)[:3, :3] @ np.linalg.inv(camera.matrix)
    return turn[:2]


def _roll(angle: float) -> Array:
    """Return the turn about the optical axis, (4, 4), that takes points to the rolled camera."""
    return make_transform(matrix_from_vector(np.array([0, 0, angle])), np.zeros(3))


def _moved(box: Box, patch: Camera, whole: Camera) -> Box:
    """Return a box of an image in a patch that was cut out of it, px."""
    x, y = patch.cx - whole.cx, patch.cy - whole.cy
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def _find_instances(
    datasets: Sequence[BopDataset], object_ids: Sequence[int], min_visible: float
) -> tuple[list[list[Instance]], list[Picture]]:
    """Return where each of the objects can be seen well, and the images."""
    pictures: list[Picture] = []
    found: dict[int, list[Instance]] = {object_id: [] for object_id in object_ids}
    for dataset in datasets:
        for scene_id in dataset.scene_ids():
            for image_id in dataset.image_ids(scene_id):
                here = _instances_of(dataset, scene_id, image_id, len(pictures), min_visible)
                here = [(object_id, one) for object_id, one in here if object_id in found]
                for object_id, instance in here:
                    found[object_id].append(instance)
                if here:
                    pictures.append(_picture(dataset, scene_id, image_id))
    folders = ", ".join(str(dataset.split_folder) for dataset in datasets)
    for object_id, instances in found.items():
        if not instances:
            raise UnknownObjectError(
                f"object {object_id} is nowhere in {folders} with a visible fraction of at least "
                f"{min_visible} and {SMALLEST:.0f} px"
            )
    return list(found.values()), pictures


def _picture(dataset: BopDataset, scene_id: int, image_id: int) -> Picture:
    return Picture(
        dataset.image_path(scene_id, image_id),
        dataset.depth_path(scene_id, image_id),
        dataset.frame_camera(scene_id, image_id).depth_scale,
    )


def _instances_of(
    dataset: BopDataset, scene_id: int, image_id: int, number: int, min_visible: float
) -> list[tuple[int, Instance]]:
    """Return object ids and what is known of the objects that can be seen well in an image."""
    camera = dataset.camera(scene_id, image_id)
    found = []
    for truth, seen in dataset.objects_seen(scene_id, image_id):
        whole, box = seen.box, seen.visible_box
        if whole is None or box is None or seen.visible_fraction < min_visible:
            continue
        if max(box[2] - box[0], box[3] - box[1]) >= SMALLEST:
            instance = Instance(
                number, camera, truth.camera_from_object, whole, box, seen.visible_fraction
            )
            found.append((truth.object_id, instance))
    return found
