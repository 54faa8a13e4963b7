"""The studies, each a list of rows.

What the founding paper (arXiv 2605.08059) claims is measured as it was: by what a change brings to
a network that is otherwise the same, on ADD below a tenth of the diameter.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from heatpose.data.depth_samples import DepthConfig
from heatpose.model.fusion import Fusion
from heatpose.model.network import NetworkConfig
from heatpose.model.resnet import Activation
from heatpose.objects.chosen_keypoints import read_chosen
from heatpose.objects.keypoints import Strategy
from heatpose.study.recipes import BOX, BOXES, baseline, ladder
from heatpose.study.rows import Claim, Row, SolveConfig, Study, StudyOptions
from heatpose.train.config import Schedule, TrainConfig

NUMBERS = (8, 16, 32, 64)
NO_ROWS = {"bbox", "candidates"}  # of strategies: it has its own, and what is no choice yet
HOW_CHOSEN = {
    "fps": "points far from each other",
    "uniform": "random points on the surface",
    "curvature": "strongly bent places",
    "learned": "points that a network finds well and that fix the pose",
}


def keypoints(options: StudyOptions, network: NetworkConfig, train: TrainConfig) -> Study:
    """Strategy times number, beside the corners of the bounding box."""
    rows = [
        Row(
            BOXES,
            "corners and centre of the bounding box, 9 points",
            replace(network, n_keypoints=BOX),
            train,
            "bbox",
            line="bbox",
            at=BOX,
        )
    ]
    ways: list[tuple[str, Strategy, Path | None, Sequence[int]]] = [
        (strategy, strategy, None, NUMBERS)
        for strategy in get_args(Strategy)
        if strategy not in NO_ROWS
    ]
    if options.keypoints is not None:
        name, chosen = read_chosen(options.keypoints)
        most = min(len(one.keypoints) for one in chosen.values())
        ways.append((name, "fps", options.keypoints, [n for n in NUMBERS if n <= most]))
    rows += [
        Row(
            f"{name} {number}",
            f"{number} {HOW_CHOSEN.get(name, name)}",
            replace(network, n_keypoints=number),
            train,
            strategy,
            chosen=file,
            line=name,
            at=number,
        )
        for name, strategy, file, numbers in ways
        for number in numbers
    ]
    return Study(
        "keypoints",
        "Which points of an object should a network look for, and how many?",
        tuple(rows),
        "All rows see the same samples in the same order; they differ in the last layer alone.",
        (
            Claim(
                "points on the surface are 3 points better than box corners", "fps 32", BOXES, 0.03
            ),
        ),
    )


def activation(options: StudyOptions, network: NetworkConfig, train: TrainConfig) -> Study:
    """What stands between the layers."""
    titles = {"relu": "ReLU", "silu": "SiLU", "mish": "Mish"}
    rows = [
        Row(
            titles[kind],
            f"{titles[kind]} in the whole network",
            replace(network, activation=kind),
            train,
        )
        for kind in get_args(Activation)
    ]
    return Study(
        "activation",
        "Does a smooth activation help?",
        tuple(rows),
        "The pretrained trunk was trained with ReLU: the others begin with a handicap.",
        (Claim("SiLU is 1.5 points better than ReLU", "SiLU", "ReLU", 0.015),),
    )


def schedule(options: StudyOptions, network: NetworkConfig, train: TrainConfig) -> Study:
    """How the learning rate goes on."""
    texts: dict[Schedule, str] = {
        "constant": "the learning rate stays what it is after the warm-up",
        "cosine": "it falls as a cosine",
        "one-cycle": "it rises for three tenths of the steps, then falls as a cosine",
    }
    rows = [Row(kind, text, network, replace(train, schedule=kind)) for kind, text in texts.items()]
    return Study(
        "schedule",
        "Does it pay to lower the learning rate?",
        tuple(rows),
        "The learning rate is stepped with every batch. What is tried is the moving average of the "
        "weights, in all rows: it does a part of what a schedule does.",
        (Claim("a cosine schedule is 1.5 points better than none", "cosine", "constant", 0.015),),
    )


def precision(options: StudyOptions, network: NetworkConfig, train: TrainConfig) -> Study:
    """What training computes in."""
    rows = (
        Row("fp32", "all in 32 bits", network, replace(train, bf16=False)),
        Row("bf16", "mixed: products in 16 bits", network, replace(train, bf16=True)),
    )
    return Study(
        "precision",
        "What does training in bfloat16 cost, and how much faster is it?",
        rows,
        "Networks are tried in 32 bits in both rows.",
    )


def fusion(options: StudyOptions, network: NetworkConfig, train: TrainConfig) -> Study:
    """Where depth comes in."""
    texts: dict[Fusion, str] = {
        "early": "depth enters the first convolution",
        "late": "a trunk for depth, joined before the decoder",
        "cross": "a trunk for depth, joined after each stage",
    }
    deep = replace(train, sample=replace(train.sample, depth=DepthConfig()))
    rows = [Row("none", "colours alone", network, train)]
    rows += [Row(kind, text, replace(network, fusion=kind), deep) for kind, text in texts.items()]
    rows.append(
        Row(
            "afterwards",
            "colours alone, and depth corrects the pose without a network",
            network,
            train,
            solve=SolveConfig(depth=True),
        )
    )
    return Study(
        "fusion",
        "What does depth bring, and where should it come in?",
        tuple(rows),
        "Samples have the depth of random rendered depth cameras. A data set without depth shows "
        "what a network of depth makes of colours alone.",
        (Claim("depth in the network brings 8 points", "cross", "none", 0.08),),
    )


Maker = Callable[[StudyOptions, NetworkConfig, TrainConfig], Study]
STUDIES: dict[str, Maker] = {
    one.__name__: one
    for one in (keypoints, activation, schedule, precision, fusion, baseline, ladder)
}


def make_study(name: str, options: StudyOptions, n_objects: int) -> Study:
    """Return a study of that name.

    Args:
        name: one of `STUDIES`.
        options: what all rows have in common.
        n_objects: how many are learned.

    Raises:
        ValueError: the options cannot be used together.
    """
    return STUDIES[name](options, options.network(n_objects), options.training())
