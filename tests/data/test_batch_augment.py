from functools import partial

import cv2
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from heatpose.data import augment, batch_augment

CHANGES = {
    "blur": batch_augment.blur,
    "change_light": batch_augment.change_light,
    "sharpen": batch_augment.sharpen,
    "exaggerate_colour": batch_augment.exaggerate_colour,
    "change_colour": batch_augment.change_colour,
    "add_noise": batch_augment.add_noise,
    "compress": batch_augment.compress,
    "degrade": batch_augment.degrade,
    "degrade_harshly": partial(batch_augment.degrade, harsh=0.5),
}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def photo(height=40, width=56, seed=0):
    """A uint8 picture (h, w, 3) with colours of all sizes, edges and a little grain."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 110, np.float32)
    for cells, strength in ((3, 45), (8, 25), (25, 12)):
        coarse = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image[height // 4 : height // 2, width // 3 :] *= (1.4, 0.9, 0.5)
    image += rng.normal(0, 3, image.shape)
    return np.uint8(image.clip(0, 255))


def batch(*images):
    """Pictures (h, w, 3) as the float tensor that the module works on."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def pictures(images):
    """The other way, but still float, on 0 to 255."""
    return images.permute(0, 2, 3, 1).numpy() * 255


@pytest.fixture
def photos():
    return batch(*[photo(seed=seed) for seed in range(8)])


@pytest.fixture
def impulse():
    """Black but for one pixel, and not square."""
    image = torch.zeros(1, 3, 31, 41)
    image[..., 15, 20] = 1
    return image


def variances(image):
    """Spread of an impulse's picture (3, h, w) along x and y, px^2."""
    weights = image[0].double()
    down, across = weights.sum(1), weights.sum(0)
    return [
        (mass * (torch.arange(len(mass)) - len(mass) // 2) ** 2).sum() / mass.sum()
        for mass in (across, down)
    ]


def unchanged(change, images, count=600):
    """The share of pictures that a change leaves as they are."""
    many = images[:1].expand(count, -1, -1, -1)
    return (change(generator(), many) - many).abs().amax(dim=(1, 2, 3)).lt(1e-6).float().mean()


@every_change
def test_the_same_seed_gives_the_same_pictures_and_another_different_ones(change, photos):
    first = change(generator(3), photos)
    torch.testing.assert_close(first, change(generator(3), photos), rtol=0, atol=0)
    assert not torch.equal(first, change(generator(4), photos))


@every_change
def test_values_stay_finite_and_between_0_and_1(change, photos):
    extremes = torch.stack([torch.zeros(3, 40, 56), torch.ones(3, 40, 56)])
    noise = torch.rand(6, 3, 40, 56, generator=generator(1)).round()
    images = torch.cat([photos, extremes, noise])
    for seed in range(5):
        changed = change(generator(seed), images)
        assert changed.shape == images.shape and changed.dtype == torch.float32
        assert changed.isfinite().all()
        assert changed.min() >= 0 and changed.max() <= 1 + 1e-5


@every_change
def test_a_picture_does_not_depend_on_those_beside_it(change, photos):
    others = photos.flip(0)
    others[5] = photos[5]
    alone, beside = change(generator(), photos)[5], change(generator(), others)[5]
    torch.testing.assert_close(alone, beside, rtol=0, atol=1e-6)


@every_change
def test_the_input_is_left_as_it_was(change, photos):
    before = photos.clone()
    change(generator(), photos)
    assert torch.equal(photos, before)


class Watch(TorchDispatchMode):
    """Notes which operations would make the host wait for the device."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique")

    def __init__(self):
        super().__init__()
        self.waited = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        tensors = [a for arg in args for a in (arg if isinstance(arg, list) else [arg])]
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(a, torch.Tensor) and a.dtype == torch.bool for a in tensors[1:]
        )
        if name in self.WAITS or by_mask:
            self.waited.append(name)
        return func(*args, **(kwargs or {}))


def test_nothing_makes_the_host_wait(photos):
    with Watch() as watch:
        batch_augment.degrade(generator(), photos, 0.5, torch.ones(len(photos)))
        batch_augment.cut_out(generator(), photos, lambda n: photos[:n], 0.5)
    assert not watch.waited
    with Watch() as watch:  # which it would notice
        photos[photos > 0.5].sum().item()
    assert len(watch.waited) >= 2


@pytest.mark.parametrize("harsh", [0.0, 1.0])
def test_pictures_look_as_those_of_the_module_for_single_ones(harsh):
    image = photo()
    count = 1000
    one_by_one = np.stack(
        [augment.degrade(np.random.default_rng(seed), image, harsh) for seed in range(count)]
    )
    together = pictures(batch_augment.degrade(generator(), batch(*[image] * count), harsh))
    looks = {
        "red": lambda p: p[..., 0].mean((1, 2)),
        "green": lambda p: p[..., 1].mean((1, 2)),
        "blue": lambda p: p[..., 2].mean((1, 2)),
        "contrast": lambda p: p.mean(3).std((1, 2)),
        "saturation": lambda p: np.ptp(p, axis=3).mean((1, 2)),
        "edges": lambda p: np.abs(np.diff(p.mean(3), axis=2)).mean((1, 2)),
        "grain": lambda p: np.abs(np.diff(p, n=2, axis=1)).mean((1, 2, 3)),
    }
    for name, look in looks.items():
        old, new = look(one_by_one.astype(np.float32)), look(together)
        # Three standard errors of a difference, and the rounding down to whole values.
        assert new.mean() == pytest.approx(old.mean(), abs=3 * old.std() * np.sqrt(2 / count) + 1.5)
        assert new.std() == pytest.approx(old.std(), rel=0.15), name


@pytest.mark.parametrize("variance", [0.5, 1.0, 4.0, 9.0])
def test_a_gaussian_has_the_variance_it_is_given_both_ways(impulse, variance):
    blurred = batch_augment.gaussian_blur(impulse, torch.tensor([variance]), 9)
    # What is cut off and sampled takes some: at sigma 3 the kernel ends at three sigmas.
    assert variances(blurred[0]) == pytest.approx(
        [variance] * 2, rel=0.15 if variance < 1 else 0.03
    )
    assert blurred.sum() == pytest.approx(3, rel=1e-5)


def test_blur_leaves_constant_pictures_alone_and_keeps_the_mean(impulse):
    constant = torch.full((50, 3, 20, 24), 0.3)
    torch.testing.assert_close(batch_augment.blur(generator(), constant), constant)
    blurred = batch_augment.blur(generator(), impulse.expand(50, -1, -1, -1))
    torch.testing.assert_close(blurred.sum(dim=(2, 3)), torch.ones(50, 3))


def test_extra_blur_adds_its_variance_to_each_picture(impulse):
    images, extra = impulse.expand(400, -1, -1, -1), torch.linspace(1, 5, 400)
    more = batch_augment.blur(generator(), images, extra)
    sharp = batch_augment.blur(generator(), images, torch.full((400,), 0.5))
    added = [
        variances(b)[way] - variances(a)[way]
        for a, b in zip(sharp, more, strict=True)
        for way in (0, 1)
    ]
    np.testing.assert_allclose(added, (extra - 0.5).repeat_interleave(2), atol=0.12)


def test_motion_is_rare_short_and_leaves_the_picture_in_place():
    kernels = batch_augment.motion_kernels(generator(), 4000)
    torch.testing.assert_close(kernels.sum(dim=(1, 2)), torch.ones(4000))
    torch.testing.assert_close(kernels, kernels.flip(1, 2), rtol=0, atol=1e-6)
    still = kernels[:, 2, 2] > 0.999
    assert still.float().mean() == pytest.approx(0.85, abs=0.02)
    # A line of 4 px has five places -2 to 2: their mean square is 2; of 2 px, 1/2 to 1.
    squares = (torch.arange(-2, 3) ** 2).float()
    spread = (kernels * (squares + squares[:, None])).sum(dim=(1, 2))[~still]
    assert spread.min() > 0.5 and spread.max() < 2.5
    angles = [(k.sum(0) * squares).sum() - (k.sum(1) * squares).sum() for k in kernels[~still]]
    assert np.mean(angles) == pytest.approx(0, abs=0.1) and max(angles) > 1 and min(angles) < -1


@pytest.mark.parametrize(
    ("name", "share"), [("sharpen", 0.4), ("add_noise", 0.2), ("compress", 0.5)]
)
def test_as_many_pictures_as_stated_are_left_alone(name, share, photos):
    assert unchanged(CHANGES[name], photos) == pytest.approx(share, abs=0.06)


def test_light_and_exaggeration_leave_alone_what_draws_none_of_their_parts(photos):
    assert unchanged(CHANGES["change_light"], photos) == pytest.approx(0.4 * 0.6, abs=0.05)
    untouched = 0.4 * 0.7 * 0.6 * 0.6
    assert unchanged(CHANGES["exaggerate_colour"], photos) == pytest.approx(untouched, abs=0.04)


def test_none_or_all_pictures_are_harsh(photos):
    bright = photos[:1].expand(300, -1, -1, -1)
    spread = [
        batch_augment.degrade(generator(), bright, harsh).mean(dim=(1, 2, 3)).std()
        for harsh in (0.0, 0.5, 1.0)
    ]
    assert spread[0] < spread[1] < spread[2]
    assert not batch_augment.chance(generator(), 0.0, 10_000).any()
    assert batch_augment.chance(generator(), 1.0, 10_000).all()


def test_light_falls_off_slowly_or_ends_at_a_shadow_and_never_adds_colour():
    lit = pictures(batch_augment.change_light(generator(), torch.full((100, 3, 48, 64), 0.4)))
    np.testing.assert_allclose(lit, lit[..., :1].repeat(3, 3), atol=1e-4)
    spread = np.ptp(lit, axis=(1, 2, 3))
    assert spread.min() < 1e-3 and spread.max() > 60


def test_shadows_darken_as_much_as_those_of_the_module_for_single_ones():
    grey = np.full((24, 32, 3), 100, np.uint8)
    old = np.stack([augment.change_light(np.random.default_rng(n), grey) for n in range(1500)])
    new = pictures(batch_augment.change_light(generator(), batch(*[grey] * 1500)))
    for look in (np.min, np.mean, np.max):
        expected = look(old, axis=(1, 2, 3)).mean()
        assert look(new, axis=(1, 2, 3)).mean() == pytest.approx(expected, abs=4)


def test_exposure_and_contrast_do_not_make_grey_pictures_much_more_colourful_than_white_balance():
    grey = torch.full((300, 3, 8, 8), 0.4)
    means = batch_augment.change_colour(generator(), grey).mean(dim=(2, 3))
    # Channels differ by at most 1.12 / 0.88 before saturation, which makes half more of it.
    apart = means.amax(dim=1) - means.amin(dim=1)
    assert apart.mean() < 0.1 * means.mean() * 2 and apart.max() > 0.02
    assert (means.mean(dim=0) - means.mean()).abs().max() < 0.02


def test_noise_has_no_mean_and_is_partly_the_same_in_all_channels():
    grey = torch.full((300, 3, 40, 40), 0.5)
    noise = batch_augment.add_noise(generator(), grey) - grey
    noisy = noise[noise.std(dim=(1, 2, 3)) > 0]
    assert noisy.mean() == pytest.approx(0, abs=1e-4)
    red, green = noisy[:, 0].flatten(1), noisy[:, 1].flatten(1)
    alike = (red * green).mean(1) / (red.std(1) * green.std(1))
    # Half a unit of their own and one in common: 1 / (1 + 1 / 4).
    np.testing.assert_allclose(alike[alike > 0.4], 0.8, atol=0.06)
    np.testing.assert_allclose(alike[alike < 0.4], 0.0, atol=0.12)
    assert (alike > 0.4).float().mean() == pytest.approx(0.5, abs=0.1)
    own = noisy.std(dim=(1, 2, 3))[alike < 0.4] * 255
    assert 0.9 < own.min() < 2 and 9 < own.max() < 10.3


@pytest.mark.parametrize("degrees", [-18, 6, 18])
def test_hues_turn_as_opencv_turns_them(degrees):
    image = photo()
    hsv = cv2.cvtColor(np.float32(image) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + degrees) % 360
    expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255
    turn = torch.deg2rad(torch.tensor(float(degrees))).view(1, 1, 1, 1)
    turned = pictures(batch_augment.turn_hue(batch(image), turn))[0]
    np.testing.assert_allclose(turned, expected, atol=0.1)


def test_a_hue_that_is_not_turned_stays(photos):
    same = batch_augment.turn_hue(photos, torch.zeros(len(photos), 1, 1, 1))
    torch.testing.assert_close(same, photos)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_cut_outs_cover_a_share_of_the_pictures_with_the_pieces(share):
    crops, pieces = torch.zeros(1000, 3, 40, 56), torch.ones(1000, 3, 40, 56)
    cut, covered = batch_augment.cut_out(generator(), crops, lambda n: pieces[:n], share)
    assert covered.dtype == torch.bool and covered.shape == (1000, 40, 56)
    assert torch.equal(cut, covered[:, None].expand(-1, 3, -1, -1).float())
    touched = covered.any(2).any(1).float().mean()
    if share in (0.0, 1.0):  # an outline may fall between pixels
        assert touched >= share * 0.97 and touched <= share
    else:
        assert touched == pytest.approx(share, abs=0.05)


def test_cut_outs_cover_as_much_as_those_of_the_module_for_single_ones():
    black, white = np.zeros((60, 80, 3), np.uint8), np.full((60, 80, 3), 255, np.uint8)

    class White:
        def draw(self, rng, height, width):
            return white

    old = [
        augment.cut_out(np.random.default_rng(seed), black, White())[1].mean()
        for seed in range(1000)
    ]
    crops = batch(black).expand(1000, -1, -1, -1)
    _, covered = batch_augment.cut_out(generator(), crops, lambda n: 1 - crops[:n], 1.0)
    new = covered.float().mean(dim=(1, 2)).numpy()
    # OpenCV also fills the pixels that an outline goes through.
    assert np.mean(old) * 0.75 < new.mean() < np.mean(old)
    assert new.std() == pytest.approx(np.std(old), rel=0.25)
    assert new.max() < 0.4


def test_polygons_have_three_to_seven_corners_on_their_ellipse():
    centre = torch.full((200, 2, 1, 1), 0.5)
    height = width = 200
    distance = batch_augment.polygon_distance(generator(), centre, (0.4, 0.4), height, width)
    y, x = np.mgrid[:height, :width] - 100.0
    corners = []
    for one in distance.numpy():
        inside = np.uint8(one <= 0)
        assert np.hypot(x, y)[inside > 0].max(initial=0) <= 80
        if inside.sum() > 4000:  # what is thin ends in loose pixels
            parts, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            found = max(parts, key=cv2.contourArea)
            hull = cv2.contourArea(cv2.convexHull(found))
            assert cv2.contourArea(found) > 0.95 * hull
            corners.append(len(cv2.approxPolyDP(found, 4, True)))
    assert min(corners) >= 3 and max(corners) <= 7 and len(set(corners)) >= 4


def test_distance_to_a_polygon_is_in_pixels():
    centre = torch.full((20, 2, 1, 1), 0.5)
    distance = batch_augment.polygon_distance(generator(), centre, (0.1, 0.4), 50, 90)
    down, across = torch.gradient(distance, dim=(1, 2))
    slope = torch.hypot(down, across)[:, 1:-1, 1:-1]
    torch.testing.assert_close(slope.median(), torch.tensor(1.0), rtol=0, atol=1e-3)
    for dim in (1, 2):  # nor does it ever grow faster
        assert distance.diff(dim=dim).abs().max() < 1.001


def test_over_many_seeds_some_are_as_many_as_asked_for_and_none_twice():
    counts = []
    for seed in range(2018):
        rows = batch_augment.some(generator(seed), 0.3, 5)
        assert len(set(rows.tolist())) == len(rows)
        counts.append(len(rows))
    assert set(counts) == {1, 2} and np.mean(counts) == pytest.approx(1.5, abs=0.01)
    assert sorted(batch_augment.some(generator(7), 1.0, 5).tolist()) == [0, 1, 2, 3, 4]
    assert len(batch_augment.some(generator(7), 0.0, 5)) == 0


def test_any_picture_is_as_likely_among_some_as_any_other():
    chosen = [batch_augment.some(generator(seed), 0.4, 5) for seed in range(1500)]
    shares = torch.cat(chosen).bincount(minlength=5) / len(chosen)
    assert (shares - 0.4).abs().max() < 0.05


def test_only_the_pictures_in_some_rows_are_changed(photos):
    seen = []

    def blacken(those):
        seen.append(those)
        return 0 * those

    after = batch_augment.changed(photos, torch.tensor([5, 2]), blacken)
    assert torch.equal(seen[0], photos[[5, 2]])
    black = (after == 0).all(dim=(1, 2, 3))
    assert black.nonzero().flatten().tolist() == [2, 5]
    assert torch.equal(after[~black], photos[~black]) and photos[2].any()
    assert batch_augment.changed(photos, torch.tensor([], dtype=torch.int64), blacken) is photos
    assert len(seen) == 1  # what is done to none is not done
