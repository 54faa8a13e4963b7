"""The card of a bundle: what its network is and is not, for people."""

import json
from collections.abc import Sequence

from heatpose.objects.catalogue import ObjectModel
from heatpose.runtime.bundle_record import CropSettings, Provenance

NOT_STATED = "Not stated."


def write_card(
    name: str,
    objects: Sequence[ObjectModel],
    crop: CropSettings,
    provenance: Provenance,
    agreement: str,
) -> str:
    """Return the card of a bundle as Markdown; agreement is that of export and training."""
    return f"""# {name}

A keypoint network for {len(objects)} objects. From a square crop of a photograph around one of
them it finds the object's keypoints; with the camera they give its pose (position and rotation).

{_objects_table(objects)}

Crops are {crop.size} x {crop.size} px, {crop.margin:g} times the longer side of the object's box.
The network has {provenance.network.get("n_keypoints", "?")} keypoints for each object, and takes
boxes from a detector, or from a file: it does not find objects by itself.

## Figures

{provenance.notes or NOT_STATED}

## Training

{_training(provenance)}

## The meshes

The small meshes in this bundle are simplified copies of the CAD models; they serve pictures only.
Where the CAD models come from, and their licence:

{provenance.meshes or NOT_STATED}

## How to use it

```sh
heatpose estimate IMAGES... --bundle {name}.heatpose --camera camera.json \\
    --boxes boxes.json --out out
```

`keypoints.onnx` has inputs `crops`, float32 (b, 3, {crop.size}, {crop.size}), RGB in [0, 1], and
`object_index`, int64 (b,), the row in the table above counted from 0. Its output is `heatmaps`,
float32 (b, k, {crop.size // crop.stride}, {crop.size // crop.stride}), probabilities over the
pixels of each map. Keypoints, diameters and symmetries (mm) are in `bundle.json`.

The weights are stored as float16. On rendered views the keypoints lie {agreement} from those of
the network as it was trained (px of the crop, computed in f32).

Written by heatpose {provenance.heatpose} on {provenance.date[:10]}.
"""


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
