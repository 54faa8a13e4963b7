"""Random views of objects: where they are, how they are lit, what stands around them."""

from dataclasses import dataclass, replace

import numpy as np

from heatpose.geometry.arrays import Array
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector, random_rotation
from heatpose.geometry.transforms import make_transform
from heatpose.render.raycast import Rendering
from heatpose.render.shading import Lighting


@dataclass(frozen=True)
class ViewConfig:
    """Where training views are taken from."""

    camera: Camera = Camera(fx=572.4, fy=573.6, cx=319.5, cy=239.5, width=640, height=480)
    smallest: float = 30.0  # diameter of an object in the image, px
    largest: float = 170.0
    upright: float = 0.0  # share of views from above with the object's z axis up in the image
    n_others: int = 4  # other objects around the one that is looked for, at most
    hidden: float = 0.0  # share of views in which one of them stands in front of it
    min_visible: float = 0.25  # share of the silhouette that others leave uncovered, at least

    def __post_init__(self) -> None:
        if not 0 < self.smallest < self.largest:
            raise ValueError(f"0 < smallest < largest, got {self.smallest}, {self.largest}")
        for name in ("upright", "hidden"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share in [0, 1], got {getattr(self, name)}")


def random_pose(rng: np.random.Generator, diameter: float, config: ViewConfig) -> Array:
    """Draw camera_from_object, (4, 4), mm, of an object that lies inside the image.

    The size in the image is log-uniform: halving the distance is as likely as doubling it.
    """
    camera = config.camera
    size = np.exp(rng.uniform(np.log(config.smallest), np.log(config.largest)))
    distance = camera.fx * diameter / size
    inner = np.array([camera.width - size, camera.height - size]).clip(min=1.0)
    pixel = [camera.cx, camera.cy] + (rng.random(2) - 0.5) * inner
    translation = camera.unproject(pixel, np.array(distance))
    upright = rng.random() < config.upright
    rotation = _upright_rotation(rng) if upright else random_rotation(rng)
    return make_transform(rotation, translation)


def _upright_rotation(rng: np.random.Generator) -> Array:
    """Look at an object from above the horizon, its z axis up but for a small roll."""
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.arcsin(rng.uniform(-0.1, 1.0))  # uniform over the sphere
    roll = rng.normal(0, np.radians(20))
    # At azimuth and elevation zero the object's x, y, z are right, away from and up in the image.
    level = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    from_above = matrix_from_vector(np.array([elevation, 0, 0])) @ level
    turned: Array = from_above @ matrix_from_vector(np.array([0, 0, azimuth]))
    rolled: Array = matrix_from_vector(np.array([0, 0, roll])) @ turned
    return rolled


def pose_beside(
    rng: np.random.Generator, camera_from_object: Array, radii: float, config: ViewConfig
) -> Array:
    """Draw the pose of another object that stands near one, (4, 4), mm.

    Args:
        rng: the generator.
        camera_from_object: the pose of the object that is looked for.
        radii: sum of the radii of both objects, mm.
        config: how often objects stand upright.
    """
    angle = rng.uniform(0, 2 * np.pi)
    aside = rng.uniform(0.4, 1.3) * radii
    offset = [aside * np.cos(angle), aside * np.sin(angle), rng.normal(0, 0.8) * radii]
    translation = camera_from_object[:3, 3] + offset
    translation[2] = max(translation[2], 0.4 * camera_from_object[2, 3])
    upright = rng.random() < config.upright
    rotation = _upright_rotation(rng) if upright else random_rotation(rng)
    return make_transform(rotation, translation)


def pose_in_front(
    rng: np.random.Generator,
    camera_from_object: Array,
    radius: float,
    other_radius: float,
    config: ViewConfig,
) -> Array:
    """Draw the pose of another object that hides a part of one, (4, 4), mm.

    Args:
        rng: the generator.
        camera_from_object: the pose of the object that is looked for.
        radius: of the object that is looked for, mm.
        other_radius: of the other, mm.
        config: how often objects stand upright.
    """
    place = camera_from_object[:3, 3]
    depth = max(place[2] - rng.uniform(0.6, 2.0) * (radius + other_radius), 0.4 * place[2])
    nearer = depth / place[2]
    angle = rng.uniform(0, 2 * np.pi)
    aside = rng.uniform(0.15, 0.8) * (nearer * radius + other_radius)
    translation = nearer * place + aside * np.array([np.cos(angle), np.sin(angle), 0])
    upright = rng.random() < config.upright
    rotation = _upright_rotation(rng) if upright else random_rotation(rng)
    return make_transform(rotation, translation)


def random_lighting(rng: np.random.Generator) -> Lighting:
    """Draw one to three lights on the camera's side of the scene, and a material's shine."""
    n_lights = int(rng.integers(1, 4))
    directions = rng.standard_normal((n_lights, 3)) + [0, -0.7, -0.9]
    strengths = rng.dirichlet(np.ones(n_lights)) * rng.uniform(0.2, 1.1)
    tints = rng.uniform(0.85, 1.15, (n_lights, 3))
    return Lighting(
        directions=directions,
        colours=strengths[:, None] * tints,
        ambient=rng.uniform(0.3, 0.8) * rng.uniform(0.9, 1.1, 3),
        specular=float(rng.uniform(0, 0.6) if rng.random() < 0.5 else 0.0),
        shininess=float(np.exp(rng.uniform(np.log(4), np.log(60)))),
    )


def repaint(rng: np.random.Generator, rendering: Rendering) -> Rendering:
    """Change the colours of most objects, each in its own way: those of CAD files are never right.

    Returns:
        The rendering with other albedos; what is brown or pale in a file may be red or vivid.
    """
    albedo = rendering.albedo.copy()
    for index in range(int(rendering.instance.max(initial=-1)) + 1):
        if rng.random() < 0.3:
            continue
        seen = rendering.instance == index
        colours = albedo[seen] * rng.uniform(0.6, 1.5) * rng.uniform(0.85, 1.15, 3)
        grey = colours.mean(axis=1, keepdims=True)
        colours = grey + (colours - grey) * np.exp(rng.uniform(np.log(0.6), np.log(3)))
        albedo[seen] = np.clip(colours, 0, 1) ** rng.uniform(0.7, 1.4)
    return replace(rendering, albedo=albedo)
