"""Training samples for the detector, put together from BOP data sets that are on disk.

A sample is a window of a scene, objects cut out and pasted onto a photograph or a scene, or four
such pictures side by side; then what lens, sensor and file do to it. Boxes are those of what can
be seen in the end.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from heatpose.data.augment import degrade
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.bop import BopDataset
from heatpose.data.detection_augment import Canvas, Limits, cover, draw_window, paste
from heatpose.data.detection_scenes import cut_pieces, find_frames
from heatpose.data.image_memory import ImageMemory
from heatpose.geometry.arrays import Array, Box, Image

LOG = logging.getLogger(__name__)
AIMED = 0.7  # share of windows that are laid around an object
LARGEST_PIECE = 0.7  # of what is pasted, over the side of its canvas


@dataclass(frozen=True)
class DetectionSampleConfig:
    """How training samples are made. What happens by chance is given as a share of samples."""

    image_size: int = 640  # side of a sample, px
    # Of objects, over the size at which a whole frame just fits: what inference shows is 1.
    scale: tuple[float, float] = (0.5, 2.0)
    mosaic: float = 0.25  # four pictures side by side
    empty: float = 0.04  # a photograph and nothing else
    collage: float = 0.3  # objects pasted onto photographs, where there are masks
    most_pasted: int = 8  # objects on a photograph
    pasted: float = 0.4  # of scenes: with objects pasted into them
    covered: float = 0.4  # with pieces of background over objects
    degraded: float = 0.9  # with blur, colour, noise and compression
    harsh: float = 0.0  # of those: with light, colours and edges that renderings never have
    # Mirrored. Off: left and right of an object can be told apart, and poses need to.
    flip: float = 0.0
    turn: float = float(np.pi)  # of pasted objects, at most, radians
    min_visible: float = 0.1  # share of a silhouette below which BOP does not look for objects
    min_left: float = 0.2  # share of what a scene showed that windows and covers must leave
    min_side: float = 6.0  # shorter side of a box, px
    max_objects: int = 64  # labels of a sample; of more, the largest boxes
    pieces: int = 500  # cut out of each object, at most
    memory: float = 4.0  # for images, GB

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be positive and rising, got {self.scale}")
        for name in (
            "mosaic",
            "empty",
            "collage",
            "pasted",
            "covered",
            "degraded",
            "harsh",
            "flip",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share in [0, 1], got {getattr(self, name)}")
        for name in ("image_size", "most_pasted", "max_objects", "memory"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class DetectionSample:
    """A picture and the objects in it."""

    image: Image  # (s, s, 3), RGB
    boxes: Array  # (n, 4), around what is seen of each object, px
    labels: Array  # (n,), whole numbers: position in the list of object ids


class DetectionSet:
    """Draws samples; the same generator state gives the same sample.

    Frames are read and objects cut out when it is made: processes forked later share them.
    """

    def __init__(
        self,
        datasets: Sequence[BopDataset],
        object_ids: Sequence[int],
        config: DetectionSampleConfig,
        backgrounds: Backgrounds,
    ) -> None:
        """Read data sets.

        Args:
            datasets: drawn or real, with scene_gt and scene_gt_info, best with mask_visib.
            object_ids: what is looked for; other objects are part of the scenery.
            config: how samples are made.
            backgrounds: what objects are pasted on and covered with.

        Raises:
            DataError: a file is missing or not what it should be.
            UnknownObjectError: one of the objects is seen nowhere.
        """
        started = time.monotonic()
        self.object_ids = list(object_ids)
        self.config = config
        self.backgrounds = backgrounds
        self.frames = find_frames(datasets, self.object_ids)
        paths = [f.dataset.image_path(f.scene_id, f.image_id) for f in self.frames]
        self.images = ImageMemory(paths, config.memory * 1e9)
        pieces = cut_pieces(self.frames, self.images, len(self.object_ids), config.pieces)
        self.pieces = {label: those for label, those in enumerate(pieces) if those}
        LOG.info(
            "%d frames with %d objects of %d kinds, %d cut out, read in %.0f s",
            len(self.frames),
            sum(len(frame.objects) for frame in self.frames),
            len(self.object_ids),
            sum(map(len, self.pieces.values())),
            time.monotonic() - started,
        )

    def __call__(self, rng: np.random.Generator) -> DetectionSample:
        """Draw one sample."""
        config = self.config
        canvas = Canvas(config.image_size, config.image_size)
        for part in self._parts(rng, canvas):
            self._fill(rng, part)
        if rng.random() < config.covered:
            for _ in range(rng.integers(1, 4)):
                cover(rng, canvas, self.backgrounds, config.image_size * rng.uniform(0.04, 0.25))
        limits = Limits(config.min_visible, config.min_left, config.min_side)
        labels = canvas.labels(limits)  # greys out, so it comes before noise and blur
        image = canvas.image
        if rng.random() < config.degraded:
            image = degrade(rng, image, config.harsh)
        sample = _as_sample(image, labels, config.max_objects)
        return _mirrored(sample) if rng.random() < config.flip else sample

    def _parts(self, rng: np.random.Generator, canvas: Canvas) -> list[Canvas]:
        """Divide a canvas into four, or leave it whole."""
        side = self.config.image_size
        if rng.random() >= self.config.mosaic:
            return [canvas]
        x, y = rng.integers(side // 4, side - side // 4 + 1, 2).tolist()
        return [
            canvas.part(left, top, width, height)
            for left, width in ((0, x), (x, side - x))
            for top, height in ((0, y), (y, side - y))
        ]

    def _fill(self, rng: np.random.Generator, canvas: Canvas) -> None:
        """Draw a scene, a collage or a photograph."""
        config, chance = self.config, rng.random()
        height, width = canvas.owner.shape
        if chance < config.empty:
            canvas.image[:] = self.backgrounds.draw(rng, height, width)
        elif chance < config.empty + config.collage and self.pieces:
            canvas.image[:] = self.backgrounds.draw(rng, height, width)
            self._paste(rng, canvas, int(rng.integers(1, config.most_pasted + 1)))
        else:
            masks = self._draw_scene(rng, canvas)
            # Where it is not known which pixels are whose, nothing can be pasted over them.
            if masks and self.pieces and rng.random() < config.pasted:
                self._paste(rng, canvas, int(rng.integers(1, 4)))

    def _draw_scene(self, rng: np.random.Generator, canvas: Canvas) -> bool:
        """Draw a window of a frame and say whether all objects in it have masks."""
        number = int(rng.integers(len(self.frames)))
        image, objects = self.images[number], self.frames[number].objects
        scale = self._scale(rng, max(image.shape[:2]))
        size = np.array(canvas.owner.shape[::-1])
        window = size / scale  # (w, h), px of the image
        free = np.array(image.shape[1::-1]) - window
        if (free < 0).any() and rng.random() < 0.5:  # else grey, as inference pads frames
            canvas.image[:] = self.backgrounds.draw(rng, *canvas.owner.shape)
        corner = rng.uniform(0, 1, 2) * free  # inside the image, or the image inside the window
        if objects and rng.random() < AIMED:
            box = np.array(objects[int(rng.integers(len(objects)))].box)
            aimed = (box[:2] + box[2:]) / 2 - rng.uniform(0, 1, 2) * window
            corner = np.clip(aimed, np.minimum(free, 0), np.maximum(free, 0))
        x, y = np.round(corner).astype(int).tolist()
        draw_window(canvas, image, objects, scale, (x, y))
        return all(seen.mask is not None for seen in objects)

    def _paste(self, rng: np.random.Generator, canvas: Canvas, count: int) -> None:
        """Paste objects, each as likely as any other."""
        for _ in range(count):
            label = list(self.pieces)[int(rng.integers(len(self.pieces)))]
            piece = self.pieces[label][int(rng.integers(len(self.pieces[label])))]
            largest = LARGEST_PIECE * min(canvas.owner.shape) / max(piece.mask.shape)
            scale = min(self._scale(rng, piece.image_side), largest)
            paste(rng, canvas, piece, label, scale, rng.uniform(-1, 1) * self.config.turn)

    def _scale(self, rng: np.random.Generator, image_side: int) -> float:
        """Draw px of a sample per px of an image, halving as likely as doubling."""
        low, high = np.log(self.config.scale)
        return float(np.exp(rng.uniform(low, high))) * self.config.image_size / image_side


def _as_sample(image: Image, labels: list[tuple[int, Box]], most: int) -> DetectionSample:
    boxes = np.array([box for _, box in labels]).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    largest = np.sort(np.argsort(-sides.prod(axis=1), kind="stable")[:most])
    return DetectionSample(image, boxes[largest], np.array([i for i, _ in labels], int)[largest])


def _mirrored(sample: DetectionSample) -> DetectionSample:
    """Swap left and right: pixel x moves to w - 1 - x."""
    last = sample.image.shape[1] - 1
    boxes = sample.boxes.copy()
    boxes[:, 0], boxes[:, 2] = last - sample.boxes[:, 2], last - sample.boxes[:, 0]
    return DetectionSample(np.ascontiguousarray(sample.image[:, ::-1]), boxes, sample.labels)


class DetectionStream(Dataset[dict[str, torch.Tensor]]):
    """Samples by number: the same seed and number give the same sample, in any process."""

    def __init__(
        self, detection_set: DetectionSet, length: int, seed: int = 0, first: int = 0
    ) -> None:
        self.detection_set = detection_set
        self.length = length
        self.seed = seed
        self.first = first  # number of the first sample: a run that goes on skips what it has seen

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Return a sample as tensors.

        Returns:
            image (s, s, 3) uint8; boxes (m, 4) float32, px, padded with NaN; labels (m,) int64,
            padded with -1.
        """
        if number >= self.length:
            raise IndexError(number)  # where Python's iteration ends
        cv2.setNumThreads(0)  # the processes are the threads
        sample = self.detection_set(np.random.default_rng([self.seed, self.first + number]))
        most = self.detection_set.config.max_objects
        boxes, labels = torch.full((most, 4), torch.nan), torch.full((most,), -1)
        boxes[: len(sample.boxes)] = torch.from_numpy(sample.boxes)
        labels[: len(sample.labels)] = torch.from_numpy(sample.labels)
        return {"image": torch.from_numpy(sample.image), "boxes": boxes, "labels": labels}
