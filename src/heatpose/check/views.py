"""Objects in pictures, as ground truth is held against them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from heatpose.data.images import read_image
from heatpose.data.sources import Source, SourceFrame
from heatpose.geometry.arrays import Array, Depth, Image, Mask
from heatpose.geometry.camera import Camera

MOST_VIEWS = 40  # what is looked at in all: more would tell little more, and take longer

Repose = Callable[[int, Array], Array]  # object id and camera_from_object -> another one


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame, read."""

    frame: SourceFrame
    image: Image  # (h, w, 3), RGB as the file has it
    camera: Camera
    depth: Depth | None  # (h, w), mm


@dataclass(frozen=True, eq=False)
class View:
    """One object in one picture, with all that may be wrong about it as something to change."""

    picture: Picture
    object_id: int
    camera: Camera
    camera_from_object: Array  # (4, 4), mm
    others: Sequence[tuple[int, Array]]  # the rest of the frame: ids and poses
    mask: Mask | None  # of what is seen of it, (h, w)
    length: float = 1.0  # true mm of a mm of the models
    depth_factor: float = 1.0  # of the measured depth
    swapped: bool = False  # red and blue of the picture

    def __str__(self) -> str:
        return f"object {self.object_id} in {self.picture.frame}"

    def reposed(self, repose: Repose) -> "View":
        """Return the view with all poses of the frame changed."""
        return replace(
            self,
            camera_from_object=repose(self.object_id, self.camera_from_object),
            others=[(one, repose(one, pose)) for one, pose in self.others],
        )


def choose_frames(source: Source, count: int) -> list[SourceFrame]:
    """Return frames spread over all scenes, at least one of each, in the order of the source."""
    scenes: dict[tuple[str, int], list[SourceFrame]] = {}
    for frame in source.frames:
        scenes.setdefault((frame.split, frame.scene_id), []).append(frame)
    each = max(1, round(count / len(scenes)))
    chosen = []
    for frames in scenes.values():
        places = np.linspace(0, len(frames) - 1, min(each, len(frames))).round().astype(int)
        chosen += [frames[place] for place in places]
    return chosen


def read_picture(frame: SourceFrame) -> Picture:
    """Read what is known of a frame.

    Raises:
        DataError: a file is missing or damaged, or picture and depth differ in size.
    """
    return Picture(frame, read_image(frame.image), frame.camera(), frame.read_depth())


def views_of(picture: Picture, known: Collection[int]) -> list[View]:
    """Return the objects in a picture that have models."""
    truth = picture.frame.read_truth()
    return [
        View(
            picture=picture,
            object_id=one.object_id,
            camera=picture.camera,
            camera_from_object=one.camera_from_object,
            others=[
                (other.object_id, other.camera_from_object)
                for other in truth
                if other is not one and other.object_id in known
            ],
            mask=picture.frame.read_mask(index),
        )
        for index, one in enumerate(truth)
        if one.object_id in known
    ]


def spread_views(views: Sequence[View], most: int = MOST_VIEWS) -> list[View]:
    """Return no more than so many views, as evenly as possible over objects."""
    rank: dict[int, int] = {}
    numbered = []
    for place, view in enumerate(views):
        rank[view.object_id] = rank.get(view.object_id, -1) + 1
        numbered.append((rank[view.object_id], place))
    kept = sorted(place for _, place in sorted(numbered)[:most])
    return [views[place] for place in kept]
