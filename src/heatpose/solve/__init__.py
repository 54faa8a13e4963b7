"""From keypoints to pose."""
