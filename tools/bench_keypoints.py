"""Time keypoint networks on crops: sizes, runtimes and precisions, one object and eight.

    python tools/bench_keypoints.py --threads 2

prints a Markdown table of medians in ms, from uint8 crops to heatmaps. Weights are random: the time
does not depend on them. All ways of one network take turns, so that what else the machine does
falls on all of them alike.
"""

import argparse
import time

import numpy as np
import torch

from heatpose.evaluate.latency import machine
from heatpose.export.int8 import quantise_network
from heatpose.export.onnx import export_network
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.runtime.openvino_predictor import OpenVinoPredictor
from heatpose.runtime.predictor import KeypointPredictor, open_predictor
from heatpose.runtime.torch_predictor import TorchPredictor

N_OBJECTS = 13
WARM_UP = 3
NETWORKS = {"accurate": 4, "fast": 3}  # stages of the trunk


def main() -> None:
    """Time all that is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crop-sizes", default="256,192,160")
    parser.add_argument("--counts", default="1,8", help="objects in a batch")
    parser.add_argument("--runs", type=int, default=30, help="of each way")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    print(f"{machine()}, {given.threads} threads, median ms of {given.runs} runs\n")
    for name, stages in NETWORKS.items():
        for size in map(int, given.crop_sizes.split(",")):
            network = KeypointNet(NetworkConfig(N_OBJECTS, crop_size=size, stages=stages)).eval()
            ways = predictors(network, size, given.threads)
            if name == "accurate" and size == int(given.crop_sizes.split(",")[0]):
                print("| network | parameters | crop | objects | " + " | ".join(ways) + " |")
                print("|---|---|---|---|" + "---|" * len(ways))
            millions = sum(p.numel() for p in network.parameters()) / 1e6
            for count in map(int, given.counts.split(",")):
                medians = time_in_turns(ways, size, count, given.runs)
                cells = " | ".join(f"{medians[way]:.1f}" for way in ways)
                print(f"| {name} | {millions:.2f} M | {size} | {count} | {cells} |", flush=True)


def predictors(network: KeypointNet, size: int, threads: int) -> dict[str, KeypointPredictor]:
    """Return the network in each of the ways to run it."""
    floating = export_network(network)
    crops, index = random_crops(size, 8)
    int8 = quantise_network(network, crops, index)
    return {
        "torch f32": TorchPredictor(network),
        "ONNX Runtime f32": open_predictor(floating, "onnxruntime", threads=threads),
        "ONNX Runtime int8": open_predictor(int8, "onnxruntime", threads=threads),
        "OpenVINO f32": OpenVinoPredictor(floating, precision="f32", threads=threads),
        "OpenVINO bf16": OpenVinoPredictor(floating, precision="bf16", threads=threads),
        "OpenVINO int8": OpenVinoPredictor(int8, threads=threads),
    }


def random_crops(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return crops (b, s, s, 3) and object indices (b,)."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (count, size, size, 3), np.uint8), np.arange(count) % N_OBJECTS


def time_in_turns(
    ways: dict[str, KeypointPredictor], size: int, count: int, runs: int
) -> dict[str, float]:
    """Return the median time of each way, ms."""
    crops, index = random_crops(size, count)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(WARM_UP + runs):
        for way, predict in ways.items():
            start = time.perf_counter()
            predict(crops, index)
            times[way].append(1000 * (time.perf_counter() - start))
    return {way: float(np.median(each[WARM_UP:])) for way, each in times.items()}


if __name__ == "__main__":
    main()
