"""The studies, each a list of rows.

What the founding paper (arXiv 2605.08059) claims is measured as it was: by what a change brings to
a network that is otherwise the same, on ADD below a tenth of the diameter.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

from heatpose.data.depth_samples import DepthConfig
from heatpose.model.fusion import Fusion
from heatpose.model.network import NetworkConfig
from heatpose.model.resnet import Activation
from heatpose.objects.keypoints import Strategy
from heatpose.study.rows import Claim, Row, SolveConfig, Study, StudyOptions
from heatpose.train.config import Schedule, TrainConfig
from heatpose.train.losses import LossConfig

NUMBERS = (8, 16, 32, 64)
PAPERS = 50  # keypoints of an object in the paper
BOX = 9  # corners and centre of the bounding box
BOXES = "box corners"
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
    for strategy in get_args(Strategy):
        if strategy == "bbox":
            continue
        for number in NUMBERS:
            rows.append(
                Row(
                    f"{strategy} {number}",
                    f"{number} {HOW_CHOSEN.get(strategy, strategy)}",
                    replace(network, n_keypoints=number),
                    train,
                    strategy,
                    line=strategy,
                    at=number,
                )
            )
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


def baseline(options: StudyOptions, network: NetworkConfig, train: TrainConfig) -> Study:
    """The paper's recipe, its own variants of it, and ours."""
    network, first = replace(network, n_keypoints=PAPERS), papers_training(train)
    papers = Row(
        "paper",
        f"the paper's recipe: {PAPERS} points far from each other, ReLU, constant learning rate",
        network,
        first,
        symmetric=False,
        solve=PAPERS_SOLVE,
    )
    ours, silu = replace(network, n_keypoints=32), replace(network, activation="silu")
    rows = (
        papers,
        replace(
            papers,
            name=BOXES,
            change="its recipe with the corners and centre of the box",
            network=replace(network, n_keypoints=BOX),
            strategy="bbox",
        ),
        replace(papers, name="SiLU", change="its recipe with SiLU", network=silu),
        replace(
            papers,
            name="cosine",
            change="its recipe with a cosine schedule",
            train=replace(first, schedule="cosine"),
        ),
        Row("ours", "this project's recipe", ours, knowing_poses(train), solve=OURS),
    )
    return Study(
        "baseline",
        "What does the founding paper's recipe reach, as its authors ran it?",
        rows,
        RECIPE,
        (
            Claim(
                "points on the surface are 3 points better than box corners", "paper", BOXES, 0.03
            ),
            Claim("SiLU is 1.5 points better than ReLU", "SiLU", "paper", 0.015),
            Claim("a cosine schedule is 1.5 points better than none", "cosine", "paper", 0.015),
        ),
    )


RECIPE = (
    "The paper's recipe: the tight box stretched to a square, heatmaps read at their highest "
    "pixel, no augmentation, symmetries ignored, OpenCV's RANSAC and PnP without weights. The "
    "trunk, the decoder, the optimiser and the cross-entropy of the heatmaps are this project's "
    "in all rows, and so are samples and boxes."
)
PAPERS_SOLVE = SolveConfig(decoding="argmax", solver="plain")
OURS = SolveConfig(outline=True)


def papers_training(train: TrainConfig) -> TrainConfig:
    """Return how the paper's authors trained, as far as this project can."""
    bare = replace(
        train.sample,
        stretched=True,
        margin=1.0,
        degraded=False,
        cut_outs=0.0,
        box_edge=0.0,
        box_cut=0.0,
    )
    return replace(
        train, schedule="constant", sample=bare, loss=LossConfig(reprojection=0.0, pose=0.0)
    )


def knowing_poses(train: TrainConfig) -> TrainConfig:
    """Return a training whose loss knows positions, and the pose that they make."""
    return replace(train, loss=LossConfig(pose=0.2))


def ladder(options: StudyOptions, network: NetworkConfig, train: TrainConfig) -> Study:
    """From the paper's recipe to ours, one change a row."""
    first = papers_training(train)
    sample, ours = first.sample, train.sample
    augmented = replace(
        sample,
        degraded=ours.degraded,
        cut_outs=ours.cut_outs,
        box_edge=ours.box_edge,
        box_cut=ours.box_cut,
    )
    rows = [
        Row(
            BOXES,
            "the paper's recipe with the corners and centre of the box",
            replace(network, n_keypoints=BOX),
            first,
            "bbox",
            symmetric=False,
            solve=PAPERS_SOLVE,
        )
    ]

    def step(name: str, change: str, **changes: object) -> None:
        rows.append(replace(rows[-1], name=name, change=change, **changes))  # type: ignore[arg-type]

    step(
        "surface points",
        f"{network.n_keypoints} points far from each other instead",
        network=network,
        strategy="fps",
    )
    cosine = replace(first, schedule="cosine")
    step("cosine", "the learning rate falls as a cosine", train=cosine)
    step("symmetries", "labels know which views of an object look alike", symmetric=True)
    step(
        "augmentation",
        "blur, colours, noise, compression, covered parts, boxes that are a little off",
        train=replace(cosine, sample=augmented),
    )
    loose = replace(cosine, sample=ours)
    step("square crop", f"square, {ours.margin:g} times the box, not stretched", train=loose)
    step("sub-pixel", "heatmaps read between pixels", solve=SolveConfig(solver="plain"))
    step(
        "weighted PnP", "our RANSAC and least squares, weighted by covariances", solve=SolveConfig()
    )
    step(
        "pose in the loss",
        "the loss knows positions, and the pose that they make",
        train=knowing_poses(loose),
    )
    step("outlines", "outlines in the picture correct the pose", solve=OURS)
    return Study(
        "ladder",
        "What lies between the founding paper's recipe and this project's?",
        tuple(rows),
        RECIPE + " Each row keeps the changes of those above it.",
        is_ladder=True,
        claims=(
            Claim(
                "points on the surface are 3 points better than box corners",
                "surface points",
                BOXES,
                0.03,
            ),
            Claim(
                "a cosine schedule is 1.5 points better than none",
                "cosine",
                "surface points",
                0.015,
            ),
        ),
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
