"""Data sets of any layout as one thing: models, and frames with cameras, poses and files.

A reader for each layout gives a `Source`; what converts or checks data sets knows nothing else.
Lengths are in mm, whatever the files say, as their reader knows the layout.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from heatpose.data.bop_files import GroundTruth, Target
from heatpose.data.dpt import read_dpt
from heatpose.data.images import image_size, read_depth, read_mask
from heatpose.errors import DataError
from heatpose.geometry.arrays import Array, Depth, Mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points
from heatpose.objects.mesh import Mesh, read_mesh


@dataclass(frozen=True, eq=False)
class SourceModel:
    """The model of an object, as a data set has it."""

    path: Path
    object_from_file: Array | None = None  # (4, 4), mm, where the file has a frame of its own
    info: Mapping[str, Any] = field(default_factory=dict)  # as in models_info.json of BOP

    def read(self) -> Mesh:
        """Read the mesh in the frame of the object, in mm.

        Raises:
            MeshError: the file is missing or cannot be used.
        """
        mesh = read_mesh(self.path, "mm")
        if self.object_from_file is None:
            return mesh
        return Mesh(
            transform_points(self.object_from_file, mesh.vertices),
            mesh.faces,
            mesh.normals @ self.object_from_file[:3, :3].T,
            mesh.colours,
            mesh.uv,
            mesh.texture,
        )


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One picture of a data set, with what is known of it. Files are read when asked for."""

    scene_id: int
    image_id: int
    image: Path
    matrix: Array  # K, (3, 3), px
    read_truth: Callable[[], Sequence[GroundTruth]]
    depth: Path | None = None
    depth_scale: float = 1.0  # mm per unit of the depth file
    masks: Mapping[int, Path] = field(default_factory=dict)  # of what is seen, by place in truth
    split: str = "test"

    def __str__(self) -> str:
        return f"scene {self.scene_id}, image {self.image_id}"

    def camera(self) -> Camera:
        """Return the camera, whose size is that of the picture.

        Raises:
            DataError: the picture cannot be read, or no camera has such a matrix.
        """
        width, height = image_size(self.image)
        try:
            return Camera.from_matrix(self.matrix, width, height)
        except ValueError as error:
            raise DataError(f"{self.image}: {error}") from None

    def read_depth(self) -> Depth | None:
        """Return the depth (h, w), mm, NaN where nothing was measured; None where there is none."""
        if self.depth is None:
            return None
        if self.depth.suffix == ".dpt":
            units = read_dpt(self.depth).astype(np.float32)
            return np.where(units > 0, units * np.float32(self.depth_scale), np.float32(np.nan))
        return read_depth(self.depth, self.depth_scale)

    def read_mask(self, index: int) -> Mask | None:
        """Return the mask (h, w) of what is seen of an object; None where there is none."""
        path = self.masks.get(index)
        return None if path is None else read_mask(path)


@dataclass(frozen=True, eq=False)
class Source:
    """A data set in some layout."""

    root: Path
    layout: str  # in words
    models: Mapping[int, SourceModel]  # by object id of BOP
    frames: Sequence[SourceFrame]
    targets: Mapping[str, Sequence[Target]] = field(default_factory=dict)  # by split, if listed

    def __post_init__(self) -> None:
        if not self.frames:
            raise DataError(f"{self.root} is {self.layout}, but has no pictures")
        if not self.models:
            raise DataError(f"{self.root} is {self.layout}, but has no models")
