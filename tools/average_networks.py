"""Average the weights of networks that one training has brought, as a run of its own.

    python tools/average_networks.py runs/a runs/b runs/c --out runs/average
    heatpose export runs/average --out average.heatpose

Each run folder needs network.safetensors, objects.json and models/. Networks that lie on one path
of training (stages of a run that were copied aside, runs that went on from each other) are near
enough to each other for that: what each learned of the quirks of renderings is averaged out, and
photographs are seen better (Izmailov et al., 2018, arXiv 1803.05407; for other domains than the one
trained on: Wortsman et al., 2022, arXiv 2109.01903).
"""

import argparse
import shutil
from pathlib import Path

import torch

from heatpose.model.weights import load_network, save_network


def main() -> None:
    """Read the networks, average them, write a run folder that can be exported."""
    parser = argparse.ArgumentParser(description="Average networks of one training.")
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, the one that counts first")
    parser.add_argument("--out", type=Path, required=True, help="run folder to write")
    given = parser.parse_args()
    networks = [load_network(run / "network.safetensors") for run in given.runs]
    first, notes = networks[0]
    for run, (network, _) in zip(given.runs, networks, strict=True):
        if network.config != first.config:
            parser.error(f"{run} has another network than {given.runs[0]}")
    states = [network.state_dict() for network, _ in networks]
    mean = {
        name: torch.stack([state[name].float() for state in states]).mean(0).to(tensor.dtype)
        for name, tensor in states[0].items()
    }
    first.load_state_dict(mean)
    given.out.mkdir(parents=True)
    shutil.copy(given.runs[0] / "objects.json", given.out)
    shutil.copytree(given.runs[0] / "models", given.out / "models")
    save_network(given.out / "network.safetensors", first, notes)
    print(f"mean of {len(networks)} networks in {given.out}")


if __name__ == "__main__":
    main()
