"""Say what the Monte Carlo term costs a training step, and how strongly it pulls.

    python tools/bench_monte_carlo.py --objects lmo/models --init lmo.heatpose --crop-size 192

Times are processor time of one thread, so that other programs on the machine disturb less. Pulls
are norms of the gradient by the heatmaps' logits, of each term with a weight of one.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import default_collate

from heatpose.data.samples import SampleConfig, SampleStream
from heatpose.model.network import NetworkConfig
from heatpose.train.config import TrainConfig
from heatpose.train.losses import LossConfig, keypoint_loss
from heatpose.train.module import KeypointTraining
from heatpose.train.start import find_objects, make_maker, make_network


def main() -> None:
    """Make one batch, and go through its loss with and without the term."""
    parser = argparse.ArgumentParser(description="What the Monte Carlo term costs.")
    parser.add_argument("--objects", type=Path, required=True, help="BOP models folder")
    parser.add_argument("--init", type=Path, help="bundle or network.safetensors; else fresh")
    parser.add_argument("--crop-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)

    objects = find_objects([given.objects], None, 32, "fps")
    config = TrainConfig(sample=SampleConfig(crop_size=given.crop_size))
    maker = make_maker(objects, None, config.sample)
    stream = SampleStream(maker, given.batch_size, seed=0)
    batch = default_collate([stream[i] for i in range(given.batch_size)])
    network = make_network(
        NetworkConfig(len(objects), crop_size=given.crop_size), 0, init=given.init, objects=objects
    )
    module = KeypointTraining(network, objects, config)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return module.loss(module.network, batch)[1]

    logits = forward().detach().float()
    keypoints, targets = module.labels(
        batch["object_index"],
        batch["camera_matrix"],
        batch["camera_from_object"],
        given.crop_size,
    )

    def loss(**weights: float) -> Callable[[], Tensor]:
        terms = LossConfig(**{"heatmap": 0.0, "reprojection": 0.0, **weights})

        def backward() -> Tensor:
            leaf = logits.clone().requires_grad_()
            found = keypoint_loss(leaf, keypoints, terms, targets)
            found.total.backward()
            assert leaf.grad is not None
            return leaf.grad

        return backward

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            found, _ = module.loss(module.network, batch)
        found.total.backward()

    without, alone = seconds(step, given.repeats), seconds(loss(heatmap=1.0), given.repeats)
    term = seconds(loss(heatmap=1.0, monte_carlo=0.01), given.repeats) - alone
    print(f"a step without the term {without:.3f} s, the term {term:.4f} s: {term / without:.1%}")
    whole = replace(LossConfig(), pose=1.0, monte_carlo=1.0)
    with torch.no_grad():
        found = keypoint_loss(logits, keypoints, whole, targets)
    for name in ("heatmap", "reprojection", "pose", "monte_carlo"):
        pull = loss(**{name: 1.0})().norm().item()
        print(f"{name}: {getattr(found, name).item():.3f}, pull {pull:.4f}")
    print(f"left out: {found.left_out.item():.0f} of {given.batch_size}")


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of runs, after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
