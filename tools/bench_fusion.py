"""Time keypoint networks that differ in what they do with depth.

    python tools/bench_fusion.py --threads 1

prints a Markdown table: parameters, and medians in ms from bytes and relative depth to heatmaps.
Weights are random: the time does not depend on them. All networks take turns, so that what else
the machine does falls on all alike. Where it does much, --cpu-time counts the time for which this
program had the processor, which on one thread is what it would take alone.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from heatpose.evaluate.latency import machine
from heatpose.export.onnx import export_network
from heatpose.model.fusion import DEPTH_CHANNELS, FUSIONS
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.runtime.predictor import KeypointPredictor, open_predictor

WARM_UP = 2
WAYS = {
    "OpenVINO f32": {"precision": "f32"},
    "OpenVINO bf16": {"precision": "bf16"},
    "ONNX Runtime f32": {"backend": "onnxruntime"},
}

Run = Callable[[], object]


def main() -> None:
    """Time all that is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fusions", default=",".join(FUSIONS))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--crop-size", type=int, default=256)
    parser.add_argument("--crops", default="1,8", help="at a time")
    parser.add_argument("--objects", type=int, default=8)
    parser.add_argument("--runs", type=int, default=20, help="of each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()

    counts, ways = [int(n) for n in options.crops.split(",")], options.ways.split(",")
    size, runs, sizes = options.crop_size, {}, {}
    for fusion in options.fusions.split(","):
        network = KeypointNet(NetworkConfig(options.objects, crop_size=size, fusion=fusion))
        sizes[fusion] = sum(p.numel() for p in network.parameters())
        exported = export_network(network)
        for way in ways:
            predictor = open_predictor(exported, threads=options.threads, **WAYS[way])
            for count in counts:
                runs[fusion, way, count] = prepared(predictor, count, size)
    clock = time.process_time if options.cpu_time else time.perf_counter
    medians = time_in_turns(runs, options.runs, clock)
    what = f"{options.threads} threads, {size} px, median ms of {options.runs} runs"
    print(f"{machine()}, {what}{', processor time' if options.cpu_time else ''}\n")
    heads = [f"{way}, {count} crops" for way in ways for count in counts]
    print(f"| fusion | parameters, M | {' | '.join(heads)} |")
    print("|---|---|" + "---|" * len(heads))
    for fusion, parameters in sizes.items():
        cells = [f"{medians[fusion, way, count]:.1f}" for way in ways for count in counts]
        print(f"| {fusion} | {parameters / 1e6:.2f} | {' | '.join(cells)} |")


def prepared(predictor: KeypointPredictor, count: int, size: int) -> Run:
    """Return what predicts some crops."""
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    depth = rng.uniform(-1, 1, (count, DEPTH_CHANNELS, size, size)).astype(np.float32)
    depth[:, 1] = 1
    return lambda: predictor(crops, np.zeros(count, int), depth)


def time_in_turns(
    each: dict[tuple[str, str, int], Run], runs: int, clock: Callable[[], float]
) -> dict[tuple[str, str, int], float]:
    """Return the median time of each, ms."""
    times: dict[tuple[str, str, int], list[float]] = {name: [] for name in each}
    for _ in range(WARM_UP + runs):
        for name, run in each.items():
            start = clock()
            run()
            times[name].append(1000 * (clock() - start))
    return {name: float(np.median(one[WARM_UP:])) for name, one in times.items()}


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
