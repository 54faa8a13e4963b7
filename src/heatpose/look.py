"""One look at boxes of an image: from a crop of each to the pose of what is in it."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray

from heatpose.data.crops import crop_around
from heatpose.data.depth_crops import network_depths
from heatpose.data.looks import further_looks
from heatpose.geometry.arrays import Image
from heatpose.geometry.camera import Camera
from heatpose.model.heatmaps import Keypoints, decode, keypoints_in_crop
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.runtime.bundle_record import CropSettings
from heatpose.runtime.predictor import KeypointPredictor
from heatpose.solve.estimates import make_estimate
from heatpose.solve.outline import CroppedObject, OutlineFit, refine_with_outlines
from heatpose.solve.pnp import Correspondences, PnPSolution, join_looks, solve_pnp
from heatpose.solve.probability import Calibration
from heatpose.solve.twins import turn_as_seen
from heatpose.types import Detection, Effort, Observation, PoseEstimate

LOG = logging.getLogger(__name__)
Timed = Callable[[str], AbstractContextManager[object]]

# Largest reprojection error of an inlier over the side of the crop: 2.5 heatmap pixels of 64.
MAX_ERROR = 10 / 256


def _untimed(stage: str) -> AbstractContextManager[object]:
    return nullcontext()


class Looker:
    """Finds the pose of what is in each of some boxes.

    Attributes:
        timed: called with the name of each stage, for a context that the stage runs in.
    """

    def __init__(
        self,
        predictor: KeypointPredictor,
        objects: Sequence[ObjectModel],
        crop: CropSettings,
        effort: Effort,
        calibration: Calibration | None,
        threads: int | None,
    ) -> None:
        """Put the stages of a look together; `heatpose.pipeline.PoseEstimator` explains them."""
        self.predictor = predictor
        self.objects = {one.object_id: one for one in objects}
        self.crop_settings = crop
        self.wants_depth = "depth" in crop.inputs
        self.effort = effort
        self.calibration = calibration
        self.threads = threads or os.cpu_count() or 1
        self.renderer = Renderer({one.object_id: one.mesh for one in objects})
        self.timed: Timed = _untimed
        self._index = {object_id: index for index, object_id in enumerate(self.objects)}
        self._lacked_depth = False

    def look(
        self, observation: Observation, detections: Sequence[Detection], n_looks: int
    ) -> list[PoseEstimate | None]:
        """Find the pose in each box, in so many crops; None where keypoints do not support any.

        Args:
            observation: the image, and the camera that took it, without distortion.
            detections: of objects that the network knows.
            n_looks: crops of each object.
        """
        if not detections:
            return []
        with self.timed("crop"):
            looks = [*detections, *further_looks(detections, n_looks)]
            crops, cameras = self.crop(observation, looks)
            depth = (self.crop_depth(observation, looks),) if self.wants_depth else ()
        with self.timed("network"):
            heatmaps = self.predictor(crops, self._indices(looks), *depth)
        with self.timed("decode"):
            keypoints = self.find_keypoints(heatmaps)
        with self.timed("solve"):
            seen, n = self.match(looks, keypoints, cameras), len(detections)
            matches = [join_looks(seen[i::n]) for i in range(n)]
            solutions = self.solve(matches)
        with self.timed("outline"):
            posed = self.turn_as_seen(_posed(detections, crops, matches, solutions))
            fits = self.fit_outlines(posed, observation.camera)
        return [
            make_estimate(
                found,
                keypoints[i],
                posed[i].keypoints,
                posed[i].solution,
                fits[i],
                observation.camera,
                self.objects[found.object_id],
                self.calibration,
            )
            if i in posed
            else None
            for i, found in enumerate(detections)
        ]

    def crop(
        self, observation: Observation, detections: Sequence[Detection]
    ) -> tuple[Image, list[Camera]]:
        """Cut out what was detected: crops (b, s, s, 3), and the camera that sees each."""
        size, margin = self.crop_settings.size, self.crop_settings.margin
        pairs = [
            crop_around(observation.image, observation.camera, found.box, size, margin)
            for found in detections
        ]
        return np.stack([crop for crop, _ in pairs]), [camera for _, camera in pairs]

    def crop_depth(
        self, observation: Observation, detections: Sequence[Detection]
    ) -> NDArray[np.float32]:
        """Cut the depth of what was detected out as the network takes it, (b, 2, s, s)."""
        depth, camera = observation.depth, observation.camera
        size, margin = self.crop_settings.size, self.crop_settings.margin
        if depth is None:
            if self.effort.depth and not self._lacked_depth:
                LOG.warning("the network looks at depth, but an image has none")
                self._lacked_depth = True
            return np.zeros((len(detections), 2, size, size), np.float32)
        boxes = [found.box for found in detections]
        return network_depths(depth, camera, boxes, size, margin)

    def find_keypoints(self, heatmaps: NDArray[np.float32]) -> list[Keypoints]:
        """Read keypoints, in crop px, from the heatmaps (b, k, h, w) of each crop."""
        return [keypoints_in_crop(decode(maps, self.crop_settings.sigma)) for maps in heatmaps]

    def match(
        self,
        detections: Sequence[Detection],
        keypoints: Sequence[Keypoints],
        cameras: Sequence[Camera],
    ) -> list[Correspondences]:
        """Put the keypoints on the objects and those in the crops, px of the crops, together."""
        # The crop comes with its own camera, so pixels need no mapping back before PnP.
        return [
            Correspondences(
                self.objects[found.object_id].keypoints,
                seen.pixels,
                camera,
                seen.covariances,
                seen.confidences,
            )
            for found, seen, camera in zip(detections, keypoints, cameras, strict=True)
        ]

    def solve(self, matches: Sequence[Correspondences]) -> list[PnPSolution | None]:
        """Find the pose of each object that its keypoints support; None where there is none."""
        return solve_pnp(matches, max_error=MAX_ERROR * self.crop_settings.size)

    def turn_as_seen(self, posed: Mapping[int, CroppedObject]) -> dict[int, CroppedObject]:
        """Turn objects by the symmetry after which they look most like the picture."""
        if not self.effort.outline:
            return dict(posed)
        turned = turn_as_seen(list(posed.values()), self.objects, self.renderer, self.threads)
        return dict(zip(posed, turned, strict=True))

    def fit_outlines(
        self, posed: Mapping[int, CroppedObject], camera: Camera
    ) -> dict[int, OutlineFit | None]:
        """Correct poses by outlines; None where there is too little to compare."""
        if not self.effort.outline:
            return dict.fromkeys(posed)
        fits = refine_with_outlines(list(posed.values()), camera, self.renderer, self.threads)
        return dict(zip(posed, fits, strict=True))

    def _indices(self, detections: Sequence[Detection]) -> NDArray[np.int64]:
        return np.array([self._index[found.object_id] for found in detections], np.int64)


def _posed(
    detections: Sequence[Detection],
    crops: Image,
    matches: Sequence[Correspondences],
    solutions: Sequence[PnPSolution | None],
) -> dict[int, CroppedObject]:
    """Return the objects that have a pose, by their number among the detections."""
    return {
        i: CroppedObject(detections[i].object_id, crops[i], matches[i], solution)
        for i, solution in enumerate(solutions)
        if solution is not None
    }
