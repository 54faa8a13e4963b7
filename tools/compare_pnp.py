"""Compare ways to a pose from the same keypoints: ours, PoseLib's LO-RANSAC, OpenCV's.

    pip install poselib
    python tools/compare_pnp.py LMO --bundle demo/lmo.heatpose --boxes LMO/detections.json

prints a Markdown table: average recalls and ADD(-S) over the targets, without outlines, and
milliseconds an object for the solver alone, on one thread, all objects of a frame in one call where
the way can do that. "weighted" means that our weighted least squares, with covariances and
confidences of the keypoints, follow on what the others call inliers.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from heatpose.data.bop import BopDataset, Result
from heatpose.data.frames import Frame, frames_of_targets
from heatpose.evaluate.latency import machine
from heatpose.evaluate.scores import evaluate_results
from heatpose.geometry.arrays import Array
from heatpose.geometry.transforms import make_transform
from heatpose.look import MAX_ERROR
from heatpose.pipeline import PoseEstimator
from heatpose.solve.pnp import Correspondences, solve_pnp
from heatpose.solve.refine import refine_pose
from heatpose.types import Effort

Poses = list[Array | None]
Solver = Callable[[Sequence[Correspondences], float], Poses]


def ours(objects: Sequence[Correspondences], max_error: float) -> Poses:
    """Solve as the pipeline does."""
    found = solve_pnp(objects, max_error=max_error)
    return [None if one is None else one.camera_from_object for one in found]


def poselib_each(objects: Sequence[Correspondences], max_error: float) -> Poses:
    """Solve one after the other by PoseLib's LO-RANSAC with its own robust refinement."""
    return [by_poselib(one, max_error)[0] for one in objects]


def poselib_weighted(objects: Sequence[Correspondences], max_error: float) -> Poses:
    """Solve by PoseLib, then refine with covariances."""
    return [weighted(one, *by_poselib(one, max_error)) for one in objects]


def opencv_each(objects: Sequence[Correspondences], max_error: float) -> Poses:
    """Solve by OpenCV's RANSAC of SQPnP, then its Levenberg-Marquardt on the inliers."""
    return [by_opencv(one, max_error)[0] for one in objects]


def opencv_weighted(objects: Sequence[Correspondences], max_error: float) -> Poses:
    """Solve by OpenCV, then refine with covariances."""
    return [weighted(one, *by_opencv(one, max_error)) for one in objects]


def by_poselib(one: Correspondences, max_error: float) -> tuple[Array | None, Array]:
    """Return a pose, or None, and which points are inliers."""
    import poselib

    camera = one.camera
    model = {
        "model": "PINHOLE",
        "width": camera.width,
        "height": camera.height,
        "params": [camera.fx, camera.fy, camera.cx, camera.cy],
    }
    seen = np.isfinite(one.pixels).all(axis=1)
    pose, info = poselib.estimate_absolute_pose(
        one.pixels[seen],
        one.points[seen],
        model,
        {"max_reproj_error": max_error, "max_iterations": 1000},
        {"loss_type": "CAUCHY", "loss_scale": max_error / 4},
    )
    inliers = np.zeros(len(seen), bool)
    inliers[np.flatnonzero(seen)[np.array(info["inliers"], bool)]] = True
    if inliers.sum() < 4 or not pose.t[2] > 0:
        return None, inliers
    return make_transform(pose.R, pose.t), inliers


def by_opencv(one: Correspondences, max_error: float) -> tuple[Array | None, Array]:
    """Return a pose, or None, and which points are inliers."""
    seen = np.flatnonzero(np.isfinite(one.pixels).all(axis=1))
    inliers = np.zeros(len(one.pixels), bool)
    matrix = one.camera.matrix
    cv2.setRNGSeed(0)
    found, turn, shift, chosen = cv2.solvePnPRansac(
        one.points[seen],
        one.pixels[seen],
        matrix,
        None,
        flags=cv2.SOLVEPNP_SQPNP,
        reprojectionError=max_error,
        iterationsCount=200,
    )
    if not found or chosen is None or len(chosen) < 4:
        return None, inliers
    keep = seen[chosen[:, 0]]
    inliers[keep] = True
    turn, shift = cv2.solvePnPRefineLM(
        one.points[keep], one.pixels[keep], matrix, None, turn, shift
    )
    pose = make_transform(cv2.Rodrigues(turn)[0], shift[:, 0])
    return (pose if pose[2, 3] > 0 else None), inliers


def weighted(one: Correspondences, pose: Array | None, inliers: Array) -> Array | None:
    """Refine a pose on its inliers, weighted by covariances and confidences."""
    if pose is None or one.covariances is None or one.confidences is None:
        return pose
    doubts = one.covariances[inliers] / one.confidences[inliers, None, None]
    return refine_pose(one.points[inliers], one.pixels[inliers], doubts, one.camera.matrix, pose)[0]


WAYS: dict[str, Solver] = {
    "ours: P3P of trusted triples, all objects at once, weighted": ours,
    "PoseLib LO-RANSAC": poselib_each,
    "PoseLib LO-RANSAC, weighted": poselib_weighted,
    "OpenCV RANSAC of SQPnP, LM": opencv_each,
    "OpenCV RANSAC of SQPnP, weighted": opencv_weighted,
}


def main() -> None:
    """Find keypoints once, solve in every way, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--boxes", type=Path, required=True)
    given = parser.parse_args()
    dataset = BopDataset(given.dataset)
    estimator = PoseEstimator.load(given.bundle, Effort(outline=False))
    frames = frames_of_targets(dataset, given.boxes, estimator.objects, known_only=True)
    each = [(frame, matches_of(estimator, frame)) for frame in track(frames, "keypoints")]
    print(f"{machine()}, {len(frames)} frames of {given.dataset.name}\n")
    print("| way | AR_MSPD | AR_MSSD | ADD(-S) 0.1 d | ms an object |\n|---|---|---|---|---|")
    cv2.setNumThreads(1)
    for name, solve in WAYS.items():
        results, seconds = [], 0.0
        for frame, matches in each:
            start = time.perf_counter()
            poses = solve(matches, MAX_ERROR * estimator.crop_settings.size)
            seconds += time.perf_counter() - start
            for found, pose in zip(frame.detections or (), poses, strict=True):
                if pose is not None:
                    results.append(Result(*frame.ids, found.object_id, found.score, pose))
        mean = evaluate_results(dataset, results).mean()
        scores = " | ".join(f"{mean[key]:.4f}" for key in ("ar_mspd", "ar_mssd", "add_s_0.1d"))
        count = sum(len(matches) for _, matches in each)
        print(f"| {name} | {scores} | {1000 * seconds / count:.2f} |", flush=True)


def matches_of(estimator: PoseEstimator, frame: Frame) -> list[Correspondences]:
    """Return the keypoints of each detection of a frame."""
    detections = list(frame.detections or ())
    if not detections:
        return []
    crops, cameras = estimator.crop(frame.read(), detections)
    index = [list(estimator.objects).index(found.object_id) for found in detections]
    heatmaps = estimator.predictor(crops, np.array(index, np.int64))
    return estimator.match(detections, estimator.find_keypoints(heatmaps), cameras)


if __name__ == "__main__":
    main()
