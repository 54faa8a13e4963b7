"""Time detectors on one frame of 640 x 480: sizes, input sizes, runtimes and precisions.

    python tools/bench_detectors.py --sizes n,s,m --image-sizes 640,320

prints a Markdown table of medians in ms, pre- and postprocessing included. Weights are random:
the time does not depend on them. All ways of one network take turns, so that what else the
machine does falls on all of them alike.
"""

import argparse
import functools
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch

from heatpose.data.backgrounds import generated_texture
from heatpose.evaluate.latency import machine
from heatpose.export.detector import export_detector, quantise_detector
from heatpose.geometry.camera import Camera
from heatpose.model.yolov10 import YoloConfig, YoloV10
from heatpose.runtime.detector import ObjectDetector
from heatpose.types import Detection, Observation

N_CLASSES = 8
WARM_UP = 5
CAMERA = Camera(fx=572.4, fy=573.6, cx=325.3, cy=242.0, width=640, height=480)
WAYS = ("OpenVINO bf16", "OpenVINO f32", "OpenVINO int8", "ONNX Runtime f32", "ONNX Runtime int8")

Run = Callable[[Observation], list[Detection]]


def main() -> None:
    """Time all that is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="n,s,m")
    parser.add_argument("--image-sizes", default="640,320")
    parser.add_argument("--trunk", action="store_true", help="behind that of a keypoint network")
    parser.add_argument("--runs", type=int, default=50, help="of each way")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    torch.manual_seed(0)
    cv2.setNumThreads(options.threads)
    rng = np.random.default_rng(0)
    frames = [Observation(generated_texture(rng, 480, 640), CAMERA) for _ in range(8)]
    print(f"{machine()}, {options.threads} threads, median ms of {options.runs} frames\n")
    print("| network | input | " + " | ".join(WAYS) + " |")
    print("|---|---|" + "---|" * len(WAYS))
    for size in options.sizes.split(","):
        network = YoloV10(YoloConfig(N_CLASSES, size, "resnet18" if options.trunk else "yolov10"))
        floating = export_detector(network)
        int8 = quantise_detector(floating, [frame.image for frame in frames])
        for image_size in map(int, options.image_sizes.split(",")):
            detectors = make_detectors(floating, int8, image_size, options.threads)
            medians = time_in_turns(detectors, frames, options.runs)
            cells = " | ".join(f"{medians[way]:.1f}" for way in WAYS)
            print(f"| YOLOv10{size} | {image_size} | {cells} |", flush=True)


def make_detectors(floating: bytes, int8: bytes, image_size: int, threads: int) -> dict[str, Run]:
    """Return a detector for each of the ways."""
    make = functools.partial(
        ObjectDetector,
        object_ids=range(1, N_CLASSES + 1),
        image_sizes=[image_size],
        threads=threads,
    )
    return {
        "OpenVINO bf16": make(floating, precision="bf16"),
        "OpenVINO f32": make(floating, precision="f32"),
        "OpenVINO int8": make(int8),
        "ONNX Runtime f32": make(floating, backend="onnxruntime"),
        "ONNX Runtime int8": make(int8, backend="onnxruntime"),
    }


def time_in_turns(
    detectors: dict[str, Run], frames: list[Observation], runs: int
) -> dict[str, float]:
    """Return the median time of each detector, ms."""
    times: dict[str, list[float]] = {way: [] for way in detectors}
    for number in range(WARM_UP + runs):
        frame = frames[number % len(frames)]
        for way, detect in detectors.items():
            start = time.perf_counter()
            detect(frame)
            times[way].append(1000 * (time.perf_counter() - start))
    return {way: float(np.median(each[WARM_UP:])) for way, each in times.items()}


if __name__ == "__main__":
    main()
