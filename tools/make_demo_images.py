"""Render the pictures of `heatpose demo`: objects of a BOP models folder on a cluttered table.

    python tools/make_demo_images.py MODELS demo

writes images/*.jpg, camera.json and scene_gt.json (true poses, as BOP has them). Every second
picture shows some object two or three times, and the last one none at all, clutter alone. Nothing
in the pictures is photographed: table, wall and clutter are drawn by chance. Boxes there are none:
a detector has to find the objects; boxes.json of earlier pictures is deleted. The world frame lies
on the table, z up.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import trimesh

from heatpose.data.backgrounds import generated_texture
from heatpose.data.bop_files import GroundTruth, write_scene_gt
from heatpose.data.cameras import write_camera
from heatpose.data.images import write_image
from heatpose.geometry.arrays import Array, Image
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import invert, make_transform, transform_points
from heatpose.objects.catalogue import ObjectModel, read_models
from heatpose.objects.mesh import Mesh
from heatpose.render.raycast import Renderer, Rendering
from heatpose.render.shading import Lighting, shade

CAMERA = Camera(fx=572.4, fy=573.6, cx=325.3, cy=242.0, width=640, height=480)
SUPERSAMPLING = 2
N_LIGHTS = 16  # points of the lamp; many make soft shadows
LEAST_VISIBLE = 0.4  # of each object
KINDS = ("different", "several")  # no object twice; one object two or three times
CLUTTER = 1000  # ids of what is not looked for start here


@dataclass(frozen=True, eq=False)
class Item:
    """Something that stands on the table."""

    object_id: int
    mesh: Mesh
    world_from_object: Array  # (4, 4), mm


@dataclass(frozen=True, eq=False)
class Picture:
    """A rendered scene and the truth about it."""

    image: Image  # (h, w, 3)
    truth: list[GroundTruth]


def main() -> None:
    """Render as many pictures as asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="BOP models folder")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--count", type=int, default=5, help="pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--objects", type=int, nargs="+", help="ids of what is shown; else all")
    options = parser.parse_args()

    known = read_models(options.models)
    models = [known[i] for i in options.objects or known]
    kinds = ["none" if i == options.count - 1 else KINDS[i % 2] for i in range(options.count)]
    pictures = [
        draw_picture(np.random.default_rng([options.seed, number]), models, kind)
        for number, kind in enumerate(kinds)
    ]
    for old in (options.out / "images").glob("*.*"):
        old.unlink()
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    (options.out / "boxes.json").unlink(missing_ok=True)
    write_camera(options.out / "camera.json", CAMERA)
    write_scene_gt(options.out / "scene_gt.json", {i: p.truth for i, p in enumerate(pictures)})
    for number, picture in enumerate(pictures):
        write_image(options.out / "images" / f"{number:06d}.jpg", picture.image)
        ids = sorted(pose.object_id for pose in picture.truth)
        print(f"{options.out / 'images' / f'{number:06d}.jpg'}: objects {ids}")


def draw_picture(
    rng: np.random.Generator, models: Sequence[ObjectModel], kind: str, camera: Camera = CAMERA
) -> Picture:
    """Draw scenes until one shows each of its objects well enough, and render that."""
    while True:
        items = arrange(rng, choose(rng, models, kind))
        camera_from_world = look_at(*viewpoint(rng))
        mesh_of = {item.object_id: item.mesh for item in items}
        poses = [camera_from_world @ item.world_from_object for item in items]
        rendering = Renderer(mesh_of).render([i.object_id for i in items], poses, camera)
        shown = [i for i, item in enumerate(items) if item.object_id < CLUTTER]
        if all(stands_free(rendering, i) for i in shown):
            break
    image = photograph(rng, items, camera_from_world, camera)
    truth = [GroundTruth(items[i].object_id, poses[i]) for i in shown]
    return Picture(image, truth)


def choose(rng: np.random.Generator, models: Sequence[ObjectModel], kind: str) -> list[ObjectModel]:
    """Draw what stands on the table: 5 to 8 objects, of which one may be there several times."""
    if kind == "none":
        return []
    different = [models[i] for i in rng.permutation(len(models))[: rng.integers(5, 9)]]
    if kind == "different":
        return different
    return [*different[: len(different) - 1], *different[:1] * rng.integers(1, 3)]


def stands_free(rendering: Rendering, index: int) -> bool:
    """Say whether an object is visible enough and keeps off the border of the picture."""
    full = rendering.full_masks[index]
    border = full[0].any() or full[-1].any() or full[:, 0].any() or full[:, -1].any()
    return not border and rendering.visible_fraction(index) >= LEAST_VISIBLE


def arrange(rng: np.random.Generator, models: Sequence[ObjectModel]) -> list[Item]:
    """Stand objects and clutter on the table so that no two footprints overlap, wall behind."""
    taken: list[tuple[Array, float]] = []
    items = []
    for model in models:
        turned = upright(rng) if rng.random() < 0.8 else lying(rng)
        items.append(place(rng, model.object_id, model.mesh, turned, 190.0, taken))
    for number in range(rng.integers(5, 10) if models else rng.integers(10, 15)):
        items.append(place(rng, CLUTTER + 2 + number, toy(rng), upright(rng), 430.0, taken))
    return [*items, table(rng), wall(rng)]


def place(
    rng: np.random.Generator,
    object_id: int,
    mesh: Mesh,
    rotation: Array,
    reach: float,
    taken: list[tuple[Array, float]],
) -> Item:
    """Put a mesh down within ``reach`` mm of the middle, farther out where there is no room."""
    turned = mesh.vertices @ rotation.T
    middle = (turned.min(axis=0) + turned.max(axis=0)) / 2
    radius = 0.8 * np.linalg.norm(turned[:, :2] - middle[:2], axis=1).max()
    while True:
        spot = rng.uniform(-reach, reach, 2)
        if all(np.linalg.norm(spot - other) > radius + size for other, size in taken):
            break
        reach *= 1.02
    taken.append((spot, radius))
    shift = np.array([*(spot - middle[:2]), -turned[:, 2].min()])
    return Item(object_id, mesh, make_transform(rotation, shift))


def upright(rng: np.random.Generator) -> Array:
    """Draw a turn about the vertical, (3, 3)."""
    return matrix_from_vector(np.array([0, 0, rng.uniform(0, 2 * np.pi)]))


def lying(rng: np.random.Generator) -> Array:
    """Draw the rotation, (3, 3), of an object that lies on its side."""
    side = matrix_from_vector(rng.choice([-1, 1]) * np.array([np.pi / 2, 0, 0]))
    return upright(rng) @ side


def toy(rng: np.random.Generator) -> Mesh:
    """Draw a box, can or ball with a texture."""
    kind, size = rng.integers(3), rng.uniform(40, 110, 3)
    if kind == 0:
        shape = trimesh.creation.box(extents=size)
    elif kind == 1:
        shape = trimesh.creation.cylinder(radius=size[0] / 2, height=size[1], sections=48)
    else:
        shape = trimesh.creation.icosphere(subdivisions=4, radius=size[0] / 2)
    corners = np.array(shape.triangles).reshape(-1, 3)
    smooth = kind == 2
    return Mesh(
        vertices=corners,
        faces=np.arange(len(corners), dtype=np.int32).reshape(-1, 3),
        normals=corners / (size[0] / 2) if smooth else np.repeat(shape.face_normals, 3, axis=0),
        uv=corners @ rng.normal(0, 1 / 150, (3, 2)),
        texture=muted(generated_texture(rng, 256, 256), rng.uniform(0.3, 1.0)),
    )


def table(rng: np.random.Generator) -> Item:
    """Draw the table's top, 3 m wide."""
    return Item(CLUTTER, sheet(plain_texture(rng), 3000.0), np.eye(4))


def wall(rng: np.random.Generator) -> Item:
    """Draw a wall behind the table."""
    standing = make_transform(
        matrix_from_vector(np.array([np.pi / 2, 0, 0])), np.array([0, rng.uniform(500, 1200), 0])
    )
    return Item(CLUTTER + 1, sheet(plain_texture(rng), 6000.0), standing)


def sheet(texture: Image, side: float) -> Mesh:
    """Return a square in the plane z = 0 that shows a texture once."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]])
    return Mesh(
        vertices=side / 2 * corners,
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        normals=np.tile([0, 0, 1.0], (4, 1)),
        uv=(corners[:, :2] + 1) / 2,
        texture=texture,
    )


def plain_texture(rng: np.random.Generator) -> Image:
    """Draw a texture in colours that rooms have."""
    texture = muted(generated_texture(rng, 2048, 2048), 0.5)
    grey = texture.mean(axis=2, keepdims=True)
    return np.clip(0.6 * grey + 0.4 * texture, 0, 255).astype(np.uint8)


def muted(texture: Image, share: float) -> Image:
    """Move colours towards their mean, keeping a share of the contrast."""
    mean = texture.mean(axis=(0, 1))
    return np.clip(mean + share * (texture - mean), 0, 255).astype(np.uint8)


def viewpoint(rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw where the camera is and where it looks, world mm: in front of the table, from above."""
    elevation, aside = np.radians(rng.uniform(28, 55)), np.radians(rng.uniform(-35, 35))
    ray = [np.sin(aside) * np.cos(elevation), -np.cos(aside) * np.cos(elevation), np.sin(elevation)]
    target = np.array([0, 0, 40.0])
    return target + rng.uniform(780, 980) * np.array(ray), target


def look_at(eye: Array, target: Array) -> Array:
    """Return camera_from_world of a camera at ``eye`` that has ``target`` in its middle."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    world_from_camera = np.stack([right, np.cross(forward, right), forward], axis=1)
    return invert(make_transform(world_from_camera, eye))


def photograph(
    rng: np.random.Generator, items: Sequence[Item], camera_from_world: Array, camera: Camera
) -> Image:
    """Render with soft shadows and several rays a pixel, then blur and noise as a camera has."""
    fine = finer(camera, SUPERSAMPLING)
    renderer = Renderer({item.object_id: item.mesh for item in items})
    ids = [item.object_id for item in items]
    poses = [camera_from_world @ item.world_from_object for item in items]
    rendering = renderer.render(ids, poses, fine)

    lamp = np.array([rng.uniform(-700, 700), rng.uniform(-700, 0), rng.uniform(900, 1400)])
    lamp_in_camera = transform_points(camera_from_world, lamp[None])
    tint = rng.uniform(0.93, 1.07, 3)
    lighting = Lighting(
        directions=lamp_in_camera,
        colours=0.6 * tint[None],
        ambient=np.full(3, 0.45),
        specular=0.15,
        shininess=25.0,
    )
    dark = replace(lighting, colours=np.zeros((1, 3)))
    lit = light_reaching(rng, renderer, items, rendering, invert(camera_from_world), fine, lamp)
    shaded = shade(rendering, fine, dark).astype(float)
    image = shaded + lit[..., None] * (shade(rendering, fine, lighting) - shaded)

    image = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), 0.5) + rng.normal(0, 2.0, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def finer(camera: Camera, times: int) -> Camera:
    """Return the camera that divides each pixel into ``times`` x ``times``."""
    shift = np.full(2, times / 2 - 0.5)
    return camera.warped(times, shift, camera.width * times, camera.height * times)


def light_reaching(
    rng: np.random.Generator,
    renderer: Renderer,
    items: Sequence[Item],
    rendering: Rendering,
    world_from_camera: Array,
    camera: Camera,
    lamp: Array,
) -> Array:
    """Return which share of a round lamp each pixel sees, (h, w): depth maps seen from the lamp."""
    rows, cols = np.nonzero(rendering.instance >= 0)
    points = camera.unproject(np.stack([cols, rows], axis=1), rendering.depth[rows, cols])
    points = transform_points(world_from_camera, points)
    size = 1200
    view = Camera(fx=size, fy=size, cx=size / 2, cy=size / 2, width=size, height=size)
    seen = np.zeros(len(points))
    for _ in range(N_LIGHTS):
        lamp_from_world = look_at(lamp + rng.normal(0, 45, 3), np.zeros(3))
        poses = [lamp_from_world @ item.world_from_object for item in items]
        depth = renderer.render([item.object_id for item in items], poses, view).depth
        there = transform_points(lamp_from_world, points)
        x, y = np.rint(view.project(there)).astype(int).clip(0, size - 1).T
        # 4 mm of slack, or a surface would shade itself; what no map covers lies in the light.
        seen += ~(there[:, 2] > depth[y, x] + 4.0)
    lit = np.zeros(rendering.instance.shape)
    lit[rows, cols] = seen / N_LIGHTS
    return cv2.GaussianBlur(lit, (0, 0), 1.5)


if __name__ == "__main__":
    main()
