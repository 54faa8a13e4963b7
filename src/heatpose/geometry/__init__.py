"""Transforms, rotations, directions, cameras and boxes: numpy only.

Lengths are millimetres, angles radians. A transform is named for what it does, target first:
``camera_from_object``. The camera frame has x right, y down, z forward. Pixel centres lie at
whole numbers, so the top left pixel spans [-0.5, 0.5) both ways.
"""
