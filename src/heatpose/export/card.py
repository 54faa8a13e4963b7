"""The card of a bundle: what its network is and is not, for people."""

import json
from collections.abc import Sequence

from heatpose.objects.catalogue import ObjectModel
from heatpose.runtime.bundle_record import CropSettings, DetectorSettings, Provenance
from heatpose.solve.probability import Calibration

NOT_STATED = "Not stated."
SHAPE_LABELS = """
Keypoints tell no more of how an object is turned than its shape does: where that leaves several
turns open, heatpose holds the colours of the model against the picture.
"""
DETECTOR_HEAD = "## The detector"  # after the keypoints' part of a card, where there is one
WEIGHTS_START = "The weights are stored as "
WEIGHTS_END = "from those of\nthe network as it was trained (px of the crop, computed in f32)."
CALIBRATION_HEAD = "## How sure it is"  # the last part of a card, where there is one


def write_card(
    name: str,
    objects: Sequence[ObjectModel],
    crop: CropSettings,
    provenance: Provenance,
    agreement: str,
    weights: str = "float16",
) -> str:
    """Return the card of a bundle as Markdown.

    Args:
        name: of the bundle.
        objects: that its keypoint network knows.
        crop: what that network takes.
        provenance: how it was trained.
        agreement: of the network as exported with that as trained, in words.
        weights: what the exported ones are stored as.
    """
    return f"""# {name}

A keypoint network for {len(objects)} objects. From a square crop of a photograph around one of
them it finds the object's keypoints; with the camera they give its pose (position and rotation).

{_objects_table(objects)}

Crops are {crop.size} x {crop.size} px, {crop.margin:g} times the longer side of the object's box.
The network has {provenance.network.get("n_keypoints", "?")} keypoints for each object, and takes
boxes from a detector, or from a file: by itself it does not find objects.

## Figures

{provenance.notes or NOT_STATED}

## Training

{_training(provenance)}

## The meshes

The small meshes in this bundle are simplified copies of the CAD models: by them outlines are
compared with the picture, and drawn.
Where the CAD models come from, and their licence:

{provenance.meshes or NOT_STATED}

## How to use it

```sh
heatpose estimate IMAGES... --bundle {name}.heatpose --camera camera.json \\
    --boxes boxes.json --out out
```

{_inputs(crop)} Its output is `heatmaps`,
float32 (b, k, {crop.size // crop.stride}, {crop.size // crop.stride}), probabilities over the
pixels of each map. Keypoints, diameters and symmetries (mm) are in `bundle.json`.
{SHAPE_LABELS if crop.labels == "shape" else ""}
{_weights(weights, agreement)}

Written by heatpose {provenance.heatpose} on {provenance.date[:10]}.
"""


def with_weights(card: str, weights: str, agreement: str) -> str:
    """Return a card whose keypoint network is now stored in another way, if it said so before.

    Args:
        card: of a bundle.
        weights: what the network's are stored as.
        agreement: of the network with that as trained, in words.
    """
    before, _, after = card.partition(WEIGHTS_START)
    _, found, rest = after.partition(WEIGHTS_END)
    return before + _weights(weights, agreement) + rest if found else card


def _weights(weights: str, agreement: str) -> str:
    views = f"On rendered views the keypoints lie {agreement}"
    return f"{WEIGHTS_START}{weights}. {views} {WEIGHTS_END}"


def with_detector(
    card: str,
    name: str,
    objects: Sequence[ObjectModel],
    settings: DetectorSettings,
    agreement: str,
) -> str:
    """Return a card that says what the bundle's detector is; of one before nothing is left.

    Args:
        card: of the keypoint network, or with a detector.
        name: of the bundle.
        objects: those of the keypoint network.
        settings: of the detector.
        agreement: how well its export keeps to the trained detector.
    """
    card, _, sureness = card.partition(f"\n{CALIBRATION_HEAD}\n")
    keypoint_part = card.partition(f"\n{DETECTOR_HEAD}\n")[0].rstrip("\n")
    samples = "an unknown number of" if settings.samples is None else f"{settings.samples:,}"
    # Those of no data set were drawn where it was trained.
    source = f"of {', '.join(settings.datasets)}" if settings.datasets else "drawn from CAD models"
    return f"""{keypoint_part}

{DETECTOR_HEAD}

`detector.onnx` finds the objects, so that no boxes need to be given:

```sh
heatpose estimate IMAGES... --bundle {name}.heatpose --camera camera.json --out out
```

It is a YOLOv10{settings.network.get("size", "")}{_behind_trunk(settings)} for pictures whose
longer side is {_sides(settings)} px; its classes are the objects
{_listed(settings.object_ids)}. A detection
counts from a score of {settings.threshold:g} on. Its weights are stored as {settings.weights}.
Beside the detector as it was trained: {agreement}.
{_mismatch(objects, settings)}
Trained on {samples} samples {source}.
Machine: {settings.machine or "not stated"}. Configuration:

```json
{json.dumps(settings.training)}
```
""" + (f"\n{CALIBRATION_HEAD}\n{sureness}" if sureness else "")


def _sides(settings: DetectorSettings) -> str:
    return " and ".join(f"{side}" for side in settings.image_sizes)


def _behind_trunk(settings: DetectorSettings) -> str:
    if settings.network.get("backbone") != "resnet18":
        return ""
    return " behind the trunk of a keypoint network,"


def with_calibration(card: str, calibration: Calibration, learned_on: str, checked: str) -> str:
    """Return a card that says what the bundle's probabilities are worth.

    Args:
        card: of a bundle, calibrated or not. What it says of poses found in another way stays.
        calibration: that was learned.
        learned_on: how many poses of what, in words.
        checked: what each fifth of them is worth by what the others teach, in words.
    """
    kept, _, before = card.partition(f"\n{CALIBRATION_HEAD}\n")
    kept = kept.rstrip("\n")
    besides = ", with depth" * calibration.depth + ", on tables" * calibration.table
    besides += ", without outlines" * (not calibration.outline)
    way = f"* {calibration.looks} x {calibration.passes}{besides}: "
    others = [
        line for line in before.splitlines() if line.startswith("* ") and not line.startswith(way)
    ]
    lines = "\n".join([*others, f"{way}learned on {learned_on}; checked, {checked}."])
    return f"""{kept}

{CALIBRATION_HEAD}

`probability` in poses.json is that of no point of the object being off by more than a tenth of its
diameter. By looks at an object x passes, and checked on each fifth of the scenes by what the others
teach:

{lines}
"""


def _inputs(crop: CropSettings) -> str:
    """Say what the keypoint network takes, as a few lines."""
    text = ""
    if "crops" in crop.inputs:
        text += f"`crops`, float32 (b, 3, {crop.size}, {crop.size}), RGB in [0, 1],"
    if "depth" in crop.inputs:
        text += f"""{" " if text else ""}`depth`, float32 (b, 2, {crop.size}, {crop.size}),
the depth of the crop relative to that of its middle, in halves of what the crop is wide there, from
-2 to 2, and 1 where it was measured (both 0 elsewhere),"""
    return f"""`keypoints.onnx` has inputs {text} and
`object_index`, int64 (b,), the row in the table above counted from 0."""


def _mismatch(objects: Sequence[ObjectModel], settings: DetectorSettings) -> str:
    """Say which objects only one of the two networks knows, as paragraphs."""
    lacking = [
        f"{o.name} ({o.object_id})" for o in objects if o.object_id not in settings.object_ids
    ]
    other = [i for i in settings.object_ids if i not in {one.object_id for one in objects}]
    text = ""
    if lacking:
        text += f"\n**Warning: it does not know {', '.join(lacking)}, which are never found.**\n"
    if other:
        text += (
            f"\nDetections of the objects {_listed(other)} are passed over: the keypoint network\n"
        )
        text += "does not know them.\n"
    return text


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))


def _objects_table(objects: Sequence[ObjectModel]) -> str:
    rows = ["| id | object | diameter, mm | symmetries |", "|---|---|---|---|"]
    for one in objects:
        symmetries = len(one.symmetries) - 1 or "none"
        rows.append(f"| {one.object_id} | {one.name} | {one.diameter:.1f} | {symmetries} |")
    return "\n".join(rows)


def _training(provenance: Provenance) -> str:
    samples = "an unknown number of" if provenance.samples is None else f"{provenance.samples:,}"
    config = json.dumps(provenance.training)
    return (
        f"Trained on {samples} views rendered from the CAD models, no photographs of the objects "
        f"among them.\nMachine: {provenance.machine or 'not stated'}. "
        f"Configuration:\n\n```json\n{config}\n```"
    )
