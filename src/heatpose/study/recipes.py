"""The founding paper's recipe, as its authors ran it, and the way from it to ours."""

from dataclasses import replace

from heatpose.model.network import NetworkConfig
from heatpose.study.rows import Claim, Row, SolveConfig, Study, StudyOptions
from heatpose.train.config import TrainConfig
from heatpose.train.losses import LossConfig

PAPERS = 50  # keypoints of an object in the paper
BOX = 9  # corners and centre of the bounding box
BOXES = "box corners"


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
        box_whole=0.0,
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
        box_whole=ours.box_whole,
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
