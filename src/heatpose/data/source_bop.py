"""Any data set in BOP's layout as a `Source`: LM, LM-O, YCB-Video and the others."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from heatpose.data.bop import BopDataset
from heatpose.data.bop_files import GroundTruth, Target, read_models_info
from heatpose.data.sources import Source, SourceFrame, SourceModel
from heatpose.errors import DataError

LAYOUT = "a BOP data set"


def is_bop(root: Path) -> bool:
    """Say whether a folder looks like a BOP data set: scenes in a split."""
    return bool(splits_of(root))


def splits_of(root: Path) -> list[str]:
    """Return the folders of a data set that hold scenes with ground truth."""
    return sorted({path.parent.parent.name for path in root.glob("*/[0-9]*/scene_gt.json")})


def read_bop(root: Path, only: str | None = None) -> Source:
    """Read a BOP data set: all its splits, or one.

    Raises:
        DataError: there is no such split, or a file is missing or not what it should be.
    """
    splits = splits_of(root)
    if only is not None and only not in splits:
        raise DataError(f"{root} has no scenes with ground truth in {only}, only in {splits}")
    frames: list[SourceFrame] = []
    targets: dict[str, Sequence[Target]] = {}
    for split in splits if only is None else [only]:
        dataset = BopDataset(root, split)
        frames += _frames(dataset)
        if (root / dataset.targets_file).is_file():
            targets[split] = dataset.targets()
    return Source(root, LAYOUT, read_bop_models(_models_folder(root)), frames, targets)


def read_bop_models(folder: Path, pattern: str = r"obj_(\d+)\.ply") -> dict[int, SourceModel]:
    """Find the models of a folder, with what ``models_info.json`` says if it is there."""
    info_file = folder / "models_info.json"
    infos = read_models_info(info_file) if info_file.is_file() else {}
    named = [(re.fullmatch(pattern, path.name), path) for path in sorted(folder.glob("*.ply"))]
    return {
        int(match[1]): SourceModel(path, info=infos.get(int(match[1]), {}))
        for match, path in named
        if match
    }


def _models_folder(root: Path) -> Path:
    """Return the models with colours, if there are any; T-LESS has several kinds."""
    for name in ("models", "models_cad", "models_reconst", "models_eval"):
        if (root / name).is_dir():
            return root / name
    raise DataError(f"{root} has no folder models")


def _frames(dataset: BopDataset) -> list[SourceFrame]:
    frames = []
    for scene_id in dataset.scene_ids():
        for image_id in dataset.image_ids(scene_id):
            frame = dataset.frame_camera(scene_id, image_id)
            truth = dataset.ground_truth(scene_id, image_id)
            masks = {
                index: path
                for index in range(len(truth))
                if (path := dataset.visible_mask_path(scene_id, image_id, index)) is not None
            }
            frames.append(
                SourceFrame(
                    scene_id=scene_id,
                    image_id=image_id,
                    image=dataset.image_path(scene_id, image_id),
                    matrix=frame.matrix,
                    read_truth=partial(_same, truth),
                    depth=dataset.depth_path(scene_id, image_id),
                    depth_scale=frame.depth_scale,
                    masks=masks,
                    split=dataset.split,
                )
            )
    return frames


def _same(truth: Sequence[GroundTruth]) -> Sequence[GroundTruth]:
    return truth
