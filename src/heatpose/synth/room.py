"""The room around a scene: table, floor, walls, bin; lamps, windows and light from all sides."""

import numpy as np

from heatpose.geometry.arrays import Array
from heatpose.geometry.transforms import make_transform
from heatpose.render.scene import AreaLight, Environment, Panel
from heatpose.synth.physics import Ground
from heatpose.synth.scenery import Scenery, random_material, warmth

UP = np.array([0.0, 0.0, 1.0])
BOARD = 6.0  # mm, thickness of a bin's walls and floor


def facing(direction: Array, place: Array) -> Array:
    """Return world_from_panel, (4, 4), mm, of a panel at a place (3,) with its z in a direction.

    Its y is as far up as that allows.
    """
    z = direction / np.linalg.norm(direction)
    sideways = np.cross(UP, z)
    x = sideways / np.linalg.norm(sideways) if np.linalg.norm(sideways) > 1e-6 else np.eye(3)[0]
    return make_transform(np.stack([x, np.cross(z, x), z], axis=1), place)


def random_panels(
    rng: np.random.Generator, scenery: Scenery, ground: Ground, reach: float
) -> tuple[Panel, ...]:
    """Draw what objects lie on and what is behind: the table, mostly a floor, sometimes walls.

    Args:
        rng: the generator.
        scenery: textures.
        ground: the table or bin of the physics.
        reach: distance within which cameras and lights are, mm; walls are beyond.
    """
    panels = []
    table = np.array([ground.width, ground.depth])
    height = 0.0
    if ground.wall:
        panels += _bin(rng, scenery, ground)
        table, height = table * rng.uniform(1.2, 3.0, 2), -BOARD
    elif rng.random() < 0.3:
        table = np.maximum(table, 3 * reach)  # nothing but the table is seen
    panels.append(_panel(rng, scenery, UP, height * UP, *table))
    if rng.random() < 0.8:
        below = -rng.uniform(350, 900)
        panels.append(_panel(rng, scenery, UP, below * UP, 6 * reach, 6 * reach))
        azimuth = rng.uniform(0, 2 * np.pi)
        for turn in range(rng.choice(3, p=[0.5, 0.3, 0.2])):  # none, one, a corner
            angle = azimuth + turn * np.pi / 2
            outwards = np.array([np.cos(angle), np.sin(angle), 0.0])
            tall = reach * rng.uniform(0.8, 2.0)
            place = outwards * reach * rng.uniform(1.1, 2.0) + (below + tall / 2) * UP
            panels.append(_panel(rng, scenery, -outwards, place, 6 * reach, tall))
    return tuple(panels)


def _panel(
    rng: np.random.Generator,
    scenery: Scenery,
    direction: Array,
    place: Array,
    width: float,
    height: float,
) -> Panel:
    return Panel(
        world_from_panel=facing(direction, place),
        width=float(width),
        height=float(height),
        texture=scenery.surface(rng),
        material=random_material(rng, shiny=0.08),
    )


def _bin(rng: np.random.Generator, scenery: Scenery, ground: Ground) -> list[Panel]:
    """Return floor and walls of a bin: each wall an inner and an outer side and a rim."""
    texture, material = scenery.surface(rng, 256), random_material(rng)
    half = np.array([ground.width, ground.depth]) / 2
    panels = [Panel(facing(UP, 0 * UP), ground.width, ground.depth, texture, material)]
    for axis in (0, 1):
        across = 2 * half[1 - axis] + 2 * BOARD
        for side in (-1.0, 1.0):
            outwards = side * np.eye(3)[axis]
            inner = outwards * half[axis] + ground.wall / 2 * UP
            outer, rim = inner + outwards * BOARD, inner + outwards * BOARD / 2
            rim = rim + ground.wall / 2 * UP
            for direction, place in ((-outwards, inner), (outwards, outer)):
                pose = facing(direction, place)
                panels.append(Panel(pose, across, ground.wall, texture, material))
            wide, deep = (BOARD, across) if axis == 0 else (across, BOARD)
            panels.append(Panel(facing(UP, rim), wide, deep, texture, material))
    return panels


def random_lights(
    rng: np.random.Generator, scenery: Scenery, reach: float
) -> tuple[tuple[AreaLight, ...], Environment, float]:
    """Draw lamps, windows and an environment; a white table has a radiance of about 1 in them.

    Args:
        rng: the generator.
        scenery: environments.
        reach: distance within which cameras are, mm; lights are beyond.

    Returns:
        The lights, the environment, and the distance within which all lights are, mm.
    """
    total = np.pi * np.exp(rng.normal(0, 0.3))  # irradiance of the table
    share = rng.uniform(0.1, 0.9)  # of it that comes from the environment
    n_lights = int(rng.integers(1, 5))
    parts = rng.dirichlet(np.ones(n_lights)) * total * (1 - share)
    lights = tuple(_light(rng, part, reach) for part in parts)
    environment = Environment(
        radiance=scenery.environment(rng),
        azimuth=float(rng.uniform(0, 2 * np.pi)),
        strength=float(total * share / np.pi),  # mean radiance 1 gives irradiance pi
    )
    farthest = max(np.linalg.norm(light.world_from_light[:3, 3]) for light in lights)
    return lights, environment, float(farthest)


def _light(rng: np.random.Generator, irradiance: float, reach: float) -> AreaLight:
    """Draw a lamp overhead or a window aside that gives the table's middle this irradiance."""
    window = rng.random() < 0.4
    elevation = rng.uniform(np.radians(15), np.radians(45)) if window else rng.uniform(0.8, 1.57)
    azimuth = rng.uniform(0, 2 * np.pi)
    level = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    towards = np.cos(elevation) * level + np.sin(elevation) * UP
    distance = reach + rng.uniform(300, 1500)
    sides = distance * (rng.uniform(0.3, 1.0, 2) if window else rng.uniform(0.05, 0.6, 2))
    # E = L A cos / (d^2 + A / pi), exact for a disc overhead (held back near the horizon).
    area = sides.prod()
    per_radiance = area * max(np.sin(elevation), 0.3) / (distance**2 + area / np.pi)
    return AreaLight(
        world_from_light=facing(-towards, towards * distance),
        width=float(sides[0]),
        height=float(sides[1]),
        radiance=irradiance / per_radiance * warmth(rng),
    )
