"""From an image to poses: the one place where the stages meet.

Those of a look at boxes, from crops to poses, stand in `heatpose.look`; what is around them here:
detection, looking again, and planes, depth and markings in the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from heatpose.data.boxes import without_doubles
from heatpose.data.images import undistort, undistort_box
from heatpose.errors import UnknownObjectError
from heatpose.geometry.camera import Camera
from heatpose.look import Looker
from heatpose.objects.catalogue import ObjectModel
from heatpose.runtime.bundle import Bundle, read_bundle
from heatpose.runtime.bundle_record import CropSettings
from heatpose.runtime.detector import open_bundled
from heatpose.runtime.predictor import Backend, KeypointPredictor, Precision, open_predictor
from heatpose.solve.depth_poses import correct_with_depth
from heatpose.solve.depth_search import DepthSearch
from heatpose.solve.markings import Markings
from heatpose.solve.passes import (
    at_poses,
    has_candidates,
    most_promising,
    surer,
    without_twins,
)
from heatpose.solve.patches import refine_with_patches
from heatpose.solve.probability import Calibration, nearest_calibration, with_probability
from heatpose.solve.table import FEWEST, stand_together
from heatpose.solve.threads import in_threads
from heatpose.solve.visibility import with_visibility
from heatpose.types import Detection, Effort, Observation, PoseEstimate

Detector = Callable[[Observation], Sequence[Detection]]
STAGES = (
    "detect",
    "crop",
    "network",
    "decode",
    "solve",
    "outline",
    "patches",
    "table",
    "depth",
    "markings",
)


class PoseEstimator(Looker):
    """Finds the poses of known objects in images.

        estimator = PoseEstimator.load(Path("lmo.heatpose"))
        for estimate in estimator(Observation(image, camera)):
            print(estimate.object_id, estimate.camera_from_object, estimate.score)

    Attributes:
        timed: called with the name of each of `STAGES`, once or several times an image, for a
            context that the stage runs in; a stopwatch (`heatpose bench`) hooks in here.
    """

    def __init__(
        self,
        predictor: KeypointPredictor,
        objects: Sequence[ObjectModel],
        crop: CropSettings,
        effort: Effort = Effort(),
        *,
        detector: Detector | None = None,
        calibration: Calibration | None = None,
        depth_calibration: Calibration | None = None,
        table_calibration: Calibration | None = None,
        threads: int | None = None,
    ) -> None:
        """Put the stages together.

        Args:
            predictor: the keypoint network.
            objects: what it knows, in the order of its object index.
            crop: how it wants its crops.
            effort: what is done for each pose.
            detector: finds the objects where the caller does not say where they are.
            calibration: turns what speaks for a pose into a probability, if that was learned.
            depth_calibration: the same where depth had its say.
            table_calibration: the same where objects were looked at for a plane that they stand on.
            threads: that share the objects of an image; None for as many as there are cores.
        """
        super().__init__(predictor, objects, crop, effort, calibration, threads)
        self.detector = detector
        self.depth_calibration = depth_calibration
        self.table_calibration = table_calibration
        self.search: DepthSearch | None = DepthSearch(self.objects, self.renderer)
        self.markings = Markings(self.objects, self.renderer, crop.labels)

    @classmethod
    def load(cls, path: Path, effort: Effort = Effort(), **options: Any) -> "PoseEstimator":
        """Build from the file of a bundle, with the options of `from_bundle`.

        Raises:
            BundleError: the bundle cannot be used.
        """
        return cls.from_bundle(read_bundle(path), effort, **options)

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        effort: Effort = Effort(),
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
            effort: what is done for each pose.
            backend: what runs the networks; `open_predictor` explains this and the next two.
            threads: how many they may use.
            precision: what they compute in.
            threshold: score from which on a detection counts; by default what the bundle says.
            detector: takes the place of the bundle's.
        """
        if detector is None and bundle.detector is not None:
            detector = open_bundled(
                bundle.detector,
                threshold,
                mirrored=effort.looks > 1,
                backend=backend,
                threads=threads,
                precision=precision,
            )
        return cls(
            open_predictor(bundle.network, backend, threads=threads, precision=precision),
            bundle.objects,
            bundle.crop,
            effort,
            detector=detector,
            calibration=nearest_calibration(bundle.calibrations, effort),
            depth_calibration=nearest_calibration(bundle.calibrations, effort, depth=True),
            table_calibration=nearest_calibration(bundle.calibrations, effort, table=True),
            threads=threads,
        )

    def __call__(
        self,
        observation: Observation,
        detections: Sequence[Detection] | None = None,
        wanted: Mapping[int, int] | None = None,
    ) -> list[PoseEstimate]:
        """Estimate the pose of every detected object, best first.

        Args:
            observation: the image and the camera that took it, with or without distortion.
            detections: where objects may be, px of the image as it was taken; None asks the
                detector.
            wanted: instances by object id, where more detections than that are candidates for
                them: of these the worse half is given up between two passes. Other objects are
                looked at only beside them, once: they may stand on the same plane.

        Returns:
            One estimate for each detection of what is wanted whose keypoints support a pose, that
            was not given up, and whose object is not the one of a better detection. Their keypoints
            and boxes are in px of the undistorted image.

        Raises:
            UnknownObjectError: a given detection is of an object that the network does not know.
        """
        if detections is None:
            detections = self.detect(observation)
        self._check_known(detections)
        if not detections:
            return []
        with self.timed("crop"):
            boxes = [_undistorted(found, observation.camera) for found in detections]
            observation = undistort(
                observation if self.effort.depth else replace(observation, depth=None)
            )
        measured = self._is_measured(observation)
        if measured or not self.effort.table:
            boxes = [found for found in boxes if _is_wanted(found.object_id, wanted)]
        estimates, others = self.find(observation, boxes, wanted)
        if measured:
            with self.timed("depth"):
                estimates = self.fit_depth(estimates, observation)
        elif self.effort.table:
            estimates = self.stand_together(estimates, others)
        if self.effort.markings and any(map(self.markings.tell, estimates)):
            with self.timed("markings"):
                estimates = self.turn_as_marked(estimates, observation)
        estimates.sort(key=lambda e: e.score, reverse=True)
        return with_visibility(estimates, self.objects, self.renderer)

    def find(
        self,
        observation: Observation,
        detections: Sequence[Detection],
        wanted: Mapping[int, int] | None = None,
    ) -> tuple[list[PoseEstimate], list[PoseEstimate]]:
        """Find poses by all passes over an image without distortion, but for tables and depth.

        While there are candidates, one look at each tells them apart, and, without depth, how well
        they stand on one plane with others.

        Returns:
            Poses of what is wanted, and those of other objects after the first pass.
        """
        poses = self.look(
            observation, detections, self._looks(detections, wanted, self.effort.passes)
        )
        found = [
            (box, pose) for box, pose in zip(detections, poses, strict=True) if pose is not None
        ]
        others = [pose for _, pose in found if not _is_wanted(pose.object_id, wanted)]
        found = [one for one in found if _is_wanted(one[1].object_id, wanted)]
        # Without a calibration of its own a plane would change no rank.
        on_tables = self.effort.table and self.table_calibration is not None
        on_tables &= not self._is_measured(observation)
        for left in range(self.effort.passes - 1, 0, -1):
            ranked = [pose for _, pose in found]
            if on_tables and has_candidates(ranked, wanted):
                ranked = self.stand_together(ranked, others)
            found = most_promising(found, [one.rank for one in ranked], wanted)
            closer = at_poses(found, self.objects, observation.camera)
            again = self.look(observation, closer, self._looks(closer, wanted, left))
            found = [(box, surer(pose, new)) for (box, pose), new in zip(found, again, strict=True)]
        estimates = without_twins([pose for _, pose in found], self.objects)
        if self.effort.outline and self.effort.passes > 1:
            estimates = self.fit_patches(estimates, observation)
        return estimates, others

    def _looks(
        self, detections: Sequence[Detection], wanted: Mapping[int, int] | None, left: int
    ) -> int:
        """Return how many crops of each object the next of so many passes takes."""
        return 1 if left > 1 and has_candidates(detections, wanted) else self.effort.looks

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
        return without_doubles([one for one in found if one.object_id in self.objects])

    def _check_known(self, detections: Sequence[Detection]) -> None:
        for found in detections:
            if found.object_id not in self.objects:
                raise UnknownObjectError(
                    f"object {found.object_id} is not one of {sorted(self.objects)}, "
                    "which the network knows"
                )

    def fit_patches(
        self, estimates: Sequence[PoseEstimate], observation: Observation
    ) -> list[PoseEstimate]:
        """Correct poses by what lies inside of outlines; what speaks for them stays the same."""
        with self.timed("patches"):
            return refine_with_patches(
                estimates,
                observation.image,
                observation.camera,
                self.objects,
                self.renderer,
                self.threads,
            )

    def stand_together(
        self, estimates: Sequence[PoseEstimate], others: Sequence[PoseEstimate]
    ) -> list[PoseEstimate]:
        """Put poses onto the plane that they, and others beside them, seem to stand on."""
        if len(estimates) + len(others) < FEWEST:
            return list(estimates)
        with self.timed("table"):
            together = stand_together([*estimates, *others], self.objects)[: len(estimates)]
            return [with_probability(one, self.table_calibration) for one in together]

    def fit_depth(
        self, estimates: Sequence[PoseEstimate], observation: Observation, again: bool = False
    ) -> list[PoseEstimate]:
        """Correct poses by measured depth, and look for others where it contradicts them.

        Their probability is what was learned of poses with depth; where nothing was, it stays that
        of the pose from the picture, as their score does. So it is where nothing was measured.
        Poses that depth has corrected before, but for a turn, are only corrected again.
        """
        if not _has_depth(observation):
            return list(estimates)
        assert observation.depth is not None
        corrected = correct_with_depth(
            estimates,
            observation.depth,
            observation.image,
            observation.camera,
            self.renderer,
            self.threads,
            None if again else self.search,
            again,
        )
        return [with_probability(one, self.depth_calibration) for one in corrected]

    def turn_as_marked(
        self, estimates: Sequence[PoseEstimate], observation: Observation
    ) -> list[PoseEstimate]:
        """Turn objects the way round that their markings say, where their shape leaves it open.

        Shapes are seldom quite as symmetric as that, so depth corrects those that were turned.
        """
        image, camera, depth = observation.image, observation.camera, observation.depth
        found = in_threads(
            lambda one: self.markings(one, image, camera, depth), estimates, self.threads
        )
        turned = [one for one in found if one is not None]
        if self.effort.geometry:
            turned = self.fit_depth(turned, observation, again=True)
        corrected = iter(turned)
        pairs = zip(estimates, found, strict=True)
        return [one if other is None else next(corrected) for one, other in pairs]

    def _is_measured(self, observation: Observation) -> bool:
        return self.effort.geometry and _has_depth(observation)


def _is_wanted(object_id: int, wanted: Mapping[int, int] | None) -> bool:
    return wanted is None or object_id in wanted


def _has_depth(observation: Observation) -> bool:
    return observation.depth is not None and bool(np.isfinite(observation.depth).any())


def _undistorted(found: Detection, camera: Camera) -> Detection:
    return Detection(found.object_id, undistort_box(found.box, camera), found.score)
