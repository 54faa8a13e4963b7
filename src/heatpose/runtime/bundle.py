"""The bundle: everything that finding poses takes, in one folder or one file.

NAME.heatpose is the folder zipped. It holds

    bundle.json       objects, crop settings, provenance, SHA-256 of each file (bundle_record.py)
    keypoints.onnx    the keypoint network
    detector.onnx     the detector, in bundles that find objects by themselves
    models/*.ply      small meshes of the objects, for pictures
    card.md           what the networks are, for people
"""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from heatpose.errors import BundleError, DataError
from heatpose.objects.catalogue import ObjectModel, object_from_record, object_to_record
from heatpose.objects.mesh import write_mesh
from heatpose.runtime.bundle_files import RECORD, opened, write_files
from heatpose.runtime.bundle_record import (
    CARD,
    DETECTOR,
    NETWORK,
    BundleRecord,
    CalibrationRecord,
    CropSettings,
    DetectorSettings,
    ObjectRecord,
    Provenance,
    decode_record,
    encode_record,
    sha256,
)
from heatpose.solve.probability import Calibration


@dataclass(frozen=True, eq=False)
class BundledDetector:
    """A trained detector and what it takes to use it."""

    network: bytes  # ONNX
    settings: DetectorSettings


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained keypoint network, the objects it knows, and maybe a detector that finds them.

    The detector may know other objects too, or lack some.
    """

    name: str
    objects: tuple[ObjectModel, ...]  # in the order of the network's object_index
    crop: CropSettings
    network: bytes  # ONNX, the keypoint network
    provenance: Provenance
    card: str  # Markdown
    detector: BundledDetector | None = None
    calibrations: tuple[Calibration, ...] = ()  # for poses found in different ways

    def __post_init__(self) -> None:
        counts = {len(one.keypoints) for one in self.objects}
        if len(counts) != 1:
            raise ValueError(f"objects must have equally many keypoints, got {sorted(counts)}")
        ids = [one.object_id for one in self.objects]
        if len(set(ids)) < len(ids):
            raise ValueError(f"object ids must differ, got {ids}")

    def with_calibration(self, calibration: Calibration, card: str) -> "Bundle":
        """Return the bundle with a calibration, in the place of that for the same way, if any."""
        others = [one for one in self.calibrations if one.way != calibration.way]
        return replace(self, calibrations=(*others, calibration), card=card)

    @property
    def identity(self) -> str:
        """The name and the start of the networks' SHA-256: what results are marked with."""
        detector = self.detector.network if self.detector else b""
        return f"{self.name} {sha256(self.network + detector)[:12]}"


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Write a bundle whole or not at all: zipped if the path ends in .heatpose, else as a folder.

    Raises:
        DataError: it cannot be written, or a folder that is no bundle is in its place.
    """
    write_files(Path(path), _encode(bundle))


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check every file of it.

    Raises:
        BundleError: a file is missing, changed or damaged, or the format is a newer one.
    """
    path = Path(path)
    with opened(path) as read:
        record = decode_record(read(RECORD), str(path))
        files = {name: read(name) for name in record.files}
    for name, content in files.items():
        if sha256(content) != record.files[name]:
            raise BundleError(f"{name} of {path} was changed or damaged: its SHA-256 does not fit")
    try:
        return Bundle(
            name=record.name,
            objects=_decode_objects(record, files),
            crop=record.crop,
            network=files[NETWORK],
            provenance=record.provenance,
            card=files[CARD].decode(),
            detector=BundledDetector(files[DETECTOR], record.detector) if record.detector else None,
            calibrations=tuple(_decode_calibration(one) for one in record.calibrations),
        )
    except (DataError, ValueError) as error:
        raise BundleError(f"{path} cannot be used: {error}") from error


def _encode(bundle: Bundle) -> dict[str, bytes]:
    """Return the content of each file of a bundle, bundle.json first."""
    meshes = {f"models/obj_{one.object_id:06d}.ply": one for one in bundle.objects}
    files = {CARD: bundle.card.encode(), NETWORK: bundle.network}
    if bundle.detector is not None:
        files[DETECTOR] = bundle.detector.network
    with tempfile.TemporaryDirectory() as folder:
        for name, model in meshes.items():
            if model.mesh.texture is not None:
                raise ValueError(f"bundles hold vertex colours, but {model.name} has a texture")
            write_mesh(Path(folder, "mesh.ply"), model.mesh)
            files[name] = Path(folder, "mesh.ply").read_bytes()
    record = BundleRecord(
        name=bundle.name,
        objects=[
            ObjectRecord.model_validate(object_to_record(model, name))
            for name, model in meshes.items()
        ],
        crop=bundle.crop,
        detector=bundle.detector.settings if bundle.detector else None,
        calibrations=[CalibrationRecord.model_validate(asdict(one)) for one in bundle.calibrations],
        provenance=bundle.provenance,
        files={name: sha256(content) for name, content in files.items()},
    )
    return {RECORD: encode_record(record), **files}


def _decode_calibration(stored: CalibrationRecord) -> Calibration:
    return Calibration(
        weights=tuple(stored.weights),
        constant=stored.constant,
        radii=tuple(stored.radii),
        looks=stored.looks,
        passes=stored.passes,
        outline=stored.outline,
        depth=stored.depth,
        table=stored.table,
    )


def _decode_objects(record: BundleRecord, files: Mapping[str, bytes]) -> tuple[ObjectModel, ...]:
    # Meshes are read from files; a place that vanishes serves folder and zip alike.
    with tempfile.TemporaryDirectory() as folder:
        for one in record.objects:
            place = Path(folder, one.mesh)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(files[one.mesh])
        return tuple(object_from_record(one.model_dump(), Path(folder)) for one in record.objects)
