"""From a training run to a bundle."""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import heatpose
from heatpose.errors import CheckpointError, DataError, UnknownObjectError
from heatpose.export.agreement import Agreement, compare, rendered_crops
from heatpose.export.bundled_detector import THRESHOLD, bundled_detector, described
from heatpose.export.card import with_detector, with_weights, write_card
from heatpose.export.int8 import quantise_network
from heatpose.export.onnx import export_network, import_network
from heatpose.export.small_mesh import small_mesh
from heatpose.model.heatmaps import SIGMA, STRIDE
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.model.weights import load_network
from heatpose.objects.catalogue import ObjectModel, object_from_record
from heatpose.objects.shape_turns import with_shape_symmetries
from heatpose.runtime.bundle import Bundle, read_bundle, write_bundle
from heatpose.runtime.bundle_record import CropSettings, Provenance
from heatpose.runtime.torch_predictor import TorchPredictor

OBJECTS_FORMAT = 1
# An export further from the trained network than this has gone wrong.
LARGEST_SHIFT = 0.1  # median over keypoints, px of the crop
LARGEST_DIFFERENCE = 0.05  # between probabilities
N_CALIBRATION = 96  # rendered crops that choose the scales of int8


@dataclass(frozen=True)
class ExportReport:
    """How well an exported keypoint network keeps to the one that it was made of."""

    exact: Agreement  # through OpenVINO in f32: what storing weights in fewer bits costs
    fast: Agreement  # in the precision that OpenVINO chooses on this machine
    precision: str  # that one's name


def export_run(
    run: Path,
    out: Path,
    *,
    name: str | None = None,
    notes: str = "",
    attribution: str = "",
    object_names: Mapping[int, str] | None = None,
    detector: Path | None = None,
    int8: bool = False,
    int8_keypoints: bool = False,
    threshold: float = THRESHOLD,
    image_sizes: Sequence[int] | None = None,
) -> tuple[ExportReport, str | None]:
    """Turn a run folder into a bundle, once the exported network proves to be the trained one.

    Args:
        run: folder that `heatpose train keypoints` wrote.
        out: the bundle: NAME.heatpose, or a folder.
        name: of the bundle; by default that of ``out``.
        notes: figures and whatever else people should know; stands in the card.
        attribution: where the CAD models come from, and their licence.
        object_names: names by object id, for objects that should be called otherwise.
        detector: folder that `heatpose train detector` wrote, if the bundle is to hold one.
        int8: as for `bundled_detector`.
        int8_keypoints: whether the keypoint network is to compute in eight bits. It is faster and
            half as large, cannot be trained on, and what it costs is told, refused at no height.
        threshold: as for `bundled_detector`, and
        image_sizes: likewise.

    Returns:
        How well keypoint network and detector keep to the trained ones.

    Raises:
        CheckpointError: a run's network cannot be used, or its export differs from it.
        DataError: the run's objects cannot be used, or the bundle cannot be written.
        UnknownObjectError: a name is given for an object that the run does not have.
    """
    network, training = load_network(run / "network.safetensors")
    objects = _renamed(read_run_objects(run), object_names or {})
    if len(objects) != network.config.n_objects:
        raise CheckpointError(
            f"{run} has {len(objects)} objects but a network for {network.config.n_objects}"
        )
    if training.get("train", {}).get("sample", {}).get("stretched"):
        raise CheckpointError(f"{run} was trained on stretched crops, which bundles do not cut")
    crop, provenance = _crop_settings(network, training), _provenance(network, training)
    provenance = provenance.model_copy(update={"notes": notes, "meshes": attribution})
    exported = export_network(network)
    report = _check_export(network, exported, objects, crop)
    if int8_keypoints:
        exported, report = _in_eight_bits(network, objects, crop)
    name = name or out.stem
    small = tuple(_bundled(model) for model in objects)
    weights = "int8" if int8_keypoints else "float16"
    card = write_card(name, small, crop, provenance, str(report.exact), weights)
    bundle, found = Bundle(name, small, crop, exported, provenance, card), None
    if detector is not None:
        bundle, found = _joined(bundle, detector, int8, threshold, image_sizes)
    write_bundle(out, bundle)
    return report, found


def change_bundle(
    old: Path,
    out: Path,
    *,
    name: str | None = None,
    detector: Path | None = None,
    int8: bool = False,
    int8_keypoints: bool = False,
    threshold: float = THRESHOLD,
    image_sizes: Sequence[int] | None = None,
) -> tuple[ExportReport | None, str | None]:
    """Write a bundle anew with a detector, with keypoints in eight bits, or with both.

    A detector takes the place of one that the bundle may have. Objects, calibrations, and what the
    card says of all else stay as they are.

    Args:
        old: the bundle.
        out: the bundle to write; it may be the old one.
        name: of the bundle; by default that of ``out``.
        detector: folder that `heatpose train detector` wrote; None: the one there is stays.
        int8: as for `bundled_detector`.
        int8_keypoints: as for `export_run`.
        threshold: as for `bundled_detector`, and
        image_sizes: likewise.

    Returns:
        How well what is new keeps to the networks before: keypoints, and detector.

    Raises:
        BundleError: the old bundle cannot be used, or its keypoints are in eight bits already.
        CheckpointError: the run's network cannot be used, or its export differs from it.
        UnknownObjectError: the detector knows none of the bundle's objects.
    """
    bundle, report, found = replace(read_bundle(old), name=name or out.stem), None, None
    if int8_keypoints:
        network = import_network(bundle.network, NetworkConfig(**bundle.provenance.network))
        exported, report = _in_eight_bits(network.eval(), bundle.objects, bundle.crop)
        card = with_weights(bundle.card, "int8", str(report.exact))
        bundle = replace(bundle, network=exported, card=card)
    if detector is not None:
        bundle, found = _joined(bundle, detector, int8, threshold, image_sizes)
    write_bundle(out, bundle)
    return report, found


def _in_eight_bits(
    network: KeypointNet, objects: Sequence[ObjectModel], crop: CropSettings
) -> tuple[bytes, ExportReport]:
    """Export a keypoint network so that it computes in eight bits; views choose the scales."""
    each = -(-N_CALIBRATION // len(objects))
    views = rendered_crops(objects, crop.size, crop.margin, each, seed=1)
    exported = quantise_network(network, *views)
    return exported, _agreements(network, exported, objects, crop)


def _joined(
    bundle: Bundle, run: Path, int8: bool, threshold: float, image_sizes: Sequence[int] | None
) -> tuple[Bundle, str]:
    """Put the detector of a run into a bundle and onto its card."""
    detector, difference = bundled_detector(
        run, bundle.objects, int8=int8, threshold=threshold, image_sizes=image_sizes
    )
    agreement = described(difference)
    card = with_detector(bundle.card, bundle.name, bundle.objects, detector.settings, agreement)
    return replace(bundle, detector=detector, card=card), agreement


def read_run_objects(run: Path) -> list[ObjectModel]:
    """Read the objects of a run folder, in the order of the network's object_index.

    Raises:
        DataError: objects.json or a mesh is missing or cannot be used.
    """
    path = run / "objects.json"
    try:
        content = json.loads(path.read_text())
        number, records = content["format"], list(content["objects"])
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path} is not an objects.json of a training run") from None
    if number != OBJECTS_FORMAT:
        raise DataError(f"{path} has format {number!r}, this heatpose reads {OBJECTS_FORMAT}")
    return [object_from_record(record, run) for record in records]


def _bundled(model: ObjectModel) -> ObjectModel:
    """Return an object with a small mesh, which knows what was found on the whole one."""
    return replace(with_shape_symmetries(model), mesh=small_mesh(model.mesh))


def _renamed(objects: list[ObjectModel], names: Mapping[int, str]) -> list[ObjectModel]:
    known = [model.object_id for model in objects]
    for object_id in names:
        if object_id not in known:
            raise UnknownObjectError(f"object {object_id} is not one of {known}")
    return [replace(model, name=names.get(model.object_id, model.name)) for model in objects]


def _crop_settings(network: KeypointNet, training: Mapping[str, Any]) -> CropSettings:
    config = training.get("train", {})
    return CropSettings(
        size=network.config.crop_size,
        margin=config.get("sample", {}).get("margin", 1.4),
        stride=STRIDE,
        sigma=config.get("loss", {}).get("sigma", SIGMA),
        inputs=list(network.config.inputs),
        labels=config.get("labels", "colour"),
    )


def _provenance(network: KeypointNet, training: Mapping[str, Any]) -> Provenance:
    return Provenance(
        heatpose=heatpose.__version__,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        network=asdict(network.config),
        training=training.get("train", {}),
        samples=training.get("samples"),
        machine=str(training.get("machine", "")),
        meshes="",
        notes="",
    )


def _check_export(
    network: KeypointNet, exported: bytes, objects: Sequence[ObjectModel], crop: CropSettings
) -> ExportReport:
    report = _agreements(network, exported, objects, crop)
    exact = report.exact
    if exact.median > LARGEST_SHIFT or exact.heatmaps > LARGEST_DIFFERENCE:
        raise CheckpointError(
            f"the exported network differs from the trained one: keypoints by {exact}, "
            f"heatmaps by up to {exact.heatmaps:.3g}"
        )
    return report


def _agreements(
    network: KeypointNet, exported: bytes, objects: Sequence[ObjectModel], crop: CropSettings
) -> ExportReport:
    # Not for those who train, on machines that may not have it: they read what is here too.
    from heatpose.runtime.openvino_predictor import OpenVinoPredictor

    inputs = rendered_crops(objects, crop.size, crop.margin)
    truth = TorchPredictor(network)(*inputs)
    exact = compare(OpenVinoPredictor(exported, precision="f32")(*inputs), truth)
    usual = OpenVinoPredictor(exported)
    return ExportReport(exact, compare(usual(*inputs), truth), usual.precision)
