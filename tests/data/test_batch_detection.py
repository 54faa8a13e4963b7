from dataclasses import replace

import numpy as np
import pytest
import torch

from heatpose.data import batch_detection
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.batch_detection import DetectionBatchMaker, DetectionDrawingConfig
from heatpose.data.batch_samples import BatchStream
from heatpose.geometry.boxes import box_of_mask
from heatpose.geometry.camera import Camera
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer

SIZE, ROOM = 96, 200  # px, of a picture, and around it where objects go on
NOTHING_ON_TOP = {"covered": 0.0, "framed": 0.0}
PLAIN = NOTHING_ON_TOP | {"clutter": 0.0, "degraded": 0.0, "empty": 0.0}


@pytest.fixture
def objects(brick_mesh, cube_mesh):
    meshes = {4: brick_mesh, 2: cube_mesh, 9: replace(brick_mesh, vertices=brick_mesh.vertices / 2)}
    diameters = {4: 161.6, 2: 138.6, 9: 80.8}
    return [
        ObjectModel(i, str(i), mesh, mesh.vertices, np.eye(4)[None], diameters[i])
        for i, mesh in meshes.items()
    ]


def maker_of(objects, **changes):
    few = {"image_size": SIZE, "size": (0.15, 0.45), "points": 8_000}
    config = DetectionDrawingConfig(**(few | changes))
    return DetectionBatchMaker(objects, Backgrounds(), config, torch.device("cpu"))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def cast(maker, objects, scenes, row):
    """Boxes of what is seen, (m, 4), and which share of all of each object that is, (m,).

    From ray casting; NaN and 0 where there is no object, or nothing of it is seen.
    """
    matrix = scenes.camera_matrix[row].double().numpy()
    camera = Camera.from_matrix(matrix, SIZE, SIZE)
    around = camera.warped(1.0, np.array([ROOM, ROOM]), SIZE + 2 * ROOM, SIZE + 2 * ROOM)
    index = scenes.layout.object_index[row].numpy()
    there = np.flatnonzero(index >= 0)
    ids = [objects[i].object_id for i in index[there]]
    poses = scenes.layout.camera_from_object[row].double().numpy()[there]
    renderer = Renderer({o.object_id: o.mesh for o in objects})
    seen = renderer.render(ids, poses, camera)
    whole = renderer.render(ids, poses, around).full_masks
    boxes, fractions = np.full((len(index), 4), np.nan), np.zeros(len(index))
    for place, slot in enumerate(there):
        if seen.mask(place).any():
            boxes[slot] = box_of_mask(seen.mask(place))
            fractions[slot] = seen.mask(place).sum() / whole[place].sum()
    return boxes, fractions


@pytest.mark.parametrize("tables", [0.0, 1.0], ids=["floating", "on tables"])
def test_boxes_are_those_of_ray_casting_and_what_is_hidden_has_none(objects, tables):
    maker = maker_of(objects, tables=tables, min_visible=0.3, twins=1.0, **PLAIN)
    scenes = maker.scenes(generator(), 16)
    batch = maker(generator(), 16)
    hidden, errors = 0, []
    for row in range(16):
        boxes, fractions = cast(maker, objects, scenes, row)
        index = scenes.layout.object_index[row].numpy()
        side = np.nan_to_num(np.minimum(*(boxes[:, 2:] - boxes[:, :2]).T))
        labels = batch["labels"][row].numpy()
        drawn = batch["boxes"][row].numpy()[labels >= 0]
        slots = []
        for label, box in zip(labels[labels >= 0], drawn, strict=True):
            away = np.where(index == label, np.abs(boxes - box).max(axis=1), np.nan)
            slots.append(int(np.nanargmin(away)))
            errors.append(box - boxes[slots[-1]])
        clear = (fractions > 0.35) & (side > 8)
        unclear = (fractions < 0.25) | (side < 4)
        assert set(np.flatnonzero(clear)) <= set(slots)
        assert not set(np.flatnonzero(unclear)) & set(slots)
        hidden += (unclear & (fractions > 0.02)).sum()
    assert hidden > 0 and len(errors) > 20
    # Of what is hardly seen, one pixel more or less may be the whole of a sliver.
    assert np.abs(errors).mean() < 0.4 and np.abs(np.mean(errors, axis=0)).max() < 0.15
    assert np.quantile(np.abs(errors).max(axis=1), 0.95) <= 1.5 and np.abs(errors).max() <= 4


def test_labels_are_places_in_the_list_and_stand_before_the_padding(objects):
    batch = maker_of(objects)(generator(), 24)
    labels, boxes = batch["labels"], batch["boxes"]
    assert batch["image"].shape == (24, SIZE, SIZE, 3) and batch["image"].dtype == torch.uint8
    assert labels.shape == (24, 12) and boxes.shape == (24, 12, 4)
    assert labels.dtype == torch.int64 and boxes.dtype == torch.float32
    there = labels >= 0
    assert set(labels.unique().tolist()) == {-1, 0, 1, 2}
    assert torch.equal(boxes.isfinite().all(dim=2), there)
    assert torch.equal(boxes.isnan().all(dim=2), ~there)
    assert (there[:, :-1] | ~there[:, 1:]).all()
    assert boxes[there].min() >= -0.5 and boxes[there].max() <= SIZE - 0.5
    assert (boxes[there][:, 2:] - boxes[there][:, :2] >= 6).all()


def test_an_object_comes_twice_only_where_twins_are_asked_for(objects):
    def most(twins):
        labels = maker_of(objects, twins=twins, **PLAIN)(generator(), 16)["labels"]
        return max((labels == label).sum(dim=1).max() for label in range(3))

    assert most(0.0) == 1 and most(1.0) > 1


def test_the_same_number_gives_the_same_batch_and_another_a_different_one(objects):
    stream = BatchStream(maker_of(objects), 3, 5, seed=1)
    assert len(stream) == 5
    first, again, other = stream[2], stream[2], stream[3]
    for name in first:
        assert torch.equal(first[name].nan_to_num(), again[name].nan_to_num())
    assert not torch.equal(first["image"], other["image"])


def test_a_share_of_the_pictures_is_empty(objects):
    labels = maker_of(objects, empty=0.5, **NOTHING_ON_TOP)(generator(), 32)["labels"]
    assert 0.3 <= (labels < 0).all(dim=1).double().mean() <= 0.8
    assert (maker_of(objects, empty=1.0)(generator(), 1)["labels"] == -1).all()


def test_no_box_reaches_into_the_grey_beside_a_frame(objects):
    batch = maker_of(objects, framed=1.0, covered=0.0)(generator(), 16)
    grey = (batch["image"] == 114).all(dim=3).all(dim=2)  # (b, h), rows
    assert 0 < grey.double().mean() < 0.5
    for rows, boxes in zip(grey, batch["boxes"], strict=True):
        for _, top, _, bottom in boxes[boxes.isfinite().all(dim=1)].tolist():
            assert not rows[round(top + 0.5) : round(bottom + 0.5)].any()


def test_what_is_covered_counts_as_hidden(objects):
    bare = maker_of(objects, **PLAIN)(generator(), 16)
    covered = maker_of(objects, **(PLAIN | {"covered": 1.0}))(generator(), 16)

    def area(boxes):
        return (boxes[..., 2:] - boxes[..., :2]).nan_to_num().prod(dim=-1).sum(dim=1)

    less = area(covered["boxes"]) < area(bare["boxes"])
    assert less.sum() > 4 and (area(covered["boxes"]) <= area(bare["boxes"])).all()


def test_on_tables_all_stand_on_the_table_and_beside_each_other(objects):
    maker = maker_of(objects, tables=1.0, twins=1.0, on_tables=(4, 6), empty=0.0)
    layout = maker.scenes(generator(), 32).layout
    near, seen = [], 0
    for row in range(32):
        feet, radii = [], []
        for index, pose in zip(
            layout.object_index[row].tolist(), layout.camera_from_object[row].numpy(), strict=True
        ):
            if index < 0 or not layout.table[row].isfinite():
                continue
            points = objects[index].mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
            height = points @ layout.up[row].numpy() - float(layout.table[row])
            # Few points of the surface say what stands lowest: a corner may sink in.
            assert -0.08 * objects[index].diameter < height.min() < 1e-2
            middle = points.mean(axis=0)
            feet.append(middle - (middle @ layout.up[row].numpy()) * layout.up[row].numpy())
            radii.append(objects[index].diameter / 2)
            seen += 1
        for i, j in zip(*np.triu_indices(len(feet), 1), strict=True):
            near.append(np.linalg.norm(feet[i] - feet[j]) / (radii[i] + radii[j]))
    assert seen > 60
    assert min(near) > 0.2 and np.mean(near) < 2.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (0.3, 0.1)}, "size must be positive and rising"),
        ({"floating": (0, 3)}, "floating must be at least 1"),
        ({"covered": 1.5}, "covered is a share"),
    ],
)
def test_nonsense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        DetectionDrawingConfig(**changes)


def test_as_many_pictures_as_asked_for_are_degraded(objects, monkeypatch):
    monkeypatch.setattr(batch_detection, "degrade", lambda generator, those, harsh: 0 * those)
    maker = maker_of(objects, **NOTHING_ON_TOP, clutter=0.0, degraded=0.25)
    images = maker(generator(), 16)["image"]
    assert (images == 0).all(dim=3).all(dim=2).all(dim=1).sum() == 4
