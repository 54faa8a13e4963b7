"""Ray casting of one or many objects into one image (embree).

Every object has its own ray tracing scene in its own frame, built once; the rays of the camera
are taken to the object, not the object to the camera. Objects of one image meet in a depth
buffer, so occlusion is right without building anything anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from heatpose.errors import UnknownObjectError
from heatpose.geometry.arrays import Array, Depth, Mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import invert, transform_points
from heatpose.objects.mesh import Mesh, face_areas, sample_places

GREY = 0.6  # albedo of objects without colour
FARTHEST = 1e30  # mm; embree says 1e37 where a ray meets nothing
Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Rendering:
    """What a camera sees of the objects: one value per pixel in every map."""

    depth: Depth  # (h, w), mm along z, NaN where no object is
    instance: NDArray[np.int16]  # (h, w), index into the objects rendered, -1 where none is
    normals: Floats  # (h, w, 3), unit, camera frame, towards the camera; 0 where no object is
    object_coordinates: Floats  # (h, w, 3), mm, frame of the object that is seen; NaN where none
    albedo: Floats  # (h, w, 3), RGB in [0, 1]; 0 where no object is
    full_masks: tuple[Mask, ...]  # per object (h, w), its silhouette as if it were alone

    def mask(self, index: int) -> Mask:
        """Return the visible part of an object, (h, w)."""
        visible: Mask = self.instance == index
        return visible

    def visible_fraction(self, index: int) -> float:
        """Return the share of an object's silhouette inside the image that is not covered."""
        return float(self.mask(index).sum() / max(self.full_masks[index].sum(), 1))


@dataclass(frozen=True, eq=False)
class Surface:
    """What a camera sees of one object alone, facet by facet."""

    depth: Depth  # (h, w), mm along z, NaN where the object is not
    normals: Floats  # (h, w, 3) of the facets, unit, camera frame, towards the camera; else 0


@dataclass(frozen=True, eq=False)
class _Hits:
    """Where the rays of a rectangle of pixels met one object."""

    rows: slice
    cols: slice
    depth: Depth  # (rows, cols), inf where the object is not
    triangle: Ints  # (rows, cols)
    u: Floats  # (rows, cols), barycentric weights of the triangle's 2nd and 3rd vertex
    v: Floats


class _Target:
    """One object, ready to be met by rays in its own frame."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.vertices = mesh.vertices.astype(np.float32)
        self.normals = mesh.normals.astype(np.float32)
        self.colours = None if mesh.colours is None else mesh.colours.astype(np.float32) / 255
        self.uv = None if mesh.uv is None else mesh.uv.astype(np.float32)
        self.corners = mesh.corners
        self.facets = _facet_normals(self.vertices[mesh.faces])
        self.scene = EmbreeScene()
        TriangleMesh(self.scene, self.vertices[mesh.faces])

    def distances(self, camera_from_object: Array, rays: Floats) -> Floats:
        """Return how far along the camera's rays (..., 3) it is, (...); inf where they miss it."""
        origins, directions = _from_object(camera_from_object, rays.reshape(-1, 3))
        found = np.asarray(self.scene.run(origins, directions, query="DISTANCE"), np.float32)
        found[found > FARTHEST] = np.inf
        return found.reshape(rays.shape[:-1])

    def cast(self, camera_from_object: Array, camera: Camera) -> _Hits | None:
        """Send the rays of the pixels around the object's box; None if it is out of sight."""
        rows, cols = _region(transform_points(camera_from_object, self.corners), camera)
        height, width = rows.stop - rows.start, cols.stop - cols.start
        if height <= 0 or width <= 0:
            return None
        rays = _rays(_pixels(cols), _pixels(rows)[:, None], camera).reshape(-1, 3)
        origins, directions = _from_object(camera_from_object, rays)
        hit = self.scene.run(origins, directions, query="INTERSECT", output=True)
        triangle = hit["primID"].reshape(height, width)
        depth = np.where(triangle >= 0, hit["tfar"].reshape(height, width), np.inf)
        return _Hits(
            rows=rows,
            cols=cols,
            depth=depth.astype(np.float32),
            triangle=triangle,
            u=hit["u"].reshape(height, width),
            v=hit["v"].reshape(height, width),
        )

    def blocks(self, camera_from_object: Array, points: Array, short: float) -> Mask:
        """Say which points (n, 3), mm, camera frame, it hides; it ends ``short`` mm before each."""
        origins, directions = _from_object(camera_from_object, points.astype(np.float32))
        reach = 1 - short / np.linalg.norm(points, axis=1)
        hits = self.scene.run(origins, directions, dists=reach.astype(np.float32), query="OCCLUDED")
        hidden: Mask = hits >= 0
        return hidden

    def surface(self, triangle: Ints, u: Floats, v: Floats) -> tuple[Floats, Floats, Floats]:
        """Return object coordinates, normals (object frame) and albedo of hits, (n, 3) each."""
        corner = self.mesh.faces[triangle]  # (n, 3)
        weights = np.stack([1 - u - v, u, v], axis=1)
        coordinates = _blend(weights, self.vertices[corner])
        normals = _blend(weights, self.normals[corner])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        if self.uv is not None and self.mesh.texture is not None:
            albedo = _look_up(self.mesh.texture, _blend(weights, self.uv[corner]))
        elif self.colours is not None:
            albedo = _blend(weights, np.asarray(self.colours[corner]))
        else:
            albedo = np.full_like(coordinates, GREY)
        return coordinates, normals, albedo


class Renderer:
    """Holds the ray tracing scenes of a set of objects."""

    def __init__(self, meshes: Mapping[int, Mesh]) -> None:
        self._targets = {object_id: _Target(mesh) for object_id, mesh in meshes.items()}

    def depth(self, object_id: int, camera_from_object: Array, camera: Camera) -> Depth:
        """Return the depth (h, w), mm, of one object alone; NaN where it is not."""
        depth = np.full((camera.height, camera.width), np.nan, np.float32)
        hits = self._target(object_id).cast(camera_from_object, camera)
        if hits is not None:
            depth[hits.rows, hits.cols] = np.where(np.isfinite(hits.depth), hits.depth, np.nan)
        return depth

    def quick_depth(self, object_id: int, camera_from_object: Array, camera: Camera) -> Depth:
        """Return what `depth` does with a third of the rays: inside, every second pixel's repeated.

        Silhouettes are as exact, but for what is less than two pixels wide.
        """
        depth = np.full((camera.height, camera.width), np.nan, np.float32)
        target = self._target(object_id)
        rows, cols = self.region(object_id, camera_from_object, camera)
        height, width = rows.stop - rows.start, cols.stop - cols.start
        if height <= 0 or width <= 0:
            return depth
        x, y = _pixels(cols), _pixels(rows)
        found = target.distances(camera_from_object, _rays(x[::2], y[::2, None], camera))
        window = found.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
        down, right = np.nonzero(_between(np.isfinite(found))[:height, :width])
        edges = _rays(x[right], y[down], camera)
        window[down, right] = target.distances(camera_from_object, edges)
        window[np.isinf(window)] = np.nan
        depth[rows, cols] = window
        return depth

    def hides(
        self, object_id: int, camera_from_object: Array, points: Array, short: float = 0.0
    ) -> Mask:
        """Say which points an object stands in front of, (n,).

        Args:
            object_id: the object.
            camera_from_object: its pose, (4, 4), mm.
            points: (n, 3), mm, camera frame.
            short: how far before a point something must end to hide it, mm: a point on a surface
                would be hidden by that surface, now and then.
        """
        return self._target(object_id).blocks(camera_from_object, points, short)

    def surface(self, object_id: int, camera_from_object: Array, camera: Camera) -> Surface:
        """Return depth and normals of one object alone.

        The normals are those of the triangles: flat faces of a part are flat, whatever normals its
        vertices have.
        """
        depth = np.full((camera.height, camera.width), np.nan, np.float32)
        normals = np.zeros((*depth.shape, 3), np.float32)
        target = self._target(object_id)
        hits = target.cast(camera_from_object, camera)
        if hits is not None:
            seen = hits.triangle >= 0
            facing = target.facets[hits.triangle[seen]] @ camera_from_object[:3, :3].T
            rays = _rays(_pixels(hits.cols), _pixels(hits.rows)[:, None], camera)[seen]
            away = np.einsum("ni,ni->n", facing, rays) > 0  # open meshes show their inside
            depth[hits.rows, hits.cols][seen] = hits.depth[seen]
            normals[hits.rows, hits.cols][seen] = np.where(away[:, None], -facing, facing)
        return Surface(depth, normals)

    def strew(
        self, object_id: int, n: int, rng: np.random.Generator
    ) -> tuple[Floats, Floats, Floats]:
        """Draw n points evenly over the surface of an object.

        Returns:
            The points, mm, their normals, both in the object frame, and albedo, (n, 3) each.
        """
        target = self._target(object_id)
        faces, weights = sample_places(target.mesh, n, rng)
        _, u, v = weights.T.astype(np.float32)
        return target.surface(faces.astype(np.int32), u, v)

    def area(self, object_id: int) -> float:
        """Return the area of an object's surface, mm^2."""
        return float(face_areas(self._target(object_id).mesh).sum())

    def region(
        self, object_id: int, camera_from_object: Array, camera: Camera
    ) -> tuple[slice, slice]:
        """Return rows and columns of the image around an object; empty if it is out of sight."""
        return _region(
            transform_points(camera_from_object, self._target(object_id).corners), camera
        )

    def render(
        self, object_ids: Sequence[int], camera_from_objects: Sequence[Array], camera: Camera
    ) -> Rendering:
        """Render objects into one image; the nearer one covers the farther one.

        Args:
            object_ids: one per object in the image; the same one may come several times.
            camera_from_objects: their poses, (4, 4) each, mm.
            camera: the camera, with or without distortion.

        Raises:
            UnknownObjectError: an object id that the renderer was not given a mesh for.
        """
        shape = (camera.height, camera.width)
        targets = [self._target(object_id) for object_id in object_ids]
        casts = [t.cast(pose, camera) for t, pose in zip(targets, camera_from_objects, strict=True)]
        depth, instance = np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int16)
        full_masks = []
        for index, hits in enumerate(casts):
            full_masks.append(np.zeros(shape, bool))
            if hits is None:
                continue
            full_masks[-1][hits.rows, hits.cols] = hits.triangle >= 0
            nearer = hits.depth < depth[hits.rows, hits.cols]
            depth[hits.rows, hits.cols][nearer] = hits.depth[nearer]
            instance[hits.rows, hits.cols][nearer] = index

        normals, albedo = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32)
        coordinates = np.full((*shape, 3), np.nan, np.float32)
        for index, (target, hits, pose) in enumerate(
            zip(targets, casts, camera_from_objects, strict=True)
        ):
            if hits is None:
                continue
            window = (hits.rows, hits.cols)
            seen = instance[window] == index
            points, facing, colour = target.surface(hits.triangle[seen], hits.u[seen], hits.v[seen])
            facing = facing @ pose[:3, :3].T.astype(np.float32)
            coordinates[window][seen], albedo[window][seen] = points, colour
            seen_points = transform_points(pose, points.astype(float))
            away = np.einsum("ni,ni->n", facing, seen_points) > 0  # open meshes show their inside
            normals[window][seen] = np.where(away[:, None], -facing, facing)
        depth[instance < 0] = np.nan
        return Rendering(depth, instance, normals, coordinates, albedo, tuple(full_masks))

    def _target(self, object_id: int) -> _Target:
        try:
            return self._targets[object_id]
        except KeyError:
            known = sorted(self._targets)
            raise UnknownObjectError(f"object {object_id} is not one of {known}") from None


def _pixels(part: slice) -> Floats:
    """Return the positions of a part of the rows or columns of an image, (n,), px."""
    return np.arange(part.start, part.stop, dtype=np.float32)


def _rays(x: Floats, y: Floats, camera: Camera) -> Floats:
    """Return the directions (..., 3), camera frame, of pixels whose x and y are (...), px.

    Their z is 1, so that the length along a ray is the depth.
    """
    if camera.distortion:
        pixels = np.stack(np.broadcast_arrays(x, y), axis=-1)
        return camera.unproject(pixels, np.ones(pixels.shape[:-1])).astype(np.float32)
    rays = np.ones((*np.broadcast_shapes(x.shape, y.shape), 3), np.float32)
    rays[..., 0] = (x - camera.cx) / camera.fx
    rays[..., 1] = (y - camera.cy) / camera.fy
    return rays


def _between(there: Mask) -> Mask:
    """Say of which pixels (2 h, 2 w) every second one, (h, w), does not tell if they are there.

    These are the pixels between some that are and some that are not.
    """
    height, width = there.shape
    corners = np.zeros((height + 1, width + 1), bool)
    corners[:-1, :-1] = there
    along, down = corners[:-1, 1:] != there, corners[1:, :-1] != there
    unsure = np.zeros((2 * height, 2 * width), bool)
    unsure[::2, 1::2], unsure[1::2, ::2] = along, down
    unsure[1::2, 1::2] = along | down | (corners[1:, 1:] != there)
    return unsure


def _from_object(camera_from_object: Array, rays: Floats) -> tuple[Floats, Floats]:
    """Return origins and directions, (n, 3) each, of the camera's rays in the object's frame."""
    object_from_camera = invert(camera_from_object).astype(np.float32)
    directions: Floats = rays @ object_from_camera[:3, :3].T
    origins = np.empty_like(directions)
    origins[:] = object_from_camera[:3, 3]
    return origins, directions


def _facet_normals(triangles: Floats) -> Floats:
    """Return the unit normals (n, 3) of triangles (n, 3, 3); 0 for those without an area."""
    sides = triangles[:, 1:] - triangles[:, :1]
    normals = np.cross(sides[:, 0], sides[:, 1])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(lengths, 1e-12), np.float32)


def _blend(weights: Floats, values: Floats) -> Floats:
    """Blend the values at the corners of triangles, (n, 3, d), by weights (n, 3) into (n, d)."""
    blended: Floats = (weights[:, None, :] @ values)[:, 0]
    return blended


def _region(corners: Array, camera: Camera) -> tuple[slice, slice]:
    """Return the rows and columns in which a box with these corners, (8, 3), mm, can be seen."""
    if camera.distortion or (corners[:, 2] <= 0).any():
        # Distortion bends edges, and behind the camera projection turns over: look everywhere.
        visible = bool((corners[:, 2] > 0).any())
        return slice(0, camera.height * visible), slice(0, camera.width * visible)
    pixels = camera.project(corners)
    low = np.clip(np.floor(pixels.min(axis=0)).astype(int), 0, [camera.width, camera.height])
    high = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + 1, 0, [camera.width, camera.height])
    return slice(low[1], high[1]), slice(low[0], high[0])


def _look_up(texture: NDArray[np.uint8], uv: Floats) -> Floats:
    """Sample a texture (h, w, 3), repeated without end, bilinearly at uv (n, 2), v up."""
    height, width = texture.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    along, down = (x - left)[:, None], (y - top)[:, None]
    cols, rows = (left % width, (left + 1) % width), (top % height, (top + 1) % height)
    upper = texture[rows[0], cols[0]] * (1 - along) + texture[rows[0], cols[1]] * along
    lower = texture[rows[1], cols[0]] * (1 - along) + texture[rows[1], cols[1]] * along
    colour: Floats = ((upper * (1 - down) + lower * down) / 255).astype(np.float32)
    return colour
