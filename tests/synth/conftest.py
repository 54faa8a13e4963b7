"""A scene built by hand, and makers that a new process can import."""

import numpy as np
import pytest

from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import make_transform
from heatpose.render.scene import Environment, Instance, Panel, Scene

SMALL = Camera(fx=150.0, fy=152.0, cx=79.3, cy=60.2, width=160, height=120)
DOWN = np.diag([1.0, -1.0, -1.0])  # a camera that looks down, x to the right


def at(x, y, z, rotation=None):
    return make_transform(np.eye(3) if rotation is None else rotation, np.array([x, y, z], float))


def above(height, x=0.0, y=0.0):
    """world_from_camera of a camera that looks straight down."""
    return at(x, y, height, DOWN)


def scene_of(instances, panels=(), cameras=None, camera=SMALL):
    environment = Environment(np.ones((2, 4, 3), np.float32))
    cameras = cameras or [above(700)]
    return Scene(tuple(instances), tuple(panels), (), environment, camera, tuple(cameras))


def floor(height=0.0, side=2000.0):
    return Panel(at(0, 0, height), side, side, np.full((4, 4, 3), 120, np.uint8))


@pytest.fixture
def two_on_a_table():
    """The cube (1) on a table, a brick (2) beside it, the distractor (-1) between camera and cube.

    Seen twice: from straight above, and from there moved by 40 mm.
    """
    instances = [
        Instance(1, at(-60, 0, 40)),
        Instance(-1, at(-60, 60, 140)),
        Instance(2, at(70, -20, 60)),
    ]
    return scene_of(instances, [floor()], [above(700), above(700, x=40)])
