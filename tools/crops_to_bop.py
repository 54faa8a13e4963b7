"""Write real crops of LINEMOD objects (npz files) as a BOP data set.

    python tools/crops_to_bop.py CROPS --models LM/models --kind train --out crops
    heatpose train keypoints --scenes crops --scenes-split train ...
    python tools/crops_to_bop.py CROPS --models LM/models --kind dev --out crops
    heatpose estimate --dataset crops --split dev --true-boxes ...

CROPS holds ``000006_cat_train.npz`` and the like: images (n, s, s, 3), K (n, 3, 3),
R_object_to_camera (n, 3, 3) and t_object_to_camera_mm (n, 3). Each crop becomes an image of its
own, enlarged to the focal length of the camera that took LINEMOD, so that px are those of the
original frames. Its object is visible as a whole: boxes come from rendering it.
"""

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from heatpose.data.bop_files import (
    FrameCamera,
    GroundTruth,
    Target,
    Visibility,
    write_scene_camera,
    write_scene_gt,
    write_scene_gt_info,
    write_targets,
)
from heatpose.data.images import write_image
from heatpose.geometry.boxes import box_of_mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import make_transform
from heatpose.objects.mesh import read_mesh
from heatpose.render.raycast import Renderer

FOCAL = 572.4114  # px, of the camera that took LINEMOD


def main() -> None:
    """Read the arguments and write the data set."""
    parser = argparse.ArgumentParser(description="Crops of LINEMOD as a BOP data set.")
    parser.add_argument("crops", type=Path, help="folder of npz files")
    parser.add_argument("--models", type=Path, required=True, help="BOP models folder")
    parser.add_argument("--kind", required=True, help="ending of the files' names: train or dev")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    targets: list[Target] = []
    for file in sorted(given.crops.glob(f"*_{given.kind}.npz")):
        targets += write_scene(file, given.models, given.out / given.kind)
    if not targets:
        parser.error(f"{given.crops} holds no *_{given.kind}.npz")
    write_targets(given.out / f"{given.kind}_targets_bop19.json", targets)
    shutil.copytree(given.models, given.out / "models", dirs_exist_ok=True)


def write_scene(file: Path, models: Path, split: Path) -> list[Target]:
    """Write the crops of one object as a scene, and return its targets."""
    object_id = int(file.name.split("_")[0])
    renderer = Renderer({object_id: read_mesh(models / f"obj_{object_id:06d}.ply", "mm")})
    scene = split / f"{object_id:06d}"
    (scene / "rgb").mkdir(parents=True, exist_ok=True)
    cameras, truth, seen = {}, {}, {}
    data = np.load(file)
    rows = zip(
        data["images"],
        data["K"],
        data["R_object_to_camera"],
        data["t_object_to_camera_mm"],
        strict=True,
    )
    for number, (image, matrix, rotation, translation) in enumerate(track(list(rows), file.stem)):
        pose = make_transform(rotation.astype(float), translation.astype(float))
        picture, camera = enlarged(image, matrix)
        write_image(scene / "rgb" / f"{number:06d}.png", picture)
        mask = np.isfinite(renderer.depth(object_id, pose, camera))
        box = box_of_mask(mask)
        cameras[number] = FrameCamera(camera.matrix)
        truth[number] = [GroundTruth(object_id, pose)]
        count = int(mask.sum())
        seen[number] = [Visibility(box, box, count, count, count, 1.0)]
    write_scene_camera(scene / "scene_camera.json", cameras)
    write_scene_gt(scene / "scene_gt.json", truth)
    write_scene_gt_info(scene / "scene_gt_info.json", seen)
    return [Target(object_id, number, object_id) for number in truth]


def enlarged(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, Camera]:
    """Scale a crop and its camera to the focal length of the original frames."""
    side = round(len(image) * FOCAL / matrix[0, 0])
    scale = side / len(image)
    camera = Camera(
        matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], len(image), len(image)
    ).warped(scale, np.full(2, (scale - 1) / 2), side, side)
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC), camera


if __name__ == "__main__":
    main()
