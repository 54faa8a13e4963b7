from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
import torch

from heatpose.data import batch_scenery
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.batch_layouts import Layout, Shapes, random_layout
from heatpose.data.batch_scenery import (
    BatchScenery,
    Lights,
    generated_textures,
    paint,
    random_lights,
)
from heatpose.data.views import ViewConfig
from heatpose.render.raycast import Renderer
from heatpose.render.shading import Lighting, shade
from heatpose.render.splats import draw, strew, surfaces

DEVICE = torch.device("cpu")
TABLE = torch.full((1, 3, 1, 1), 0.5)  # its colour


@pytest.fixture
def renderer(objects):
    return Renderer({o.object_id: o.mesh for o in objects})


@pytest.fixture
def strewn(renderer):
    return strew(renderer, [3, 7], 20_000, DEVICE)


@pytest.fixture
def scenery():
    return BatchScenery(Backgrounds(), DEVICE)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_backgrounds_come_from_photographs_most_of_the_time(photos):
    grey = Backgrounds()
    grey.photos = [np.full((50, 60, 3), 90, np.uint8)]
    drawn = BatchScenery(grey, DEVICE).draw(generator(), 200, 16)
    plain = (drawn - 90 / 255).abs().amax(dim=(1, 2, 3)) < 0.01
    assert plain.float().mean() == pytest.approx(0.85, abs=0.07)
    varied = BatchScenery(photos, DEVICE).draw(generator(), 4, 300)
    assert varied.shape == (4, 3, 300, 300) and (varied >= 0).all() and (varied <= 1).all()


def test_textures_are_all_different():
    textures = generated_textures(generator(), 6, 20)
    assert (textures >= 0).all() and (textures <= 1).all()
    assert textures.flatten(1).std(dim=1).min() > 0.01
    assert textures.mean(dim=(2, 3)).std(dim=0).min() > 0.05


def standing(objects, camera_height=900.0, b=1):
    """Layouts of one object on a table, looked at from straight above."""
    pose = torch.eye(4).repeat(b, 1, 1, 1)
    pose[:, :, :3, :3] = torch.diag(torch.tensor([1.0, -1, -1]))
    pose[:, :, 2, 3] = camera_height
    up = torch.tensor([[0.0, 0, -1]]).expand(b, 3)
    low = float(objects[1].mesh.lower[2])
    return Layout(
        torch.ones(b, 1, dtype=torch.int64), pose, up, torch.full((b,), low - camera_height)
    )


def test_tables_lie_under_objects_and_end_somewhere(objects, strewn, scenery):
    b, size = 40, 80
    layout = standing(objects, b=b)
    matrix = torch.tensor([[40.0, 0, 39.5], [0, 40, 39.5], [0, 0, 1]]).expand(b, 3, 3)
    splats = draw(strewn, layout.object_index, layout.camera_from_object, matrix, size)
    on_table = paint(generator(5), splats, strewn, layout, matrix, scenery, 0.0)
    bare = Layout(
        layout.object_index, layout.camera_from_object, layout.up, torch.full((b,), torch.nan)
    )
    without = paint(generator(5), splats, strewn, bare, matrix, scenery, 0.0)
    assert on_table.isfinite().all() and without.isfinite().all()
    background = (splats.instance < 0)[:, None].expand_as(on_table)
    same = torch.where(background, (on_table - without).abs(), 0).amax(dim=1) < 1e-6
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    from_middle = torch.hypot(x - 39.5, y - 39.5) * (900 + 40) / 40  # mm on the table
    seen = splats.instance < 0
    assert not (same & seen)[:, from_middle < 140].float().mean() > 0.02
    assert same[:, from_middle > 830].all()


def test_objects_cast_shadows_on_tables(objects, strewn, scenery):
    b, size = 60, 64
    layout = standing(objects, b=b)
    matrix = torch.tensor([[300.0, 0, 31.5], [0, 300, 31.5], [0, 0, 1]]).expand(b, 3, 3)
    index = torch.full_like(layout.object_index, -1)
    nothing = Layout(index, layout.camera_from_object, layout.up, layout.table)
    pictures = []
    for one in (layout, nothing):
        splats = draw(strewn, one.object_index, one.camera_from_object, matrix, size)
        drawn = paint(generator(6), splats, strewn, one, matrix, scenery, 0.0)
        pictures.append(torch.where((splats.instance < 0)[:, None], drawn, torch.nan))
    darker = (pictures[0] < pictures[1] - 0.02).any(dim=1).float().mean(dim=(1, 2))
    lighter = (pictures[0] > pictures[1] + 1e-4).any(dim=1).float().mean()
    assert lighter == 0
    assert (darker > 0.02).float().mean() > 0.7


def test_lights_have_unit_directions_and_come_from_above_tables(objects):
    layout = standing(objects, b=500)
    lights = random_lights(generator(7), layout)
    lengths = lights.directions.norm(dim=2)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-5)
    from_above = (lights.directions * layout.up[:, None]).sum(dim=2) > 0
    assert from_above.float().mean() > 0.8
    strength = lights.colours.mean(dim=2).sum(dim=1)
    assert strength.min() > 0.15 and strength.max() < 1.3
    on = (lights.colours.mean(dim=2) > 0).sum(dim=1)
    assert set(on.tolist()) == {1, 2, 3}


def tilted(b=1):
    """Layouts of one object on a table that is looked at from 30 degrees above its plane."""
    sin, cos = 0.5, 0.75**0.5
    pose = torch.eye(4).repeat(b, 1, 1, 1)
    pose[:, :, :3, :3] = torch.tensor([[1.0, 0, 0], [0, -sin, -cos], [0, cos, -sin]])
    pose[:, :, :3, 3] = torch.tensor([30.0, 20.0, 800.0])
    up = torch.tensor([[0.0, -cos, -sin]]).expand(b, 3)
    table = (pose[:, 0, :3, 3] * up).sum(dim=1) - 40
    return Layout(torch.ones(b, 1, dtype=torch.int64), pose, up, table)


def camera_of(size, focal):
    middle = (size - 1) / 2
    return torch.tensor([[focal, 0, middle], [0, focal, middle], [0, 0, 1.0]])[None]


def on_table(layout, matrix, x, y):
    """Points of the table that pixels see, (..., 3), mm; NaN where they see none of it."""
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(matrix[0].double().numpy()).T
    up, height = layout.up[0].double().numpy(), float(layout.table[0])
    distance = height / (rays @ up)
    return rays * np.where(distance > 0, distance, np.nan)[..., None]


@pytest.mark.parametrize(("scale", "around"), [(1, None), (2, None), (1, 150.0)])
def test_a_table_is_a_disc_below_the_object(strewn, scenery, monkeypatch, scale, around):
    monkeypatch.setattr(batch_scenery, "REACH", (200.0, 200.0))
    monkeypatch.setattr(batch_scenery, "_table_colours", lambda *args: TABLE)
    monkeypatch.setattr(batch_scenery, "_shadow", lambda *args: torch.ones(1, 1, 1, 1))
    monkeypatch.setattr(scenery, "draw", lambda g, b, size: torch.zeros(b, 3, size, size))
    size = 96
    layout, matrix = tilted(), camera_of(size, 110.0)
    matrix[0, 0, 2], matrix[0, 1, 1], matrix[0, 1, 2] = 44.0, 115.0, 50.0
    nothing = replace(layout, object_index=torch.full((1, 1), -1))
    splats = draw(strewn, nothing.object_index, nothing.camera_from_object, matrix, size)
    reach = None if around is None else torch.tensor([around])
    picture = paint(
        generator(), splats, strewn, nothing, matrix, scenery, 0.0, around=reach, scale=scale
    )
    y, x = np.mgrid[:size, :size].astype(float)
    # Each pixel of the background is as large as `scale` of the picture's.
    x, y = ((one // scale + 0.5) * scale - 0.5 for one in (x, y))
    up = layout.up[0].double().numpy()
    place = layout.camera_from_object[0, 0, :3, 3].double().numpy()
    foot = place - up * (place @ up - float(layout.table[0]))
    away = np.linalg.norm(on_table(layout, matrix, x, y) - foot, axis=-1)
    expected = away < (200 if around is None else 350)
    assert 500 < expected.sum() < 0.6 * size * size
    assert ((picture[0, 0].numpy() > 0) == expected).all()


def test_a_picture_without_a_table_changes_nothing_of_the_one_beside_it(
    strewn, scenery, monkeypatch
):
    def lights(generator, layout):
        """A light from above, redder the farther away the object is."""
        b, redness = len(layout.up), layout.camera_from_object[:, 0, 2, 3:] / 1000
        colours = torch.cat([redness, 1 - redness, redness * 0], dim=1)
        shine = (torch.zeros(b, 1), torch.ones(b, 1))
        towards, each = (one[:, None].expand(b, 3, 3) for one in (layout.up, colours / 3))
        return Lights(towards, each, colours / 3, *shine)

    monkeypatch.setattr(batch_scenery, "REACH", (60.0, 60.0))
    monkeypatch.setattr(batch_scenery, "random_lights", lights)
    monkeypatch.setattr(batch_scenery, "_table_colours", lambda *args: TABLE)
    monkeypatch.setattr(scenery, "draw", lambda g, b, size: torch.zeros(b, 3, size, size))
    size = 64
    alone, camera = tilted(), camera_of(size, 110.0)
    both, cameras = tilted(2), torch.cat([camera_of(size, 300.0), camera])
    both.table[0] = torch.nan
    both.camera_from_object[0, 0, :3, 3] = torch.tensor([-40.0, -60.0, 500.0])

    def painted(layout, matrix, around):
        splats = draw(strewn, layout.object_index, layout.camera_from_object, matrix, size)
        reach = torch.tensor(around)
        return paint(generator(), splats, strewn, layout, matrix, scenery, 0.0, around=reach)

    pictures = painted(both, cameras, [500.0, 40.0])
    assert torch.equal(pictures[1], painted(alone, camera, [40.0])[0])
    on_one = (pictures > 0).any(dim=1).float().mean(dim=(1, 2))
    object_alone = (
        (draw(strewn, both.object_index, both.camera_from_object, cameras, size).instance == 0)
        .float()
        .mean(dim=(1, 2))
    )
    assert on_one[0] == object_alone[0] and on_one[1] > 1.5 * object_alone[1]


@pytest.mark.parametrize(("side", "brightness"), [(1, 0.6), (-1, 0.1)], ids=["above", "below"])
def test_a_table_is_lit_from_above_and_darkened_by_both_shadows(
    strewn, scenery, monkeypatch, side, brightness
):
    layout, matrix = tilted(), camera_of(64, 400.0)
    first = torch.tensor([0.0, -1, 0])
    monkeypatch.setattr(batch_scenery, "_table_colours", lambda *args: TABLE)
    monkeypatch.setattr(
        batch_scenery,
        "random_lights",
        lambda generator, layout: Lights(
            torch.stack([first, *(side * layout.up).expand(2, 3)])[None],
            torch.tensor([0.0, 1, 0])[None, :, None].expand(1, 3, 3),
            *(torch.full((1, 3), 0.2), torch.zeros(1, 1), torch.ones(1, 1)),
        ),
    )

    def left(generator, strewn, layout, camera_matrix, towards, size):
        """What the shadow of the first light leaves, and that of light from straight above."""
        share = {tuple(first.tolist()): 0.9, tuple(layout.up[0].tolist()): 0.8}
        return torch.full((1, 1, 1, 1), share[tuple(towards[0].tolist())])

    monkeypatch.setattr(batch_scenery, "_shadow", left)
    nothing = replace(layout, object_index=torch.full((1, 1), -1))
    splats = draw(strewn, nothing.object_index, nothing.camera_from_object, matrix, 64)
    picture = paint(generator(), splats, strewn, nothing, matrix, scenery, 0.0)
    # Half of the ambient light 0.2, and half of the second light 1 if it comes from above.
    expected = brightness * 0.9 * 0.8
    assert picture[0, :, 40, 32].tolist() == pytest.approx([expected] * 3, abs=1e-5)


@pytest.mark.parametrize("towards", [(0.0, 0.0, 1.0), (0.9, 0.3, 1.0), (-0.6, -0.9, 1.0)])
def test_a_shadow_lies_where_the_light_throws_it(objects, strewn, towards):
    layout, size = tilted(), 96
    matrix = camera_of(size, 300.0)
    pose = layout.camera_from_object[0, 0].double().numpy()
    light = pose[:3, :3] @ np.array(towards) / np.linalg.norm(towards)  # z is up in the world
    shadow = batch_scenery._shadow(
        generator(), strewn, layout, matrix, torch.from_numpy(light).float()[None], size
    )[0, 0].numpy()
    up, corners = layout.up[0].double().numpy(), objects[1].mesh.corners
    corners = corners @ pose[:3, :3].T + pose[:3, 3]
    height = corners @ up - float(layout.table[0])
    pixels = (corners - np.outer(height / (light @ up), light)) @ matrix[0].double().numpy().T
    outline = cv2.convexHull(np.float32(pixels[:, :2] / pixels[:, 2:]))  # of a convex object
    expected = cv2.fillConvexPoly(np.zeros((size, size), np.uint8), outline.round().astype(int), 1)
    dark = shadow < (shadow.min() + 1) / 2
    assert shadow.max() == 1 and expected.sum() > 300
    assert (dark & (expected > 0)).sum() / (dark | (expected > 0)).sum() > 0.85
    absent = replace(layout, object_index=torch.full((1, 1), -1))
    args = (strewn, absent, matrix, torch.from_numpy(light).float()[None], size)
    assert (batch_scenery._shadow(generator(), *args) == 1).all()


def test_light_from_below_casts_no_shadow(strewn):
    layout, matrix = tilted(), camera_of(48, 150.0)
    shadow = batch_scenery._shadow(generator(), strewn, layout, matrix, -layout.up, 48)
    assert (shadow == 1).all()


def test_objects_are_shaded_as_by_the_module_for_single_pictures(renderer, strewn, objects):
    shapes = Shapes.of(objects, DEVICE)
    views = ViewConfig(smallest=150, largest=170, n_others=1)
    layout = random_layout(generator(8), shapes, views, 6, table_share=0.0)
    lights = random_lights(generator(9), layout)
    lights = replace(lights, specular=torch.linspace(0, 0.6, 6)[:, None])
    camera = replace(views.camera, width=480, height=480)
    matrix = torch.from_numpy(camera.matrix).float().expand(6, 3, 3)
    index, poses = layout.object_index, layout.camera_from_object
    splats = draw(strewn, index, poses, matrix, 480)
    seen = surfaces(splats, strewn, poses)
    rays = batch_scenery._rays(seen, matrix)
    pixels = torch.stack([seen.column, seen.row], dim=1).double().numpy()
    assert np.abs(rays.numpy() - camera.unproject(pixels, np.ones(len(pixels)))).max() < 1e-5
    colours = batch_scenery._shaded(seen, seen.albedo, rays, lights).clamp(0, 1).numpy() * 255
    for row in range(6):
        there = index[row] >= 0
        ids = [objects[i].object_id for i in index[row][there]]
        cast = renderer.render(ids, list(poses[row][there].double().numpy()), camera)
        lighting = Lighting(
            *(lights.directions[row].numpy(), lights.colours[row].numpy()),
            lights.ambient[row].numpy(),
            float(lights.specular[row]),
            float(lights.shininess[row]),
        )
        own = (seen.picture == row).numpy()
        expected = shade(cast, camera, lighting)[seen.row.numpy()[own], seen.column.numpy()[own]]
        wrong = np.abs(colours[own] - expected)
        assert np.median(wrong) < 1.5 and np.mean(wrong) < 4


def test_open_meshes_show_their_inside_as_they_show_their_outside(strewn):
    layout = tilted()
    lights = random_lights(generator(9), layout)
    matrix = camera_of(96, 300.0)
    splats = draw(strewn, layout.object_index, layout.camera_from_object, matrix, 96)
    seen = surfaces(splats, strewn, layout.camera_from_object)
    inside = replace(seen, normals=-seen.normals)
    rays = batch_scenery._rays(seen, matrix)
    shaded = [batch_scenery._shaded(one, one.albedo, rays, lights) for one in (seen, inside)]
    torch.testing.assert_close(*shaded)


def test_each_object_is_repainted_in_its_own_way(brick_mesh, scenery, monkeypatch):
    def lights(generator, layout):
        b = len(layout.up)
        none = torch.zeros(b, 3, 3)
        return Lights(none, none, none[:, 0] + 1, torch.zeros(b, 1), torch.ones(b, 1))

    monkeypatch.setattr(batch_scenery, "random_lights", lights)
    grey = replace(brick_mesh, colours=np.full_like(brick_mesh.colours, 102))  # 0.4
    strewn = strew(Renderer({1: grey}), [1], 5_000, DEVICE)
    b, size, matrix = 60, 48, camera_of(48, 100.0)
    poses = torch.eye(4).repeat(b, 2, 1, 1)
    poses[:, 0, :3, 3] = torch.tensor([-100.0, 0, 600])
    poses[:, 1, :3, 3] = torch.tensor([100.0, 0, 600])
    up, table = torch.zeros(b, 3), torch.full((b,), torch.nan)
    layout = Layout(torch.zeros(b, 2, dtype=torch.int64), poses, up, table)
    matrices = matrix.expand(b, 3, 3)
    splats = draw(strewn, layout.object_index, poses, matrices, size)
    draw_with = partial(paint, generator(), splats, strewn, layout, matrices, scenery)

    def colours(harsh):
        """The colour (b, 2, 3) of each object; they have one each."""
        picture = draw_with(harsh)
        each = []
        for slot in (0, 1):
            mask = (splats.instance == slot)[:, None].expand_as(picture)
            low = torch.where(mask, picture, torch.inf).amin(dim=(2, 3))
            high = torch.where(mask, picture, -torch.inf).amax(dim=(2, 3))
            torch.testing.assert_close(low, high, rtol=0, atol=1e-5)
            each.append(high)
        return torch.stack(each, dim=1)

    def kept(colours):
        return ((colours - 0.4).abs() < 1e-3).all(dim=2)

    assert kept(colours(0.0)).all()
    changed = colours(1.0)
    assert kept(changed).float().mean() == pytest.approx(0.3, abs=0.13)
    apart = kept(changed)[:, 0] != kept(changed)[:, 1]  # each by its own chance
    assert apart.float().mean() == pytest.approx(2 * 0.3 * 0.7, abs=0.17)
    others = changed[~kept(changed)]
    assert len(others.unique(dim=0)) == len(others)  # no two alike
    some = kept(colours(0.5)).all(dim=1).float().mean()  # whole pictures are left alone
    assert some == pytest.approx(0.5 + 0.5 * 0.3**2, abs=0.17)


def test_backgrounds_are_upright_parts_of_photographs_and_mirrored_half_of_the_time(monkeypatch):
    monkeypatch.setattr(batch_scenery, "GENERATED_SHARE", 0.0)
    ramps = Backgrounds()
    across, down = np.meshgrid(np.linspace(0, 200, 640), np.linspace(50, 250, 480))
    ramps.photos = [np.dstack([across, down, 0 * down]).astype(np.uint8)]
    drawn = BatchScenery(ramps, DEVICE).draw(generator(), 200, 24)
    right = drawn[:, 0, 12, -1] - drawn[:, 0, 12, 0]
    lower = drawn[:, 1, -1, 12] - drawn[:, 1, 0, 12]
    assert (right > 0).float().mean() == pytest.approx(0.5, abs=0.1)
    assert (lower > 0.1).all() and (right.abs() > 0.07).all()
    # A quarter to all of the height, and pixels that stay square.
    assert lower.min() < 0.3 and lower.max() > 0.65
    torch.testing.assert_close(right.abs() * 4 / 3, lower, rtol=0.1, atol=0.03)


def test_photographs_are_looked_up_at_about_the_size_they_are_shown_at():
    noise = Backgrounds()
    noise.photos = [np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)]
    scenery = BatchScenery(noise, DEVICE)
    grid = batch_scenery.grid_of(torch.linspace(-0.5, 0.5, 90)[None], torch.zeros(1, 90))
    spread = [float(scenery.look_up(generator(), grid, s).std()) for s in (480, 200, 100, 9)]
    # Each halving takes the mean of four values that have nothing to do with each other.
    assert spread == pytest.approx([spread[0] / 2**i for i in (0, 1, 2, 3)], rel=0.35)
