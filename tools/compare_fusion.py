"""Train keypoint networks that differ in what they do with depth on the same samples.

    python tools/compare_fusion.py --objects lmo/models --ids 1,5,8 --backgrounds photos/ \\
        --init demo/lmo.heatpose --samples 1600 --crop-size 96

prints a Markdown table: loss and median distance of keypoints, on samples that none was trained on,
with all of their depth and without any. All networks take their steps in turns, on one batch after
the other, so that none has other samples or another machine. A network of depth alone gets crops
without depth, too, from which it learns nothing. With --out N and then --start N --first 1600 the
same networks go on with the samples that come next.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import default_collate

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.depth_samples import DepthConfig
from heatpose.data.samples import SampleConfig, SampleMaker, SampleStream
from heatpose.data.views import ViewConfig
from heatpose.evaluate.latency import machine
from heatpose.model.fusion import FUSIONS, Fusion
from heatpose.model.network import NetworkConfig
from heatpose.model.weights import load_network, save_network
from heatpose.objects.catalogue import ObjectModel, read_models
from heatpose.train.config import TrainConfig
from heatpose.train.contact_sheet import decoded_error
from heatpose.train.losses import keypoint_loss
from heatpose.train.module import KeypointTraining
from heatpose.train.start import make_network
from heatpose.train.training import Batch

N_KEYPOINTS = 32


def main() -> None:
    """Train all that is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=Path, required=True, help="BOP models folder")
    parser.add_argument("--ids", help="of the objects, such as 1,5,8; all of the folder without it")
    parser.add_argument("--backgrounds", type=Path)
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--init", type=Path, help="network or bundle of colours to start from")
    parser.add_argument("--start", type=Path, help="folder of an earlier --out, to go on from")
    parser.add_argument("--first", type=int, default=0, help="number of the first sample")
    parser.add_argument("--fusions", default=",".join(FUSIONS))
    parser.add_argument("--samples", type=int, default=1600)
    parser.add_argument("--unseen", type=int, default=192)
    parser.add_argument("--crop-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--upright", type=float, default=0.0, help="share of views from above")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the networks")
    options = parser.parse_args()

    models = read_models(options.objects, N_KEYPOINTS, "fps", max_symmetry_step=0.1)
    ids = [int(one) for one in options.ids.split(",")] if options.ids else sorted(models)
    objects = [models[one] for one in ids]
    config = TrainConfig(
        samples=options.samples,
        samples_per_epoch=options.samples,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        sample=SampleConfig(
            crop_size=options.crop_size,
            views=ViewConfig(upright=options.upright),
            depth=DepthConfig(),
        ),
    )
    scenery = Backgrounds(options.backgrounds)
    modules = {
        fusion: make_module(fusion, objects, config, options.backbone, options.init)
        for fusion in options.fusions.split(",")
    }
    whole = replace(config.sample, depth=DepthConfig(missing=0, holes=0))
    unseen = SampleStream(SampleMaker(objects, scenery, whole), options.unseen, config.seed + 1)
    batch = default_collate([unseen[i] for i in range(len(unseen))])
    for fusion, module in modules.items() if options.start else ():
        earlier, _ = load_network(options.start / f"{fusion}.safetensors")
        module.network.load_state_dict(earlier.state_dict())
        module.average.load_state_dict(earlier.state_dict())
    first = next(iter(modules))
    before = judge(modules[first], batch, True)
    maker = SampleMaker(objects, scenery, config.sample)
    length = config.steps * config.batch_size
    train(modules, SampleStream(maker, length, config.seed, options.first))
    print(f"{machine()}; {config.steps} steps of {config.batch_size} samples, {len(unseen)} unseen")
    print(f"before training {first} has a loss of {before[0]:.2f}, and {before[1]:.2f} px\n")
    print_losses(modules, batch, options.out, ids)


def print_losses(
    modules: dict[Fusion, KeypointTraining],
    batch: Batch,
    out: Path | None,
    ids: list[int],
) -> None:
    """Print the loss of each network on samples that none has seen, and save it if asked to."""
    print("| fusion | parameters, M | with depth | without |")
    print("|---|---|---|---|")
    for fusion, module in modules.items():
        size = sum(p.numel() for p in module.average.parameters()) / 1e6
        after = [judge(module, batch, depth) for depth in (True, False)]
        cells = [f"{loss:.2f}, {px:.2f} px" for loss, px in after]
        print(f"| {fusion} | {size:.2f} | {' | '.join(cells)} |", flush=True)
        if out:
            out.mkdir(parents=True, exist_ok=True)
            save_network(out / f"{fusion}.safetensors", module.average, {"ids": ids})


def make_module(
    fusion: Fusion,
    objects: list[ObjectModel],
    config: TrainConfig,
    backbone: Path | None,
    init: Path | None,
) -> KeypointTraining:
    """Return a network with what its training needs."""
    size = config.sample.crop_size
    network = NetworkConfig(len(objects), N_KEYPOINTS, crop_size=size, fusion=fusion)
    if fusion == "none":
        config = replace(config, sample=replace(config.sample, depth=None))
    start = make_network(network, config.seed, backbone, init, objects)
    return KeypointTraining(start, objects, config)


def train(modules: dict[Fusion, KeypointTraining], stream: SampleStream) -> None:
    """Take all steps of all networks, one batch after the other."""
    config = next(iter(modules.values())).config
    optimisers = {fusion: module.configure_optimizers() for fusion, module in modules.items()}
    started = time.monotonic()
    for step in range(config.steps):
        first = step * config.batch_size
        batch = default_collate([stream[first + i] for i in range(config.batch_size)])
        losses = {}
        for fusion, module in modules.items():
            optimiser = optimisers[fusion]["optimizer"]
            module.network.train()
            with torch.autocast("cpu", torch.bfloat16):
                loss = module.loss(module.network, batch)[0].total
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.network.parameters(), config.clip)
            optimiser.step()
            optimisers[fusion]["lr_scheduler"]["scheduler"].step()
            module.follow(step + 1)
            losses[fusion] = f"{fusion} {loss.detach():.2f}"
        if (step + 1) % 25 == 0:
            left = (time.monotonic() - started) / (step + 1) * (config.steps - step - 1)
            print(f"step {step + 1}: {', '.join(losses.values())}; {left:.0f} s", file=sys.stderr)


def judge(module: KeypointTraining, batch: Batch, depth: bool) -> tuple[float, float]:
    """Return loss and median distance, crop px, of the averaged network's keypoints."""
    network, labels = module.average, module.labels
    crops = batch["crop"].permute(0, 3, 1, 2).float() / 255
    measured = batch["depth"] if depth else None
    with torch.no_grad():
        logits = network(crops, batch["object_index"], measured)
    truth, _ = labels(
        batch["object_index"], batch["camera_matrix"], batch["camera_from_object"], crops.shape[-1]
    )
    loss = keypoint_loss(logits, truth, module.config.loss)
    return float(loss.total), decoded_error(logits, labels, batch)


if __name__ == "__main__":
    main()
