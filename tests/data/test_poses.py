import json
from pathlib import Path

import numpy as np

from heatpose.data.frames import Frame
from heatpose.data.poses import FramePoses, write_poses
from heatpose.geometry.camera import Camera
from heatpose.types import DepthEvidence, Evidence, PoseEstimate


def test_everything_that_was_found_is_written(tmp_path, random_pose):
    camera = Camera(fx=100.0, fy=101, cx=20, cy=15, width=40, height=30)
    frame = Frame(Path("photos/desk.png"), camera, (), 0, 7)
    pose = random_pose()
    estimate = PoseEstimate(
        object_id=5,
        camera_from_object=pose,
        score=0.75,
        covariance=np.eye(6),
        keypoints=np.array([[1.5, 2], [np.nan, np.nan]]),
        inliers=np.array([True, False]),
        box=(1.0, 2.0, 3.0, 4.0),
        keypoint_spreads=np.array([1.25, np.nan]),
        evidence=Evidence(
            0.5, 0.75, 0.25, 1.5, 1.0, np.inf, DepthEvidence(0.5, 0.1, 0.2, 0.9, 1.0)
        ),
        probability=0.625,
        depth_agreement=0.875,
    )
    free = PoseEstimate(
        5, pose, 0.1, np.full((6, 6), np.nan), np.zeros((0, 2)), np.zeros(0, bool), (0.0, 0, 1, 1)
    )
    found = FramePoses(frame, (estimate, free), 0.25, (), (), 0.1)

    write_poses(tmp_path / "poses.json", [found], {5: "can"}, "toys 0123")

    content = json.loads((tmp_path / "poses.json").read_text())
    assert (content["format"], content["bundle"]) == (1, "toys 0123")
    [image] = content["images"]
    assert (image["image"], image["image_id"], image["seconds"]) == ("photos/desk.png", 7, 0.25)
    assert image["camera"] == {"fx": 100, "fy": 101, "cx": 20, "cy": 15, "width": 40, "height": 30}
    first, second = image["poses"]
    assert (first["object_id"], first["name"], first["score"]) == (5, "can", 0.75)
    assert first["keypoints"] == [[1.5, 2.0], None]
    assert first["inliers"] == [True, False]
    assert first["box"] == [1, 2, 3, 4]
    np.testing.assert_array_equal(first["camera_from_object"], pose)
    np.testing.assert_array_equal(first["covariance"], np.eye(6))
    assert first["keypoint_spreads"] == [1.25, None]
    assert (first["evidence"]["inliers"], first["evidence"]["spread"]) == (0.75, None)
    assert first["evidence"]["depth"]["near"] == 0.5
    assert (first["probability"], first["depth_agreement"]) == (0.625, 0.875)
    assert second["depth_agreement"] is None
    assert second["covariance"] is second["evidence"] is second["probability"] is None


def test_the_challenge_wants_the_same_seconds_for_all_poses_of_an_image(random_pose):
    camera = Camera(fx=100.0, fy=101, cx=20, cy=15, width=40, height=30)
    estimates = tuple(
        PoseEstimate(
            i,
            random_pose(),
            0.1 * i,
            np.eye(6),
            np.zeros((0, 2)),
            np.zeros(0, bool),
            (0.0, 0, 1, 1),
        )
        for i in (1, 2)
    )
    results = FramePoses(
        Frame(Path("a.png"), camera, (), 3, 8), estimates, 0.5, (), (), 0.1
    ).results()
    assert [(r.scene_id, r.image_id, r.object_id, r.time) for r in results] == [
        (3, 8, 1, 0.5),
        (3, 8, 2, 0.5),
    ]
    np.testing.assert_array_equal(results[1].camera_from_object, estimates[1].camera_from_object)
