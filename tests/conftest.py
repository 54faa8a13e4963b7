"""What tests of several parts share: poses, cameras, small meshes, the folder of real frames."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import random_rotation
from heatpose.geometry.transforms import make_transform

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data():
    """The folder with the real frames (lmo, lm, ...); skips the test where there is none."""
    folder = Path(os.environ.get("HEATPOSE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real frames at {folder}: set HEATPOSE_DATA to their folder")
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def camera():
    """LINEMOD's camera."""
    return Camera(fx=572.4114, fy=573.57043, cx=325.2611, cy=242.04899, width=640, height=480)


@pytest.fixture(params=[5, 8], ids=["five coefficients", "eight coefficients"])
def distorted_camera(request, camera):
    """The same with a lens whose corners lie some ten pixels off, as OpenCV describes it."""
    coefficients = (-0.18, 0.09, 0.0011, -0.0007, -0.02, 0.03, 0.02, 0.004)[: request.param]
    return Camera.from_matrix(camera.matrix, camera.width, camera.height, coefficients)


@pytest.fixture
def random_pose(rng):
    """A function that draws a camera_from_object, (4, 4), in view of `camera`."""

    def draw():
        translation = rng.uniform([-100, -80, 500], [100, 80, 1100])
        return make_transform(random_rotation(rng), translation)

    return draw


@pytest.fixture
def cube():
    """The corners of a cube of 80 mm around the origin, (8, 3), mm."""
    return 40.0 * np.array(list(itertools.product([-1, 1], repeat=3)))


@pytest.fixture
def cube_mesh():
    """A closed cube of 80 mm around the origin, each corner in its own colour."""
    return _box_mesh([80.0, 80.0, 80.0], [0.0, 0.0, 0.0])


@pytest.fixture
def brick_mesh():
    """A closed box of 60 x 90 x 120 mm whose centre lies at (5, -8, 12): no two views are alike."""
    return _box_mesh([60.0, 90.0, 120.0], [5.0, -8.0, 12.0])


@pytest.fixture(scope="session")
def can_mesh():
    """A can of 80 x 120 mm around the origin, its side divided into uneven fields of colour."""
    import trimesh

    from heatpose.objects.mesh import Mesh

    shape = trimesh.creation.cylinder(40.0, 120.0, sections=90).subdivide().subdivide()
    vertices = np.array(shape.vertices)
    angles = np.degrees(np.arctan2(vertices[:, 1], vertices[:, 0])) % 360
    fields = np.searchsorted([20, 70, 95, 160, 200, 290], angles) + (vertices[:, 2] > 20)
    paint = np.random.default_rng(3).integers(30, 230, (8, 3)).astype(np.uint8)
    normals = np.array(shape.vertex_normals)
    return Mesh(vertices, np.array(shape.faces, np.int32), normals, paint[fields])


def _box_mesh(extents, centre):
    from heatpose.objects.mesh import Mesh

    corners = np.array(list(itertools.product([-0.5, 0.5], repeat=3)))  # x slowest, z fastest
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = [triangle for a, b, c, d in quads for triangle in ([a, b, c], [a, c, d])]
    return Mesh(
        vertices=corners * extents + centre,
        faces=np.array(faces, np.int32),
        normals=corners / np.linalg.norm(corners, axis=1, keepdims=True),
        colours=np.uint8((corners + 0.5) * 200 + 40),
        uv=None,
        texture=None,
    )


@pytest.fixture
def small_bop(tmp_path, brick_mesh, cube_mesh):
    """A function that writes a BOP data set of two frames and returns its folder.

    Scene 5, images 3 and 12, each with objects 1 (brick) and 2 (cube, which looks the same after
    half a turn about z), both of them targets. With depth unless told otherwise.
    """

    def write(depth=True):
        _write_small_bop(tmp_path / "small", {1: brick_mesh, 2: cube_mesh}, depth)
        return tmp_path / "small"

    return write


def _write_small_bop(root, meshes, with_depth):
    from PIL import Image

    from heatpose.data import bop
    from heatpose.objects.mesh import diameter, write_mesh
    from heatpose.render.raycast import Renderer

    rng = np.random.default_rng(5)
    camera = Camera(fx=150.0, fy=152.0, cx=79.3, cy=60.2, width=160, height=120)
    scene = root / "test" / "000005"
    for folder in (root / "models_eval", scene / "rgb", scene / "depth"):
        folder.mkdir(parents=True)
    infos = {i: {"diameter": diameter(mesh)} for i, mesh in meshes.items()}
    infos[2]["symmetries_discrete"] = [np.diag([-1.0, -1.0, 1.0, 1.0]).ravel().tolist()]
    bop.write_models_info(root / "models_eval" / "models_info.json", infos)
    for object_id, mesh in meshes.items():
        write_mesh(root / "models_eval" / f"obj_{object_id:06d}.ply", mesh)

    truth, seen = {}, {}
    for image_id in (3, 12):
        places = [[-90.0, 0.0, 600.0], [90.0, 10.0, 650.0]]
        poses = [make_transform(random_rotation(rng), np.array(place)) for place in places]
        rendering = Renderer(meshes).render([1, 2], poses, camera)
        truth[image_id] = [bop.GroundTruth(i, pose) for i, pose in zip((1, 2), poses, strict=True)]
        seen[image_id] = [_visibility(rendering, index) for index in (0, 1)]
        grey = np.uint8(np.isfinite(rendering.depth) * 200)
        Image.fromarray(np.dstack([grey] * 3)).save(scene / "rgb" / f"{image_id:06d}.png")
        if with_depth:
            units = np.nan_to_num(rendering.depth * 10).astype(np.uint16)
            Image.fromarray(units).save(scene / "depth" / f"{image_id:06d}.png")
    frames = {image_id: bop.FrameCamera(camera.matrix, depth_scale=0.1) for image_id in truth}
    bop.write_scene_camera(scene / "scene_camera.json", frames)
    bop.write_scene_gt(scene / "scene_gt.json", truth)
    bop.write_scene_gt_info(scene / "scene_gt_info.json", seen)
    bop.write_camera(root / "camera.json", camera, depth_scale=0.1)
    targets = [bop.Target(5, image_id, i) for image_id in truth for i in meshes]
    bop.write_targets(root / "test_targets_bop19.json", targets)


def _visibility(rendering, index):
    from heatpose.data.bop import Visibility
    from heatpose.geometry.boxes import box_of_mask

    whole, visible = rendering.full_masks[index], rendering.mask(index)
    return Visibility(
        box=box_of_mask(whole),
        visible_box=box_of_mask(visible),
        pixels=int(whole.sum()),
        valid_pixels=int(whole.sum()),
        visible_pixels=int(visible.sum()),
        visible_fraction=rendering.visible_fraction(index),
    )


@pytest.fixture(scope="session")
def toy_lab():
    """Two things of coloured boxes in ten pictures, and LINEMOD's layouts to write them in."""
    return _ToyLab()


class _ToyLab:
    """Scene 1 shows object 1 (ape), scene 5 object 5 (can) and object 1; five pictures each.

    `meshes` are as in BOP's version, with box centres at their origins; in that of the archive of
    2012 origins are at `archive_origins` of these.
    """

    def __init__(self):
        red, green, blue, yellow = [205, 55, 45], [50, 165, 70], [55, 75, 215], [225, 200, 40]
        ape = [([70, 40, 30], [0, 0, 0], red), ([25, 30, 50], [20, 0, 35], green)]
        can = [([50, 50, 90], [0, 0, 0], yellow), ([30, 15, 30], [0, 35, 20], blue)]
        self.meshes = {
            1: _box_pile([*ape, ([20, 20, 20], [-25, 10, 22], blue)]),
            5: _box_pile([*can, ([12, 45, 12], [0, 0, 55], red)]),
        }
        self.archive_origins = {1: np.array([3.0, -4.0, -41.0]), 5: np.array([-6.0, 2.0, -52.0])}
        self.camera = Camera(572.4114, 573.57043, 325.2611, 242.04899, 640, 480)
        self._files = {}
        self.pictures = {}  # (scene, image): RGB, depth in mm, [(object id, pose)]
        rng = np.random.default_rng(11)
        for scene_id in (1, 5):
            for image_id in range(5):
                self.pictures[scene_id, image_id] = self._draw(rng, scene_id)

    def _draw(self, rng, scene_id):
        import cv2

        from heatpose.render.raycast import Renderer

        ids = [scene_id] if scene_id == 1 else [5, 1]
        places = [rng.uniform([-60, -50, 560], [60, 50, 760]) for _ in ids]
        if len(places) == 2:
            places[1][0] += np.sign(places[1][0] - places[0][0]) * 90
        poses = [make_transform(random_rotation(rng), place) for place in places]
        seen = Renderer(self.meshes).render(ids, poses, self.camera)
        coarse = rng.uniform(60, 190, (24, 32, 3)).astype(np.float32)
        picture = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
        light = 0.5 - 0.5 * seen.normals[..., 2:]
        there = seen.instance >= 0
        picture[there] = (255 * seen.albedo * light)[there]
        picture += rng.normal(0, 3, picture.shape)
        depth = np.where(there, seen.depth, 1100)
        pairs = list(zip(ids, poses, strict=True))
        return np.uint8(np.clip(picture, 0, 255)), np.uint16(np.rint(depth)), pairs, seen

    def _write_png(self, path, picture):
        """Write a picture whose file was made before, if it was: that takes longest."""
        from heatpose.data.images import write_image

        if id(picture) in self._files:
            path.write_bytes(self._files[id(picture)])
        else:
            write_image(path, picture)
            self._files[id(picture)] = path.read_bytes()

    def write_preprocessed(self, root):
        """Linemod_preprocessed: images 0, 2, 4 are to be trained on."""
        from heatpose.data.images import write_image
        from heatpose.objects.mesh import diameter, write_mesh

        (root / "models").mkdir(parents=True)
        lines = []
        for one, mesh in self.meshes.items():
            write_mesh(root / "models" / f"obj_{one:02d}.ply", mesh)
            lines.append(f"{one}: {{diameter: {diameter(mesh):.8f}, min_x: {mesh.lower[0]:.6f}}}")
        (root / "models" / "models_info.yml").write_text("\n".join(lines) + "\n")
        for scene_id in (1, 5):
            folder = root / "data" / f"{scene_id:02d}"
            for name in ("rgb", "depth", "mask"):
                (folder / name).mkdir(parents=True)
            poses, infos = [], []
            for image_id in range(5):
                picture, depth, pairs, seen = self.pictures[scene_id, image_id]
                self._write_png(folder / "rgb" / f"{image_id:04d}.png", picture)
                _write_grey(folder / "depth" / f"{image_id:04d}.png", depth)
                mask = np.repeat(np.uint8(seen.mask(0) * 255)[..., None], 3, axis=2)
                write_image(folder / "mask" / f"{image_id:04d}.png", mask)
                poses += [f"{image_id}:", *(_yaml_pose(*pair) for pair in pairs)]
                flat = ", ".join(map(str, self.camera.matrix.ravel()))
                infos += [f"{image_id}:", f"  cam_K: [{flat}]", "  depth_scale: 1.0"]
            (folder / "gt.yml").write_text("\n".join(poses) + "\n")
            (folder / "info.yml").write_text("\n".join(infos) + "\n")
            (folder / "train.txt").write_text("0000\n0002\n0004\n")
            (folder / "test.txt").write_text("0001\n0003\n")

    def write_original(self, root, registered=(1, 5)):
        """The archive of 2012; objects that are not registered have OLDmesh.ply alone."""
        from heatpose.data.dpt import write_dpt
        from heatpose.objects.mesh import diameter, write_mesh

        for object_id, name in ((1, "ape"), (5, "can")):
            data = root / name / "data"
            data.mkdir(parents=True)
            mesh = self.archive_mesh(object_id)
            size = diameter(mesh) / 10
            (root / name / "distance.txt").write_text(f"{size:.4f}\n")
            rows = np.hstack([mesh.vertices / 10, mesh.normals, mesh.colours / 255])
            points = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in rows)
            (root / name / "object.xyz").write_text(f"{len(rows)} 0.3\n{points}\n")
            if object_id in registered:
                write_mesh(root / name / "mesh.ply", mesh)
            else:
                self._write_unregistered(root / name, mesh)
            for image_id in range(5):
                picture, depth, pairs, _ = self.pictures[object_id, image_id]
                from PIL import Image

                Image.fromarray(picture).save(data / f"color{image_id}.jpg", quality=95)
                write_dpt(data / f"depth{image_id}.dpt", depth)
                pose = self.archive_pose(object_id, dict(pairs)[object_id])
                _write_shaped(data / f"rot{image_id}.rot", pose[:3, :3])
                _write_shaped(data / f"tra{image_id}.tra", pose[:3, 3:] / 10)

    def _write_unregistered(self, folder, mesh):
        from dataclasses import replace

        from heatpose.geometry.transforms import invert, transform_points
        from heatpose.objects.mesh import write_mesh

        object_from_file = make_transform(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]), [9, 8, 7])
        vertices = transform_points(invert(object_from_file), mesh.vertices)
        normals = mesh.normals @ object_from_file[:3, :3]
        write_mesh(folder / "OLDmesh.ply", replace(mesh, vertices=vertices, normals=normals))
        rows = object_from_file[:3].copy()
        rows[:, 3] /= 1000
        lines = [f"{place} {value:.9f}" for place, value in enumerate(rows.ravel())]
        (folder / "transform.dat").write_text("12\n" + "\n".join(lines) + "\n")

    def archive_mesh(self, object_id):
        """The mesh in the archive's frame: another origin, and x and y turned by half a turn."""
        from dataclasses import replace

        mesh, turn = self.meshes[object_id], np.diag([-1.0, -1.0, 1.0])
        vertices = (mesh.vertices - self.archive_origins[object_id]) @ turn
        return replace(mesh, vertices=vertices, normals=mesh.normals @ turn)

    def archive_pose(self, object_id, pose):
        """The pose of an object in the archive's frame."""
        turn = np.diag([-1.0, -1.0, 1.0])
        return pose @ make_transform(turn, self.archive_origins[object_id])

    def write_bop(self, root):
        """BOP's layout, without masks."""
        from heatpose.data import bop
        from heatpose.objects.mesh import diameter, write_mesh

        (root / "models").mkdir(parents=True)
        for one, mesh in self.meshes.items():
            write_mesh(root / "models" / f"obj_{one:06d}.ply", mesh)
        infos = {one: {"diameter": diameter(mesh)} for one, mesh in self.meshes.items()}
        bop.write_models_info(root / "models" / "models_info.json", infos)
        bop.write_camera(root / "camera.json", self.camera)
        for scene_id in (1, 5):
            scene = root / "test" / f"{scene_id:06d}"
            (scene / "rgb").mkdir(parents=True)
            (scene / "depth").mkdir()
            truth = {}
            for image_id in range(5):
                picture, depth, pairs, _ = self.pictures[scene_id, image_id]
                self._write_png(scene / "rgb" / f"{image_id:06d}.png", picture)
                _write_grey(scene / "depth" / f"{image_id:06d}.png", depth)
                truth[image_id] = [bop.GroundTruth(*pair) for pair in pairs]
            frame = bop.FrameCamera(self.camera.matrix)
            bop.write_scene_camera(scene / "scene_camera.json", dict.fromkeys(truth, frame))
            bop.write_scene_gt(scene / "scene_gt.json", truth)


def _box_pile(parts):
    """Boxes (extents, centre, colour) as one mesh, its bounding box around the origin."""
    from heatpose.objects.mesh import Mesh

    boxes = [_box_mesh(np.array(extents, float), np.array(at, float)) for extents, at, _ in parts]
    # Each face has vertices of its own, so that edges are sharp.
    corners = np.concatenate([box.triangles.reshape(-1, 3) for box in boxes])
    corners -= (corners.min(axis=0) + corners.max(axis=0)) / 2
    colours = np.concatenate([np.tile(np.uint8(part[2]), (36, 1)) for part in parts], axis=0)
    edges = corners.reshape(-1, 3, 3)
    across = np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return Mesh(
        vertices=corners,
        faces=np.arange(len(corners), dtype=np.int32).reshape(-1, 3),
        normals=np.repeat(across, 3, axis=0),
        colours=colours,
    )


def _write_grey(path, values):
    from PIL import Image

    Image.fromarray(values).save(path)


def _write_shaped(path, matrix):
    rows, columns = matrix.shape
    lines = [" ".join(f"{value:.9f}" for value in row) for row in matrix]
    path.write_text(f"{columns} {rows}\n" + "\n".join(lines) + "\n")


def _yaml_pose(object_id, pose):
    rotation = ", ".join(f"{value:.8f}" for value in pose[:3, :3].ravel())
    translation = ", ".join(f"{value:.8f}" for value in pose[:3, 3])
    return (
        f"- cam_R_m2c: [{rotation}]\n  cam_t_m2c: [{translation}]\n"
        f"  obj_bb: [244, 150, 44, 58]\n  obj_id: {object_id}"
    )
