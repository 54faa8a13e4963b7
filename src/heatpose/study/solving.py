"""The pipeline as rows of a study want it: read, solved and cut in the ways that are compared."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.data.crops import crop_stretched
from heatpose.geometry.arrays import Image, Mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform
from heatpose.model.heatmaps import STRIDE, Heatmaps, Keypoints, crop_from_heatmap
from heatpose.objects.catalogue import ObjectModel
from heatpose.pipeline import PoseEstimator
from heatpose.runtime.bundle_record import CropSettings
from heatpose.runtime.predictor import KeypointPredictor
from heatpose.solve.pnp import Correspondences, PnPSolution
from heatpose.study.rows import Row
from heatpose.types import Detection, Effort, Observation

PLAIN_ERROR = 8.0  # px of the image, of an inlier: OpenCV's own


class StudyEstimator(PoseEstimator):
    """The pipeline, with the crops, decoding and solver of a row; one look, and no more."""

    def __init__(
        self, predictor: KeypointPredictor, objects: Sequence[ObjectModel], row: Row, threads: int
    ) -> None:
        super().__init__(
            predictor,
            objects,
            CropSettings(
                size=row.network.crop_size,
                margin=row.train.sample.margin,
                stride=STRIDE,
                sigma=row.train.loss.sigma,
                inputs=list(row.network.inputs),
            ),
            Effort(outline=row.solve.outline, depth=row.solve.depth),
            threads=threads,
        )
        self.row = row
        self.focal = 1.0  # px, along x, of the camera of the image that is looked at

    def crop(
        self, observation: Observation, detections: Sequence[Detection]
    ) -> tuple[Image, list[Camera]]:
        """Cut out what was detected, as samples of the row are cut."""
        self.focal = observation.camera.fx
        if not self.row.train.sample.stretched:
            return super().crop(observation, detections)
        size, margin = self.crop_settings.size, self.crop_settings.margin
        pairs = [
            crop_stretched(observation.image, observation.camera, one.box, size, margin)
            for one in detections
        ]
        return np.stack([crop for crop, _ in pairs]), [camera for _, camera in pairs]

    def find_keypoints(self, heatmaps: NDArray[np.float32]) -> list[Keypoints]:
        """Read keypoints, in crop px, from the heatmaps (b, k, h, w) of each crop."""
        if self.row.solve.decoding == "sub-pixel":
            return super().find_keypoints(heatmaps)
        return [highest_pixels(maps) for maps in heatmaps]

    def solve(self, matches: Sequence[Correspondences]) -> list[PnPSolution | None]:
        """Find the pose of each object with the solver of the row."""
        if self.row.solve.solver == "weighted":
            return super().solve(matches)
        return [solve_plainly(one, self.focal) for one in matches]


class RememberingPredictor:
    """A predictor that need not run again for the crops that it has just seen.

    Rows that share a network look at the same crops one after the other.
    """

    def __init__(self, predictor: KeypointPredictor) -> None:
        self.predictor = predictor
        self._asked: list[NDArray[np.generic]] = []
        self._heatmaps: NDArray[np.float32] | None = None

    def __call__(
        self,
        crops: Image,
        object_index: NDArray[np.integer],
        depth: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Predict, or remember, heatmaps; see `KeypointPredictor`."""
        asked: list[NDArray[np.generic]] = [crops, object_index]
        if depth is not None:
            asked.append(depth)
        same = len(asked) == len(self._asked) and all(map(np.array_equal, asked, self._asked))
        if self._heatmaps is None or not same:
            self._heatmaps = self.predictor(crops, object_index, depth)
            self._asked = asked
        return self._heatmaps


def highest_pixels(heatmaps: Heatmaps) -> Keypoints:
    """Read each keypoint, in crop px, at the highest pixel of its heatmap (k, h, w), whole.

    All are as sure as each other; what their maps hold there is their confidence.
    """
    k, _, width = heatmaps.shape
    flat = heatmaps.reshape(k, -1)
    place = flat.argmax(axis=1)
    pixels = np.stack([place % width, place // width], axis=1).astype(float)
    spread = np.eye(2) * STRIDE**2 / 12  # of a place somewhere in a pixel
    return Keypoints(
        crop_from_heatmap(pixels),
        np.tile(spread, (k, 1, 1)),
        np.asarray(flat.max(axis=1), float),
    )


def solve_plainly(match: Correspondences, focal: float) -> PnPSolution | None:
    """Solve as most do: ``cv2.solvePnPRansac`` with its own settings, without weights.

    Args:
        match: keypoints in a crop, stretched or not; all count alike.
        focal: of the image that it was cut from, px: errors are those in the image.
    """
    camera = match.camera
    seen = np.asarray(np.isfinite(match.pixels).all(axis=1))
    if seen.sum() < 4:
        return None
    flat = (match.pixels[seen] - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    matrix = np.diag([focal, focal, 1.0])
    cv2.setRNGSeed(0)
    try:
        found, turn, shift, inliers = cv2.solvePnPRansac(
            match.points[seen], flat * focal, matrix, None, reprojectionError=PLAIN_ERROR
        )
    except cv2.error:  # of points that fix no pose
        return None
    if not found or inliers is None or not shift[2] > 0:
        return None
    pose = make_transform(
        matrix_from_vector(np.asarray(turn, float).ravel()), np.asarray(shift, float).ravel()
    )
    if not np.isfinite(pose).all():
        return None
    return PnPSolution(
        pose, _mask(seen, np.asarray(inliers, np.int64).ravel()), np.full((6, 6), np.nan)
    )


def _mask(seen: Mask, inliers: NDArray[np.int64]) -> Mask:
    """Return which of all points (n,) are inliers, given their numbers among those seen."""
    mask = np.zeros(len(seen), bool)
    mask[np.flatnonzero(seen)[inliers]] = True
    return mask
