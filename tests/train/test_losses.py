import numpy as np
import pytest
import torch

from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector, random_rotation
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.model.heatmaps import SIGMA, encode
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.train import losses
from heatpose.train.losses import (
    LossConfig,
    choose_labelling,
    decoded_covariances,
    decoded_offsets,
    heatmap_divergence,
    keypoint_loss,
    pose_displacement,
)
from heatpose.train.pose_targets import PoseTargets

HEIGHT, WIDTH = 32, 40
RADIUS = 3.5 * SIGMA
NAN = float("nan")


def perfect_logits(keypoints, sigma=SIGMA):
    """Logits (b, k, h, w) of heatmaps that say exactly these keypoints, (b, k, 2)."""
    b, k, _ = keypoints.shape
    maps = encode(np.asarray(keypoints, float).reshape(b * k, 2), HEIGHT, WIDTH, sigma)
    return torch.tensor(np.log(maps + 1e-30)).float().view(b, k, HEIGHT, WIDTH)


@pytest.fixture
def truth(rng):
    """Keypoints (b, k, 2) a window away from the border."""
    return torch.tensor(rng.uniform([7, 7], [WIDTH - 8, HEIGHT - 8], (3, 6, 2))).float()


@pytest.fixture
def logits(rng):
    return torch.tensor(rng.normal(size=(3, 6, HEIGHT, WIDTH)) * 3).float()


# -- heatmaps


def test_divergence_is_that_of_the_drawn_gaussian(rng, logits):
    anywhere = rng.uniform(0, [WIDTH - 1, HEIGHT - 1], (3, 6, 2))
    drawn = torch.tensor(encode(anywhere.reshape(-1, 2), HEIGHT, WIDTH)).float()
    target = drawn.view(3, 6, -1)
    logs = logits.flatten(2).log_softmax(dim=-1)
    expected = torch.nn.functional.kl_div(logs, target, reduction="none").sum(dim=-1)
    found = heatmap_divergence(logits, torch.tensor(anywhere).float(), SIGMA)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_divergence_and_its_gradient_vanish_at_the_truth(truth):
    logits = perfect_logits(truth).requires_grad_()
    divergence = heatmap_divergence(logits, truth, SIGMA)
    torch.testing.assert_close(divergence, torch.zeros(3, 6), atol=1e-4, rtol=0)
    divergence.sum().backward()
    assert logits.grad.abs().max() < 1e-5


# -- offsets


def test_offsets_are_where_the_maps_put_the_keypoints(rng, truth):
    shift = torch.tensor(rng.uniform(-0.8, 0.8, truth.shape)).float()
    heatmaps = perfect_logits(truth + shift).exp()
    offsets, masses = decoded_offsets(heatmaps, truth, RADIUS)
    torch.testing.assert_close(offsets, shift, atol=0.02, rtol=0)
    torch.testing.assert_close(masses, torch.ones(3, 6), atol=0.01, rtol=0)


def test_flat_maps_have_no_offset_and_little_mass(truth):
    flat = torch.full((3, 6, HEIGHT, WIDTH), 1 / (HEIGHT * WIDTH))
    offsets, masses = decoded_offsets(flat, truth, RADIUS)
    # Nearly: a pixel cut by the window's edge counts with its centre. Whole pixels gave 0.5.
    torch.testing.assert_close(offsets, torch.zeros(3, 6, 2), atol=0.02, rtol=0)
    share = (2 * RADIUS) ** 2 / (HEIGHT * WIDTH)
    torch.testing.assert_close(masses, torch.full((3, 6), share))


def test_covariances_are_those_of_the_drawn_gaussians(truth):
    sigma = 1.0  # so that the window cuts nothing off
    heatmaps = perfect_logits(truth + torch.tensor([0.3, -0.6]), sigma).exp()
    heatmaps = (heatmaps + perfect_logits(truth + torch.tensor([0.7, 0.2]), sigma).exp()) / 2
    offsets, _ = decoded_offsets(heatmaps, truth, RADIUS)
    found = decoded_covariances(heatmaps, truth, offsets, RADIUS)
    # By hand: the two lie 0.2 and 0.4 px to either side of their mean, and each pixel is 1 px wide.
    between = torch.tensor([[0.04, 0.08], [0.08, 0.16]])
    expected = (sigma**2 + 1 / 12) * torch.eye(2) + between
    torch.testing.assert_close(found, expected.expand(3, 6, 2, 2), atol=0.01, rtol=0)


def test_an_offset_counts_by_the_mass_that_speaks_for_it(truth):
    far = truth.clamp_min(14.0)  # so that the lost mass is out of its window
    near = perfect_logits(far + 0.5).exp()
    lost = perfect_logits(torch.full_like(truth, 2.0)).exp()
    config = LossConfig(heatmap=0.0, reprojection=1.0)
    whole = keypoint_loss(near.log(), far[:, None], config).total
    tenth = keypoint_loss((0.1 * near + 0.9 * lost).log(), far[:, None], config).total
    torch.testing.assert_close(tenth, 0.1 * whole, atol=0, rtol=0.02)


# -- labellings


def test_the_labelling_that_is_drawn_is_chosen(truth):
    labellings = torch.stack([truth, truth.roll(1, dims=1), truth.roll(2, dims=1)], dim=1)
    for drawn in range(3):
        chosen = choose_labelling(perfect_logits(labellings[:, drawn]), labellings)
        assert chosen.tolist() == [drawn] * 3


def test_equal_objects_lose_equally_whichever_labelling_is_drawn(truth):
    other = truth.flip(1)
    labellings = torch.stack([truth, other], dim=1)
    blurred = 0.7
    first = keypoint_loss(perfect_logits(truth + blurred), labellings).total
    second = keypoint_loss(perfect_logits(other + blurred), labellings).total
    torch.testing.assert_close(first, second)
    swapped = keypoint_loss(perfect_logits(truth + blurred), labellings.flip(1)).total
    torch.testing.assert_close(first, swapped)
    alone = keypoint_loss(perfect_logits(truth + blurred), truth[:, None]).total
    torch.testing.assert_close(first, alone)


def test_padding_labellings_are_never_chosen(truth, logits):
    padded = torch.stack([torch.full_like(truth, NAN), truth], dim=1)
    assert choose_labelling(logits, padded).tolist() == [1, 1, 1]
    torch.testing.assert_close(
        keypoint_loss(logits, padded).total, keypoint_loss(logits, truth[:, None]).total
    )


def test_a_labelling_with_fewer_keypoints_inside_is_not_favoured_for_it(truth):
    # The wrong labelling counts one keypoint, the right one six: means compare, sums would not.
    wrong = truth.flip(1).clone()
    wrong[:, 1:] = NAN
    labellings = torch.stack([wrong, truth], dim=1)
    assert choose_labelling(perfect_logits(truth, sigma=3.0), labellings).tolist() == [1, 1, 1]


@pytest.mark.parametrize("pixel", [(1, 1), (21, 9), (WIDTH - 2, HEIGHT - 2)])
def test_likelihoods_are_looked_up_at_the_pixel_centres(pixel):
    x, y = pixel
    logits = torch.zeros(1, 1, HEIGHT, WIDTH)
    logits[0, 0, y, x] = 10
    aside = torch.tensor([[-0.4, 0.0], [0.4, 0.0], [0.0, -0.4], [0.0, 0.4], [0.0, 0.1]])
    places = torch.tensor([x, y]) + aside  # the last is nearest to the one bright pixel
    assert choose_labelling(logits, places.view(1, 5, 1, 2)).item() == 4


# -- the whole loss


def test_keypoints_that_are_not_there_do_not_count(truth, logits):
    part = truth.clone()
    part[:, 2] = NAN
    part[:, 5, 1] = NAN  # half a position is none
    keep = [0, 1, 3, 4]
    found, expected = (
        keypoint_loss(logits, part[:, None]),
        keypoint_loss(logits[:, keep], truth[:, None, keep]),
    )
    for term in ("total", "heatmap", "reprojection", "distance"):
        torch.testing.assert_close(getattr(found, term), getattr(expected, term))


def test_a_batch_without_any_keypoint_costs_nothing(pose_targets, logits):
    logits = logits.requires_grad_()
    nothing = torch.full((3, 2, 6, 2), NAN)
    loss = keypoint_loss(logits, nothing, LossConfig(pose=1.0, monte_carlo=1.0), pose_targets)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(0, abs=1e-4) and not logits.grad.any()
    assert loss.left_out.item() == 3


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)], ids=["heatmap", "reprojection"])
def test_the_loss_grows_with_the_distance_from_the_truth(truth, weights):
    config = LossConfig(heatmap=weights[0], reprojection=weights[1])
    shift = torch.tensor([0.6, -0.8])
    losses = [
        keypoint_loss(perfect_logits(truth + d * shift), truth[:, None], config).total
        for d in (0.0, 0.1, 0.3, 1.0, 2.0)
    ]
    assert losses[0] < 1e-4
    assert losses == sorted(losses)


def test_terms_are_what_they_say(truth):
    distance = 0.5
    moved = truth + torch.tensor([0.3, 0.4])
    loss = keypoint_loss(perfect_logits(moved), truth[:, None], LossConfig(reprojection=0.2))
    assert loss.distance.item() == pytest.approx(distance, abs=0.01)
    assert loss.reprojection.item() == pytest.approx(distance**2 / 2, rel=0.03)  # Huber, below 1 px
    # Gaussians of equal spread differ by d^2 / (2 sigma^2) nats.
    assert loss.heatmap.item() == pytest.approx(distance**2 / (2 * SIGMA**2), rel=0.01)
    expected = loss.heatmap + 0.2 * loss.reprojection
    torch.testing.assert_close(loss.total, expected)
    assert loss.pose.item() == 0


def test_a_step_along_the_gradient_brings_keypoints_nearer(truth):
    logits = perfect_logits(truth + 0.5).requires_grad_()
    config = LossConfig(heatmap=0.0, reprojection=1.0)
    before = keypoint_loss(logits, truth[:, None], config)
    before.total.backward()
    after = keypoint_loss(logits - 100 * logits.grad, truth[:, None], config)
    assert after.distance < 0.9 * before.distance


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_everything_is_finite_and_float32_under_autocast(truth, logits, pose_targets, scale):
    logits = (logits * scale).requires_grad_()
    labellings = torch.stack([truth, truth.flip(1)], dim=1)
    config = LossConfig(pose=1.0, monte_carlo=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = keypoint_loss(logits, labellings, config, pose_targets)
    loss.total.backward()
    assert logits.grad.isfinite().all()
    plain = keypoint_loss(logits, labellings, config, pose_targets)
    for term in ("total", "heatmap", "reprojection", "pose", "monte_carlo", "distance"):
        assert getattr(loss, term).dtype == torch.float32
        torch.testing.assert_close(getattr(loss, term), getattr(plain, term))


# -- the pose


@pytest.fixture
def scene(rng):
    """A camera that sees the heatmap and poses of objects in front of it."""
    camera = Camera(fx=150, fy=160, cx=21.3, cy=14.2, width=WIDTH, height=HEIGHT)
    poses = [
        make_transform(random_rotation(rng), rng.uniform([-30, -20, 700], [30, 20, 900]))
        for _ in range(3)
    ]
    return camera, np.stack(poses), rng.uniform(-40, 40, (3, 6, 3))


@pytest.fixture
def pose_targets(scene):
    camera, poses, points = scene
    return PoseTargets(
        heatmap_camera=torch.tensor(camera.matrix).expand(3, 3, 3),
        camera_from_object=torch.tensor(poses)[:, None].repeat(1, 2, 1, 1),
        points=torch.tensor(points),
        diameters=torch.full((3,), 110.0),
    )


def test_the_displacement_is_that_of_the_pose_behind_the_offsets(rng, scene, pose_targets):
    camera, poses, points = scene
    step = make_transform(matrix_from_vector(rng.normal(size=3) * 0.004), [0.4, -0.3, 1.5])
    there, moved = transform_points(poses, points), transform_points(step @ poses, points)
    offsets = torch.tensor(camera.project(moved) - camera.project(there)).float()
    expected = np.linalg.norm(moved - there, axis=-1).mean(axis=1) / 110
    sure = torch.full((3, 6), 1e6)  # px^-2: the prior has no say
    found = pose_displacement(offsets, sure, pose_targets, torch.tensor(poses).float())
    np.testing.assert_allclose(found.numpy(), expected, rtol=0.03)


def test_a_common_shift_is_a_sideways_step_and_a_common_scale_a_change_of_distance():
    # By hand: f = 150 px, z = 750 mm, so 1 px is 5 mm, and 1 % of scale is 7.5 mm of distance.
    points = torch.tensor([[[x, y, 0.0] for x in (-50, 50) for y in (-50, 50)]])
    pose = torch.eye(4)[None].clone()
    pose[:, 2, 3] = 750
    camera = torch.tensor([[[150.0, 0, 16], [0, 150, 16], [0, 0, 1]]])
    targets = PoseTargets(camera, pose[:, None], points, torch.tensor([100.0]))
    sure = torch.full((1, 4), 1e6)
    shift = torch.tensor([1.0, 0.0]).expand(1, 4, 2)
    sideways = pose_displacement(shift, sure, targets, pose)
    assert sideways.item() == pytest.approx(5 / 100, rel=1e-3)
    scaled = points[..., :2] / 5 * 0.01  # 1 % of the positions relative to the centre, px
    nearer = pose_displacement(scaled, sure, targets, pose)
    assert nearer.item() == pytest.approx(7.5 / 100, rel=1e-2)


def test_keypoints_without_weight_do_not_move_the_pose(rng, scene, pose_targets):
    poses = torch.tensor(scene[1]).float()
    offsets = torch.tensor(rng.normal(size=(3, 6, 2))).float()
    weights = torch.ones(3, 6)
    weights[:, 2] = 0
    wild = offsets.clone()
    wild[:, 2] = 1e3
    torch.testing.assert_close(
        pose_displacement(wild, weights, pose_targets, poses),
        pose_displacement(offsets, weights, pose_targets, poses),
    )
    nothing = pose_displacement(offsets, torch.zeros(3, 6), pose_targets, poses)
    torch.testing.assert_close(nothing, torch.zeros(3), atol=1e-5, rtol=0)


def test_the_pose_is_that_of_the_chosen_labelling(truth, pose_targets):
    moved = torch.stack([truth.flip(1), truth], dim=1)
    logits = perfect_logits(truth + 0.4)
    config = LossConfig(pose=1.0)
    right = keypoint_loss(logits, moved, config, pose_targets).pose
    # Labelling 1 is the one drawn: what stands in place 0 must not matter, place 1 must.
    poses = pose_targets.camera_from_object
    for place, same in ((0, True), (1, False)):
        changed = poses.clone()
        changed[:, place, 2, 3] *= 2
        targets = PoseTargets(
            pose_targets.heatmap_camera, changed, pose_targets.points, pose_targets.diameters
        )
        found = keypoint_loss(logits, moved, config, targets).pose
        assert torch.isclose(found, right) == same


def test_a_pose_weight_without_targets_is_an_error(truth, logits):
    with pytest.raises(ValueError, match=r"monte_carlo weight is 0.1 but there are no"):
        keypoint_loss(logits, truth[:, None], LossConfig(monte_carlo=0.1))
    with pytest.raises(ValueError, match=r"pose weight is 0.5 but there are no pose_targets"):
        keypoint_loss(logits, truth[:, None], LossConfig(pose=0.5))
    with pytest.raises(ValueError, match="sigma must be positive, got 0"):
        LossConfig(sigma=0)


# -- the density of the pose


@pytest.fixture
def in_view(rng):
    """Keypoints (b, k, 2) of three objects, as their poses have them, and the targets."""
    camera = Camera(fx=150, fy=160, cx=21.3, cy=14.2, width=WIDTH, height=HEIGHT)
    poses = np.stack([make_transform(random_rotation(rng), [0, 0, 800]) for _ in range(3)])
    points = rng.uniform(-40, 40, (3, 6, 3))
    targets = PoseTargets(
        heatmap_camera=torch.tensor(camera.matrix).expand(3, 3, 3),
        camera_from_object=torch.tensor(poses)[:, None].repeat(1, 2, 1, 1),
        points=torch.tensor(points),
        diameters=torch.full((3,), 110.0),
    )
    return torch.tensor(camera.project(transform_points(poses, points))).float(), targets


def test_without_its_weight_the_density_of_the_pose_is_not_even_asked_for(
    truth, logits, pose_targets, monkeypatch
):
    logits.requires_grad_()
    config = LossConfig(pose=0.3)

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(losses, "_monte_carlo_term", never)
    state = torch.random.get_rng_state()
    loss = keypoint_loss(logits, truth[:, None], config, pose_targets, seed=5)
    assert loss.monte_carlo == 0 and loss.left_out == 0
    assert torch.equal(loss.total, loss.heatmap + 0.2 * loss.reprojection + 0.3 * loss.pose)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_density_leaves_the_random_numbers_of_others_alone(in_view, rng):
    truth, targets = in_view
    logits = perfect_logits(truth + torch.tensor(rng.normal(size=truth.shape) * 0.2).float())
    config, state = LossConfig(monte_carlo=0.1), torch.random.get_rng_state()
    first, again, other = (
        keypoint_loss(logits, truth[:, None], config, targets, seed) for seed in (3, 3, 4)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.total, again.total)
    assert first.monte_carlo != other.monte_carlo
    torch.testing.assert_close(first.monte_carlo, other.monte_carlo, atol=0.5, rtol=0)


def test_the_true_pose_is_the_more_surprising_the_farther_keypoints_are_off(in_view, rng):
    truth, targets = in_view
    errors = torch.tensor(rng.normal(size=truth.shape)).float() * 0.3
    config = LossConfig(heatmap=0.0, reprojection=0.0, monte_carlo=1.0)
    found = [
        keypoint_loss(perfect_logits(truth + s * errors), truth[:, None], config, targets).total
        for s in (0.5, 1.0, 2.0)
    ]
    assert found == sorted(found)


def test_a_step_along_the_gradient_of_the_surprise_brings_keypoints_nearer(in_view, rng):
    truth, targets = in_view
    logits = perfect_logits(truth + torch.tensor(rng.normal(size=truth.shape) * 0.4).float())
    logits.requires_grad_()
    config = LossConfig(heatmap=0.0, reprojection=0.0, monte_carlo=1.0)
    before = keypoint_loss(logits, truth[:, None], config, targets)
    before.total.backward()
    after = keypoint_loss(logits - logits.grad, truth[:, None], config, targets)
    assert before.left_out == 0 and after.distance < 0.97 * before.distance


def test_the_surprise_is_that_of_the_chosen_labelling(in_view, rng):
    truth, targets = in_view
    errors = torch.tensor(rng.normal(size=truth.shape)).float() * 0.3
    labellings = torch.stack([truth.flip(1), truth], dim=1)
    config = LossConfig(monte_carlo=1.0)
    logits = perfect_logits(truth + errors)
    right = keypoint_loss(logits, labellings, config, targets).monte_carlo
    torch.testing.assert_close(
        right, keypoint_loss(logits, truth[:, None], config, targets).monte_carlo
    )
    for place, same in ((0, True), (1, False)):
        changed = targets.camera_from_object.clone()
        changed[:, place, 2, 3] *= 2
        other = PoseTargets(targets.heatmap_camera, changed, targets.points, targets.diameters)
        found = keypoint_loss(logits, labellings, config, other).monte_carlo
        assert torch.isclose(found, right) == same


# -- with the network


def test_two_samples_are_learnt_by_heart(rng):
    torch.manual_seed(0)
    network = KeypointNet(NetworkConfig(n_objects=2, n_keypoints=4, crop_size=64))
    crops = torch.tensor(rng.uniform(size=(2, 3, 64, 64))).float()
    keypoints = torch.tensor(rng.uniform(3, 12, (2, 1, 4, 2))).float()
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, fused=True)
    for _ in range(25):
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(crops, torch.tensor([0, 1]))
        loss = keypoint_loss(logits, keypoints)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
    assert loss.heatmap < 0.1 and loss.distance < 0.2
