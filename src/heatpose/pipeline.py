"""From an image to poses: the one place where the stages meet."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatpose.data.crops import crop_around
from heatpose.data.images import undistort, undistort_box
from heatpose.errors import UnknownObjectError
from heatpose.geometry.arrays import Array, Image
from heatpose.geometry.boxes import intersection_over_union
from heatpose.geometry.camera import Camera
from heatpose.model.heatmaps import SIGMA, Keypoints, decode, keypoints_in_crop
from heatpose.objects.catalogue import ObjectModel
from heatpose.runtime.bundle import Bundle, read_bundle
from heatpose.runtime.detector import ObjectDetector
from heatpose.runtime.predictor import Backend, KeypointPredictor, Precision, open_predictor
from heatpose.solve.pnp import Correspondences, PnPSolution, solve_pnp
from heatpose.types import Detection, Observation, PoseEstimate

Detector = Callable[[Observation], Sequence[Detection]]
STAGES = ("detect", "crop", "network", "decode", "solve")

# Largest reprojection error of an inlier over the side of the crop: 2.5 heatmap pixels of 64.
MAX_ERROR = 10 / 256
DOUBLE = 0.7  # overlap (IoU) of two boxes of one object from which on they are of one instance


def _untimed(stage: str) -> AbstractContextManager[object]:
    return nullcontext()


class PoseEstimator:
    """Finds the poses of known objects in images.

        estimator = PoseEstimator.load(Path("lmo.heatpose"))
        for estimate in estimator(Observation(image, camera)):
            print(estimate.object_id, estimate.camera_from_object, estimate.score)

    Attributes:
        timed: called with the name of each of `STAGES` for a context that the stage runs in;
            a stopwatch (`heatpose bench`) hooks in here.
    """

    def __init__(
        self,
        predictor: KeypointPredictor,
        objects: Sequence[ObjectModel],
        *,
        crop_size: int = 256,
        margin: float = 1.2,
        sigma: float = SIGMA,
        detector: Detector | None = None,
    ) -> None:
        """Put the stages together.

        Args:
            predictor: the keypoint network.
            objects: what it knows, in the order of its object index.
            crop_size: side of the crops it wants, px.
            margin: side of a crop over the longer side of its box.
            sigma: spread of the Gaussians it was trained to draw, heatmap px.
            detector: finds the objects where the caller does not say where they are.
        """
        self.predictor = predictor
        self.objects = {one.object_id: one for one in objects}
        self.crop_size = crop_size
        self.margin = margin
        self.sigma = sigma
        self.detector = detector
        self.timed: Callable[[str], AbstractContextManager[object]] = _untimed
        self._index = {object_id: index for index, object_id in enumerate(self.objects)}

    @classmethod
    def load(cls, path: Path, **options: Any) -> "PoseEstimator":
        """Build from the file of a bundle, with the options of `from_bundle`.

        Raises:
            BundleError: the bundle cannot be used.
        """
        return cls.from_bundle(read_bundle(path), **options)

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        *,
        backend: Backend = "openvino",
        threads: int | None = None,
        precision: Precision | None = None,
        threshold: float | None = None,
        detector: Detector | None = None,
    ) -> "PoseEstimator":
        """Build from what `read_bundle` gives.

        Args:
            bundle: networks and objects.
            backend: what runs the networks; `open_predictor` explains this and the next two.
            threads: how many they may use.
            precision: what they compute in.
            threshold: score from which on a detection counts; by default what the bundle says.
            detector: takes the place of the bundle's.
        """
        if detector is None and bundle.detector is not None:
            settings = bundle.detector.settings
            detector = ObjectDetector(
                bundle.detector.network,
                settings.object_ids,
                image_size=settings.image_size,
                threshold=settings.threshold if threshold is None else threshold,
                backend=backend,
                threads=threads,
                precision=precision,
            )
        return cls(
            open_predictor(bundle.network, backend, threads=threads, precision=precision),
            bundle.objects,
            crop_size=bundle.crop.size,
            margin=bundle.crop.margin,
            sigma=bundle.crop.sigma,
            detector=detector,
        )

    def __call__(
        self, observation: Observation, detections: Sequence[Detection] | None = None
    ) -> list[PoseEstimate]:
        """Estimate the pose of every detected object, best first.

        Args:
            observation: the image and the camera that took it, with or without distortion.
            detections: where objects may be, px of the image as it was taken; None asks the
                detector.

        Returns:
            One estimate for each detection whose keypoints support a pose. Their keypoints and
            boxes are in px of the undistorted image.

        Raises:
            UnknownObjectError: a given detection is of an object that the network does not know.
        """
        if detections is None:
            detections = self.detect(observation)
        self._check_known(detections)
        if not detections:
            return []
        with self.timed("crop"):
            detections = [_undistorted(found, observation.camera) for found in detections]
            observation = undistort(observation)
            crops, cameras = self.crop(observation, detections)
        with self.timed("network"):
            heatmaps = self.predictor(crops, self._indices(detections))
        with self.timed("decode"):
            keypoints = self.find_keypoints(heatmaps)
        with self.timed("solve"):
            solutions = self.solve(detections, keypoints, cameras)
        each = zip(detections, keypoints, cameras, solutions, strict=True)
        estimates = [_estimate(*one, observation.camera) for one in each]
        return sorted((e for e in estimates if e), key=lambda e: e.score, reverse=True)

    def detect(self, observation: Observation) -> list[Detection]:
        """Ask the detector where known objects are, px of the image as it was taken, best first.

        A detector may know objects that the keypoint network does not: here, and nowhere else,
        those are passed over. So are doubles, boxes that a better one of the same object all but
        covers: a detector that needs no suppression once it is well trained may be younger.
        """
        if self.detector is None:
            raise ValueError("detections must be given where there is no detector")
        with self.timed("detect"):
            found = self.detector(observation)
        return _without_doubles([one for one in found if one.object_id in self.objects])

    def _check_known(self, detections: Sequence[Detection]) -> None:
        for found in detections:
            if found.object_id not in self.objects:
                raise UnknownObjectError(
                    f"object {found.object_id} is not one of {sorted(self.objects)}, "
                    "which the network knows"
                )

    def crop(
        self, observation: Observation, detections: Sequence[Detection]
    ) -> tuple[Image, list[Camera]]:
        """Cut out what was detected: crops (b, s, s, 3), and the camera that sees each."""
        pairs = [
            crop_around(
                observation.image, observation.camera, found.box, self.crop_size, self.margin
            )
            for found in detections
        ]
        return np.stack([crop for crop, _ in pairs]), [camera for _, camera in pairs]

    def find_keypoints(self, heatmaps: NDArray[np.float32]) -> list[Keypoints]:
        """Read keypoints, in crop px, from the heatmaps (b, k, h, w) of each crop."""
        return [keypoints_in_crop(decode(maps, self.sigma)) for maps in heatmaps]

    def solve(
        self,
        detections: Sequence[Detection],
        keypoints: Sequence[Keypoints],
        cameras: Sequence[Camera],
    ) -> list[PnPSolution | None]:
        """Solve for the poses; None where the keypoints, in crop px, support none."""
        # The crop comes with its own camera, so pixels need no mapping back before PnP.
        correspondences = [
            Correspondences(
                self.objects[found.object_id].keypoints,
                seen.pixels,
                camera,
                seen.covariances,
                seen.confidences,
            )
            for found, seen, camera in zip(detections, keypoints, cameras, strict=True)
        ]
        return solve_pnp(correspondences, max_error=MAX_ERROR * self.crop_size)

    def _indices(self, detections: Sequence[Detection]) -> NDArray[np.int64]:
        return np.array([self._index[found.object_id] for found in detections], np.int64)


def _estimate(
    found: Detection,
    keypoints: Keypoints,
    crop_camera: Camera,
    solution: PnPSolution | None,
    camera: Camera,
) -> PoseEstimate | None:
    """Say what was solved in terms of the image.

    The score is that of the detection, times the mean confidence of the keypoints that support
    the pose, times their share of all keypoints.
    """
    if solution is None:
        return None
    support = keypoints.confidences[solution.inliers].sum() / len(keypoints.confidences)
    return PoseEstimate(
        object_id=found.object_id,
        camera_from_object=solution.camera_from_object,
        score=found.score * float(np.clip(support, 0, 1)),
        covariance=solution.covariance,
        keypoints=_seen_by(camera, keypoints.pixels, crop_camera),
        inliers=solution.inliers,
        box=found.box,
    )


def _without_doubles(found: Sequence[Detection]) -> list[Detection]:
    """Keep each detection that does not lie on a better one of the same object, best first."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda detection: -detection.score):
        rivals = np.array([other.box for other in kept if other.object_id == one.object_id])
        if not len(rivals) or intersection_over_union(np.array([one.box]), rivals).max() < DOUBLE:
            kept.append(one)
    return kept


def _undistorted(found: Detection, camera: Camera) -> Detection:
    return Detection(found.object_id, undistort_box(found.box, camera), found.score)


def _seen_by(camera: Camera, pixels: Array, crop_camera: Camera) -> Array:
    """Move positions (k, 2) from px of a crop to px of the image it was cut from."""
    return camera.project(crop_camera.unproject(pixels, np.ones(len(pixels))))
