"""What training pictures for the detector are put together from: frames, and objects cut out.

Both come from BOP data sets, drawn or photographed, and stay in memory. A split without masks
gives frames whose objects have boxes only, and nothing to cut out.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatpose.data.bop import BopDataset, Visibility
from heatpose.data.image_memory import ImageMemory, in_threads
from heatpose.data.images import read_mask
from heatpose.errors import DataError, UnknownObjectError
from heatpose.geometry.arrays import Box, Image, Mask

LOG = logging.getLogger(__name__)
PIECE_VISIBLE = 0.85  # share of a silhouette that is seen of objects worth cutting out
PIECE_SIDE = 16  # px, the shorter side of what is worth cutting out


@dataclass(frozen=True, eq=False)
class SmallMask:
    """The true part of a mask, a bit for each pixel."""

    left: int  # px of the whole mask
    top: int
    width: int
    height: int
    bits: NDArray[np.uint8]

    def unpacked(self) -> Mask:
        """Return it as (height, width)."""
        bits = np.unpackbits(self.bits, count=self.width * self.height)
        return bits.reshape(self.height, self.width).astype(bool)


@dataclass(frozen=True, eq=False)
class SeenObject:
    """One of the objects looked for, in a frame."""

    label: int  # position among the objects that are looked for
    box: Box  # around what is seen of it, px
    visible_fraction: float  # of its silhouette, in [0, 1]
    mask: SmallMask | None


@dataclass(frozen=True, eq=False)
class Frame:
    """An image of a data set. What is not looked for is part of the scenery."""

    dataset: BopDataset
    scene_id: int
    image_id: int
    objects: tuple[SeenObject, ...]


@dataclass(frozen=True, eq=False)
class Piece:
    """An object cut out of an image."""

    colours: Image  # (h, w, 3)
    mask: Mask  # (h, w)
    image_side: int  # longer side of the image that it comes from, px


def find_frames(datasets: Sequence[BopDataset], object_ids: Sequence[int]) -> list[Frame]:
    """Return all images of data sets and what is seen in them.

    Raises:
        DataError: a file is missing or not what it should be, or there are no images.
        UnknownObjectError: one of the objects is in no image.
    """
    numbers = [
        (dataset, scene_id, image_id)
        for dataset in datasets
        for scene_id in dataset.scene_ids()
        for image_id in dataset.image_ids(scene_id)
    ]
    if not numbers:
        raise DataError(f"no images in {_folders(datasets)}")
    # The tables of a scene are read once, here; the threads below only look into them.
    labels = {object_id: label for label, object_id in enumerate(object_ids)}
    visible = [_visible(*number, labels) for number in numbers]
    found = {label for those in visible for _, label, _ in those}
    for object_id, label in labels.items():
        if label not in found:
            raise UnknownObjectError(f"object {object_id} is not seen in {_folders(datasets)}")
    return in_threads(lambda one: _frame(*one[0], one[1]), zip(numbers, visible, strict=True))


def _visible(
    dataset: BopDataset, scene_id: int, image_id: int, labels: dict[int, int]
) -> list[tuple[int, int, Visibility]]:
    """Return position in the ground truth, label and visibility of what is looked for and seen."""
    return [
        (index, labels[truth.object_id], seen)
        for index, (truth, seen) in enumerate(dataset.objects_seen(scene_id, image_id))
        if truth.object_id in labels and seen.visible_box is not None and seen.visible_fraction > 0
    ]


def _frame(
    dataset: BopDataset, scene_id: int, image_id: int, visible: list[tuple[int, int, Visibility]]
) -> Frame:
    objects = []
    for index, label, seen in visible:
        assert seen.visible_box is not None
        path = dataset.visible_mask_path(scene_id, image_id, index)
        mask = None if path is None else _shrunk(read_mask(path))
        objects.append(SeenObject(label, seen.visible_box, seen.visible_fraction, mask))
    return Frame(dataset, scene_id, image_id, tuple(objects))


def _shrunk(mask: Mask) -> SmallMask:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return SmallMask(0, 0, 0, 0, np.zeros(0, np.uint8))
    left, top = int(cols[0]), int(rows[0])
    part = mask[top : rows[-1] + 1, left : cols[-1] + 1]
    return SmallMask(left, top, part.shape[1], part.shape[0], np.packbits(part))


def cut_pieces(
    frames: Sequence[Frame], images: ImageMemory, n_objects: int, most: int
) -> list[list[Piece]]:
    """Cut objects out of frames where they are seen nearly whole.

    Args:
        frames: the frames.
        images: their images.
        n_objects: how many objects are looked for.
        most: pieces of each object; taken evenly from all frames.

    Returns:
        The pieces of each object, none of one that is never seen nearly whole and has a mask.
    """
    found: list[list[tuple[int, SmallMask]]] = [[] for _ in range(n_objects)]
    for number, frame in enumerate(frames):
        for seen in frame.objects:
            if seen.mask is not None and seen.visible_fraction >= PIECE_VISIBLE:
                found[seen.label].append((number, seen.mask))
    wanted: dict[int, list[tuple[int, SmallMask]]] = {}
    for label, places in enumerate(found):
        step = max(len(places) / most, 1.0)
        chosen = [places[int(i * step)] for i in range(min(len(places), most))]
        for number, mask in chosen:
            wanted.setdefault(number, []).append((label, mask))
    pieces: list[list[Piece]] = [[] for _ in range(n_objects)]
    cut = in_threads(lambda one: _cut(images[one[0]], one[1]), sorted(wanted.items()))
    for label, piece in (each for those in cut for each in those):
        pieces[label].append(piece)
    return pieces


def _cut(image: Image, masks: list[tuple[int, SmallMask]]) -> list[tuple[int, Piece]]:
    height, width = image.shape[:2]
    pieces = []
    for label, mask in masks:
        right, bottom = mask.left + mask.width, mask.top + mask.height
        whole = mask.left > 0 and mask.top > 0 and right < width and bottom < height
        if whole and min(mask.width, mask.height) >= PIECE_SIDE:
            colours = image[mask.top : bottom, mask.left : right].copy()
            pieces.append((label, Piece(colours, mask.unpacked(), max(width, height))))
    return pieces


def _folders(datasets: Sequence[BopDataset]) -> str:
    return ", ".join(str(dataset.split_folder) for dataset in datasets)
