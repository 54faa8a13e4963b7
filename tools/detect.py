"""Write what a trained detector finds in the targets' images of a BOP data set, without poses.

    python tools/detect.py runs/detector lm --out detections.json
    heatpose eval detections.json --dataset lm --labelled-only

For detectors of objects that no keypoint network knows yet; `heatpose estimate` writes the same
file beside its poses. Takes about a tenth of a second an image on two cores.
"""

import argparse
from pathlib import Path

from rich.progress import track

from heatpose.data.bop import BopDataset, write_detections
from heatpose.data.images import read_image
from heatpose.export.bundled_detector import image_size_of
from heatpose.export.detector import export_detector
from heatpose.model.detector_weights import load_detector
from heatpose.runtime.detector import ObjectDetector
from heatpose.types import Observation


def main() -> None:
    """Read the arguments, detect, write."""
    parser = argparse.ArgumentParser(description="Detections in a BOP data set.")
    parser.add_argument("run", type=Path, help="run folder of heatpose train detector")
    parser.add_argument("dataset", type=Path, help="BOP data set")
    parser.add_argument("--split", default="test")
    parser.add_argument("--threshold", type=float, default=0.01)
    parser.add_argument("--out", type=Path, default=Path("detections.json"))
    given = parser.parse_args()
    network, notes = load_detector(given.run / "network.safetensors")
    detector = ObjectDetector(
        export_detector(network),
        notes["object_ids"],
        image_sizes=[image_size_of(notes["train"])],
        threshold=given.threshold,
    )
    dataset = BopDataset(given.dataset, given.split)
    found = {}
    for key in track(sorted({(t.scene_id, t.image_id) for t in dataset.targets()}), "detecting"):
        image = read_image(dataset.image_path(*key))
        found[key] = detector(Observation(image, dataset.camera(*key)))
    write_detections(given.out, found)
    print(f"{sum(map(len, found.values()))} detections in {len(found)} images: {given.out}")


if __name__ == "__main__":
    main()
