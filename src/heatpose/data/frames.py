"""Images on disk with their cameras and boxes: what poses are estimated from."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from heatpose.data.bop import BopDataset, read_camera
from heatpose.data.bop_files import read_detections
from heatpose.data.boxes import read_boxes, scene_and_number, without_doubles
from heatpose.data.depth import DepthCamera, DepthFile, depth_files
from heatpose.data.images import IMAGE_ENDINGS, image_size, read_image
from heatpose.errors import DataError, UnknownObjectError
from heatpose.geometry.camera import Camera
from heatpose.types import Detection, Observation, PoseEstimate

# Detections worth looking into for each instance of a target: of the bundle's detector, which is a
# young one, and of a file, which better ones write.
CANDIDATES = 5
GIVEN_CANDIDATES = 2
# Score from which on an object that is not wanted is looked at beside those that are.
SURELY_THERE = 0.2


@dataclass(frozen=True)
class Frame:
    """One image file, with what is known of it before it is read."""

    path: Path
    camera: Camera
    detections: tuple[Detection, ...] | None  # None where a detector is to be asked
    scene_id: int  # as BOP results files number images
    image_id: int
    wanted: Mapping[int, int] | None = None  # instances by object id; None: all that are there
    candidates: int = 1  # boxes that are looked into for each instance that is wanted
    depth: DepthFile | None = None

    @property
    def ids(self) -> tuple[int, int]:
        """Scene and image id."""
        return self.scene_id, self.image_id

    def with_best_detection(self) -> "Frame":
        """Return the frame with only the detection of the highest score, where it has any."""
        best = max(self.detections or (), key=lambda one: one.score, default=None)
        return self if best is None else replace(self, detections=(best,))

    def read(self) -> Observation:
        """Read the image, and its depth where there is any.

        Raises:
            DataError: one of them cannot be read, or does not have the size of its camera.
        """
        image = read_image(self.path)
        height, width = image.shape[:2]
        if (width, height) != (self.camera.width, self.camera.height):
            raise DataError(
                f"{self.path} has {width} x {height} pixels, but its camera "
                f"{self.camera.width} x {self.camera.height}"
            )
        depth = None if self.depth is None else self.depth.read(self.camera)
        return Observation(image, self.camera, depth)

    def choose(self, found: Iterable[Detection]) -> list[Detection]:
        """Return the best detections of each object: candidates for as many as are wanted of it."""
        best = sorted(found, key=lambda one: one.score, reverse=True)
        if self.wanted is None:
            return best
        if self.candidates > 1:
            best = without_doubles(best)
        chosen: list[Detection] = []
        for object_id, instances in self.wanted.items():
            count = instances * self.candidates
            chosen += [one for one in best if one.object_id == object_id][:count]
        return chosen

    def look_at(self, found: Iterable[Detection]) -> list[Detection]:
        """Return what `choose` does, and beside it what is surely there of other objects.

        Nobody asks for these, but they may stand on the same plane as those that are wanted.
        """
        found = list(found)
        chosen = self.choose(found)
        if self.wanted is None:
            return chosen
        others: dict[int, Detection] = {}
        for one in sorted(found, key=lambda one: one.score, reverse=True):
            if one.object_id not in self.wanted and one.score >= SURELY_THERE:
                others.setdefault(one.object_id, one)
        return [*chosen, *others.values()]

    def choose_poses(self, estimates: Iterable[PoseEstimate]) -> list[PoseEstimate]:
        """Return the best poses of each object, as many as are wanted of it."""
        best = sorted(estimates, key=lambda one: one.rank, reverse=True)
        if self.wanted is None:
            return best
        chosen: list[PoseEstimate] = []
        for object_id, instances in self.wanted.items():
            chosen += [one for one in best if one.object_id == object_id][:instances]
        return chosen


def usual_candidates(boxes_file: Path | None, true_boxes: bool) -> int:
    """Return how many boxes are looked into for each instance, by where they come from."""
    if true_boxes:
        return 1
    return CANDIDATES if boxes_file is None else GIVEN_CANDIDATES


def frames_of_images(
    images: Sequence[Path],
    camera_file: Path,
    boxes_file: Path | None,
    known: Collection[int],
    *,
    known_only: bool = False,
) -> list[Frame]:
    """Look at image files that one camera took.

    BOP ids come from the paths where these have them (000002/rgb/000563.png); else the scene is
    0, and images that are not all named by different numbers are counted from 0.

    Args:
        images: files, and folders that stand for the image files directly in them.
        camera_file: the camera; it need not say the size of the images.
        boxes_file: what `read_boxes` reads; None where a detector is to be asked.
        known: ids of the objects that can be estimated.
        known_only: pass over boxes of other objects.

    Raises:
        DataError: a file or folder is missing or not what it should be.
        UnknownObjectError: a box is of another object, and that is not to be passed over.
    """
    paths = [path for given in images for path in _image_files(given)]

    @cache  # a camera file is read once for each size of image
    def camera_for(size: tuple[int, int]) -> Camera:
        return read_camera(camera_file, size)

    cameras = [camera_for(image_size(path)) for path in paths]
    boxes = _known_boxes(boxes_file, paths, known, known_only) if boxes_file else {}
    return [
        Frame(path, camera, boxes.get(path), *ids)
        for path, camera, ids in zip(paths, cameras, _bop_ids(paths), strict=True)
    ]


def frames_of_targets(
    dataset: BopDataset,
    boxes_file: Path | None,
    known: Collection[int],
    *,
    known_only: bool = False,
    candidates: int = 1,
) -> list[Frame]:
    """Look at the images that a BOP data set has targets in.

    Each target takes the best of the detections of its object in its image, as many as it has
    instances, or candidates for them; the others are left out.

    Args:
        dataset: with its targets, cameras and images.
        boxes_file: detections in the form of the BOP challenge; None where a detector is to be
            asked, whose detections `Frame.choose` chooses from in the same way.
        known: ids of the objects that can be estimated.
        known_only: pass over targets of other objects.
        candidates: boxes for each instance, of which `Frame.choose_poses` keeps the best poses.

    Raises:
        DataError: a file is missing or not what it should be.
        UnknownObjectError: a target is another object, and that is not to be passed over. Boxes
            may be of any: detectors find more than is asked for.
    """
    targets = dataset.targets()
    if not known_only:
        _refuse_unknown(
            dataset.root / dataset.targets_file, (target.object_id for target in targets), known
        )
    wanted: dict[tuple[int, int], dict[int, int]] = {}
    for scene_id, image_id, object_id, instances in targets:
        of_image = wanted.setdefault((scene_id, image_id), {})
        if object_id in known:
            of_image[object_id] = instances
    frames = [
        Frame(dataset.image_path(*key), dataset.camera(*key), None, *key, objects, candidates)
        for key, objects in sorted(wanted.items(), key=lambda item: item[0])
    ]
    return frames if boxes_file is None else _with_boxes(frames, read_detections(boxes_file))


def with_true_boxes(frames: Iterable[Frame], dataset: BopDataset) -> list[Frame]:
    """Give the frames of a data set the boxes that a perfect detector would find.

    Poses from these show what is lost after detection; they are no result of a method.

    Raises:
        DataError: the data set has no ground truth with boxes.
    """
    return _with_boxes(
        frames, {frame.ids: _true_detections(dataset, *frame.ids) for frame in frames}
    )


def with_depth(
    frames: Sequence[Frame], given: Path, scale: float = 1.0, taken_by: DepthCamera | None = None
) -> list[Frame]:
    """Give frames their depth images; `depth_files` says which, and what it raises."""
    files = depth_files([frame.path for frame in frames], given, scale, taken_by)
    return [replace(frame, depth=file) for frame, file in zip(frames, files, strict=True)]


def with_depth_of(frames: Iterable[Frame], dataset: BopDataset) -> list[Frame]:
    """Give the frames of a data set its depth images, those that have one."""
    found = []
    for frame in frames:
        path = dataset.depth_path(*frame.ids)
        if path is not None:
            scale = dataset.frame_camera(*frame.ids).depth_scale
            frame = replace(frame, depth=DepthFile(path, scale))
        found.append(frame)
    return found


def _true_detections(dataset: BopDataset, scene_id: int, image_id: int) -> list[Detection]:
    truth, info = dataset.ground_truth(scene_id, image_id), dataset.gt_info(scene_id, image_id)
    return [
        Detection(one.object_id, seen.visible_box, score=seen.visible_fraction)
        for one, seen in zip(truth, info, strict=True)
        if seen.visible_box is not None
    ]


def _with_boxes(
    frames: Iterable[Frame], found: Mapping[tuple[int, int], list[Detection]]
) -> list[Frame]:
    """Give each frame the best of what was found in it."""
    return [
        replace(frame, detections=tuple(frame.choose(found.get(frame.ids, [])))) for frame in frames
    ]


def _known_boxes(
    file: Path, paths: Sequence[Path], known: Collection[int], known_only: bool
) -> dict[Path, tuple[Detection, ...]]:
    boxes = read_boxes(file, paths)
    if not known_only:
        _refuse_unknown(file, (one.object_id for found in boxes.values() for one in found), known)
    return {
        path: tuple(one for one in found if one.object_id in known) for path, found in boxes.items()
    }


def _refuse_unknown(file: Path, object_ids: Iterable[int], known: Collection[int]) -> None:
    for object_id in object_ids:
        if object_id not in known:
            raise UnknownObjectError(
                f"{file} asks for object {object_id}, but the bundle knows {sorted(known)}"
            )


def _image_files(path: Path) -> list[Path]:
    """Return an image file itself, or the image files in a folder in the order of their names."""
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_ENDINGS)
    if not files:
        raise DataError(f"{path} holds no images ({', '.join(IMAGE_ENDINGS)})")
    return files


def _bop_ids(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Return scene and image ids that differ for different paths."""
    said = [scene_and_number(path) for path in paths]
    ids = [(scene or 0, number) for scene, number in said if number is not None]
    if len(set(ids)) == len(paths):
        return ids
    return [(0, index) for index in range(len(paths))]
