"""What stands in the bundle.json of a bundle.

The file holds the SHA-256 of every other file of the bundle, and its own: ``checksum`` is that of
the file's bytes with these 64 digits written as zeros. So no byte of a bundle can change unseen.
"""

import hashlib
import json
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from heatpose.errors import BundleError
from heatpose.objects.shape_turns import Labels
from heatpose.solve.probability import LEVELS

# Of bundle.json; a reader refuses a newer one. Format 1 knew no detector, 2 no calibration, 3 no
# networks that look at depth, 4 no detectors that look at pictures in several sizes, 5 no second
# calibration, 6 none of poses without outlines, 7 no keypoints that tell no more than shape does,
# 8 no calibration of poses with depth, 9 none of poses on tables.
FORMAT = 10
NO_CHECKSUM = "0" * 64
NETWORK, CARD = "keypoints.onnx", "card.md"  # every bundle has these
DETECTOR = "detector.onnx"  # and some have this


def _check_is_inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise ValueError(f"file name must stay inside the bundle, got {name}")
    return name


FileName = Annotated[str, AfterValidator(_check_is_inside)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ObjectRecord(_Record):
    """One object; `heatpose.objects.catalogue` writes it and checks what stands beside the mesh."""

    model_config = ConfigDict(extra="allow")

    mesh: FileName


class CropSettings(_Record):
    """How the network wants its crops, and how its heatmaps were drawn in training."""

    size: int = Field(gt=0, multiple_of=32)  # side of the crop, px
    margin: float = Field(gt=0)  # side of the crop over the longer side of the box
    stride: int = Field(gt=0)  # crop pixels per heatmap pixel
    sigma: float = Field(gt=0)  # of the heatmaps' Gaussians, heatmap px
    # What it looks at; depth is as `heatpose.data.depth_crops.network_depth` gives it.
    inputs: list[Literal["crops", "depth"]] = Field(default=["crops"], min_length=1)
    labels: Labels = "colour"  # what its keypoints tell of how an object is turned


class Provenance(_Record):
    """Where a bundle comes from."""

    heatpose: str  # version that wrote the bundle
    date: str  # of the export, ISO 8601
    network: dict[str, Any]  # configuration of the network
    training: dict[str, Any]  # configuration of the training, {} where there was none
    samples: int | None  # that the network was trained on
    machine: str  # that trained
    meshes: str  # where the CAD models come from, and their licence
    notes: str


class DetectorSettings(_Record):
    """What the detector finds, how it wants its images, and where it comes from."""

    object_ids: list[int] = Field(min_length=1)  # in the order of the network's classes
    # Longer sides of the pictures that it looks at, px; what it finds in several is joined.
    image_sizes: list[Annotated[int, Field(gt=0, multiple_of=32)]] = Field(min_length=1)
    threshold: float = Field(ge=0, le=1)  # score from which on a detection counts
    weights: str  # how they are stored: float16 or int8
    network: dict[str, Any]  # configuration of the network
    training: dict[str, Any]  # configuration of the training, {} where there was none
    samples: int | None  # that it was trained on
    datasets: list[str]  # names of those they came from
    machine: str  # that trained

    @model_validator(mode="before")
    @classmethod
    def _reads_one_size(cls, record: Any) -> Any:
        """Take up the one size that earlier formats knew."""
        if isinstance(record, dict) and "image_size" in record:
            rest = {name: value for name, value in record.items() if name != "image_size"}
            return {**rest, "image_sizes": [record["image_size"]]}
        return record

    @model_validator(mode="after")
    def _has_classes_that_differ(self) -> "DetectorSettings":
        if len(set(self.object_ids)) < len(self.object_ids):
            raise ValueError(f"object_ids of the detector must differ, got {self.object_ids}")
        return self


class CalibrationRecord(_Record):
    """What turns evidence for poses into probabilities (`heatpose.solve.probability`)."""

    weights: list[float]
    constant: float
    radii: list[float] = Field(min_length=len(LEVELS), max_length=len(LEVELS))
    looks: int = Field(default=1, ge=1)  # and passes, in which its poses were found
    passes: int = Field(default=1, ge=1)
    outline: bool = True
    depth: bool = False
    table: bool = False


class BundleRecord(_Record):
    """The whole bundle.json."""

    format: int = FORMAT
    checksum: Digest = NO_CHECKSUM
    name: str
    objects: list[ObjectRecord] = Field(min_length=1)
    crop: CropSettings
    detector: DetectorSettings | None = None  # None where boxes must come from elsewhere
    calibrations: list[CalibrationRecord] = []  # none where probabilities are not known
    provenance: Provenance
    files: dict[FileName, Digest]  # SHA-256 of every other file

    @model_validator(mode="before")
    @classmethod
    def _reads_one_calibration(cls, record: Any) -> Any:
        """Take up the one calibration, or none, that earlier formats knew."""
        if isinstance(record, dict) and "calibration" in record:
            rest = {name: value for name, value in record.items() if name != "calibration"}
            return {**rest, "calibrations": [c for c in [record["calibration"]] if c is not None]}
        return record

    @model_validator(mode="after")
    def _is_complete(self) -> "BundleRecord":
        needed = {NETWORK, CARD, *(one.mesh for one in self.objects)}
        if self.detector is not None:
            needed.add(DETECTOR)
        missing = needed - self.files.keys()
        if missing:
            raise ValueError(f"files lacks {', '.join(sorted(missing))}")
        return self


def encode_record(record: BundleRecord) -> bytes:
    """Write a record as the bytes of a bundle.json that carries its own checksum."""
    plain = record.model_copy(update={"checksum": NO_CHECKSUM}).model_dump()
    text = json.dumps(plain, indent=1, ensure_ascii=False).encode()
    return text.replace(NO_CHECKSUM.encode(), sha256(text).encode(), 1)


def decode_record(text: bytes, bundle: str) -> BundleRecord:
    """Read the bytes of a bundle.json and check them: the inverse of `encode_record`.

    Args:
        text: the file's bytes.
        bundle: what to call the bundle in errors.

    Raises:
        BundleError: it is of a newer format, not what a bundle.json must be, or changed.
    """
    where = f"bundle.json of {bundle}"
    try:
        plain = json.loads(text)
        version, checksum = plain["format"], plain["checksum"]
    except (ValueError, TypeError, KeyError):
        raise BundleError(f"{where} is damaged, or is not one") from None
    if isinstance(version, int) and version > FORMAT:
        raise BundleError(
            f"{where} has format {version}, newer than the {FORMAT} that this heatpose reads"
        )
    blank = text.replace(str(checksum).encode(), NO_CHECKSUM.encode(), 1)
    if sha256(blank) != checksum:
        raise BundleError(f"{where} was changed or damaged: its checksum does not fit")
    try:
        return BundleRecord.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{where}: {key + ': ' if key else ''}{first['msg']}") from None


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
