"""What the stages hand to each other."""

from dataclasses import dataclass

import numpy as np

from heatpose.geometry.arrays import Array, Box, Depth, Image, Mask
from heatpose.geometry.camera import Camera

MOST_LOOKS = 3
# Agreement with depth that a pose counts as where depth says nothing of it.
UNMEASURED = 0.3


@dataclass(frozen=True, eq=False)
class Observation:
    """One picture and the camera that took it."""

    image: Image  # (h, w, 3), RGB
    camera: Camera
    depth: Depth | None = None  # (h, w), mm along z, NaN where nothing was measured

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(
                f"image must be uint8 (h, w, 3), got {self.image.dtype} {self.image.shape}"
            )
        size = (self.camera.height, self.camera.width)
        if self.image.shape[:2] != size:
            raise ValueError(f"image is {self.image.shape[:2]} but its camera says {size}")
        if self.depth is not None and self.depth.shape != size:
            raise ValueError(f"depth is {self.depth.shape} but the image is {size}")


@dataclass(frozen=True)
class Detection:
    """An object that is thought to be seen somewhere."""

    object_id: int  # BOP's id
    box: Box  # left, top, right, bottom, px
    score: float  # in [0, 1]

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box
        if not np.isfinite(self.box).all() or right <= left or bottom <= top:
            raise ValueError(f"box must be finite with right > left, bottom > top, got {self.box}")
        if not 0 <= self.score <= 1:
            raise ValueError(f"score must lie in [0, 1], got {self.score}")


@dataclass(frozen=True)
class Effort:
    """What is done for a pose: what makes it surer or more exact, and takes time."""

    # Crops of each object, nearer and farther, solved together: up to three. With more than one
    # the detector sees each picture in a mirror too.
    looks: int = 1
    passes: int = 1  # over an image, from the second on where objects turned out to be
    outline: bool = True  # outlines in the picture correct poses
    depth: bool = True  # depth is looked at where observations have it
    geometry: bool = True  # and corrects poses, or is only shown to networks that look at it
    table: bool = True  # objects that seem to stand on one plane are put onto it, without depth
    markings: bool = True  # colours say which way round an object is whose shape leaves that open

    def __post_init__(self) -> None:
        if not 1 <= self.looks <= MOST_LOOKS:
            raise ValueError(f"looks must be 1 to {MOST_LOOKS}, got {self.looks}")
        if self.passes < 1:
            raise ValueError(f"passes must be at least 1, got {self.passes}")


@dataclass(frozen=True)
class DepthEvidence:
    """How well a pose fits depth, and picture and depth together."""

    near: float  # share of its surface with a measured depth that lies there
    contradicted: float  # share of it that was measured farther away
    hidden: float  # share of it that was measured nearer
    overlap: float  # of the box of what is seen of it with the detection's (IoU)
    support: float  # of the keypoints, in [0, 1]


@dataclass(frozen=True)
class Evidence:
    """What speaks for a pose and against it, apart from how sure the detector was.

    It is that of the pose before patches inside of its outline, or depth, moved it; where it was
    put onto a plane with others, `spread` is that of the pose there.
    """

    support: float  # mean confidence of all keypoints, those against the pose counted as 0
    inliers: float  # share of the keypoints that agree with it
    contrast: float  # how much more of its inside has the object's colours than of its outside
    offset: float  # mean distance of its outline from the picture's, px of a crop 128 px wide
    open_share: float  # of its outline that no other object hides
    spread: float  # root mean square of what points are off by its covariance, in diameters
    depth: DepthEvidence | None = None  # where depth had its say
    # How well it stands on one plane with others, in [0, 1]; None where nobody looked for one, or
    # there were too few of them.
    standing: float | None = None


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """Where an object is, and what supports it."""

    object_id: int  # BOP's id
    camera_from_object: Array  # (4, 4), mm
    score: float  # detection score times agreement of the keypoints, in [0, 1]; not calibrated
    covariance: Array  # (6, 6) of a left perturbation: rotation vector in rad, translation in mm
    keypoints: Array  # as the network saw them, (k, 2), px of the image; NaN where not found
    inliers: Mask  # (k,), the keypoints that support the pose
    box: Box  # the detection's, px
    keypoint_spreads: Array | None = None  # standard deviations per axis as drawn, (k,), px
    points: Array | None = None  # of the object that keypoints are, (k, 3), mm; None: the model's
    visible: Mask | None = None  # (k,), keypoints that no object hides in these poses
    evidence: Evidence | None = None
    probability: float | None = None  # that MSSD is below a tenth of the diameter; None: unknown
    # Share of its surface with a measured depth that lies there; None: too little was measured.
    depth_agreement: float | None = None

    def __post_init__(self) -> None:
        if self.camera_from_object.shape != (4, 4):
            raise ValueError(
                f"camera_from_object must be (4, 4), got {self.camera_from_object.shape}"
            )
        if self.covariance.shape != (6, 6):
            raise ValueError(f"covariance must be (6, 6), got {self.covariance.shape}")
        if len(self.keypoints) != len(self.inliers):
            raise ValueError(
                f"{len(self.keypoints)} keypoints but {len(self.inliers)} inlier flags"
            )

    def points_of(self, model_keypoints: Array) -> Array:
        """Return which points of the object its keypoints are, (k, 3), mm."""
        return model_keypoints if self.points is None else self.points

    @property
    def rank(self) -> float:
        """What candidates for one object are told apart by: more is better, in [0, 1].

        The agreement of keypoints counts twice, as they know an object better than a detector;
        so does that with depth, which is `UNMEASURED` where nothing is known of it.
        """
        support = 1.0 if self.evidence is None else self.evidence.support
        probability = 1.0 if self.probability is None else self.probability
        agreement = UNMEASURED if self.depth_agreement is None else self.depth_agreement
        return self.score * support * probability * agreement**2
