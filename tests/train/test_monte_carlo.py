import math

import numpy as np
import pytest
import torch

from heatpose.geometry.rotations import random_rotation
from heatpose.geometry.transforms import make_transform
from heatpose.train import monte_carlo
from heatpose.train.monte_carlo import (
    Evidence,
    draw_poses,
    gather_evidence,
    log_integral,
    surprise,
)
from heatpose.train.pose_targets import PoseTargets, displace, linearise

K = 16  # keypoints


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def seen_objects(rng, b=6):
    """Objects of 110 mm, some 50 px large, and their true poses (b, 4, 4)."""
    places = rng.uniform([-30, -20, 700], [30, 20, 900], (b, 3))
    poses = np.stack([make_transform(random_rotation(rng), place) for place in places])
    poses = torch.tensor(poses).float()
    camera = torch.tensor([[400.0, 0, 32], [0, 400, 32], [0, 0, 1]]).expand(b, 3, 3)
    points = torch.tensor(rng.uniform(-40, 40, (b, K, 3))).float()
    return PoseTargets(camera, poses[:, None], points, torch.full((b,), 110.0)), poses


@pytest.fixture
def scene(rng):
    return seen_objects(rng)


def random_covariances(rng, b):
    """Elongated one way or another, (b, K, 2, 2), of about 1 px^2."""
    roots = torch.tensor(rng.normal(size=(b, K, 2, 2))).float()
    return roots @ roots.mT / 2 + 0.2 * torch.eye(2)


def evidence_of(offsets, covariances):
    """With the covariances as they are, without the common factor of a batch."""
    inverse = covariances.inverse()
    parts = [inverse[..., 0, 0], inverse[..., 0, 1], inverse[..., 1, 1]]
    return Evidence(offsets.mT, torch.stack(parts, dim=1))


def noise(rng, covariances):
    """Errors with these covariances, (b, K, 2), px."""
    standard = torch.tensor(rng.normal(size=covariances.shape[:-1])).float()
    return (torch.linalg.cholesky(covariances) @ standard[..., None])[..., 0]


# -- the cost


def test_the_cost_is_half_the_squared_mahalanobis_distance_and_then_a_line(rng):
    covariances = random_covariances(rng, 2)
    offsets = torch.tensor(rng.normal(size=(2, K, 2))).float()
    pixels = torch.tensor(rng.normal(size=(2, 5, K, 2))).float() * 3
    errors = pixels - offsets[:, None]
    inverse = covariances.inverse()[:, None]
    distances = (errors[..., None, :] @ inverse @ errors[..., None]).flatten(3)[..., 0].sqrt()
    assert (distances > monte_carlo.HUBER).any() and (distances < monte_carlo.HUBER).any()
    each = torch.nn.functional.huber_loss(
        distances, torch.zeros_like(distances), delta=monte_carlo.HUBER, reduction="none"
    )
    found = evidence_of(offsets, covariances).costs(pixels.mT)
    torch.testing.assert_close(found, each.sum(dim=-1), rtol=1e-4, atol=1e-3)


def test_only_the_ratios_of_the_covariances_count(rng):
    covariances = random_covariances(rng, 6)
    offsets, weights = noise(rng, covariances), torch.ones(6, K)
    first = gather_evidence(offsets, covariances, weights)
    second = gather_evidence(offsets, 25 * covariances, weights)
    torch.testing.assert_close(first.precisions, second.precisions)
    # As many errors lie within half of the spread, and so on, as for Gaussians: median 2 ln 2.
    squared = first.squared_distances(torch.zeros(6, 1, 2, K))
    assert squared.quantile(0.5).item() == pytest.approx(2 * math.log(2), rel=0.05)
    torch.testing.assert_close(
        first.precisions, evidence_of(offsets, covariances).precisions, rtol=0.5, atol=0
    )


def test_a_keypoint_counts_by_its_weight_and_not_at_all_without_one(rng, scene):
    targets, poses = scene
    covariances = random_covariances(rng, 6)
    offsets, weights = noise(rng, covariances), torch.ones(6, K)
    weights[:, 3] = 0
    wild = offsets.clone()
    wild[:, 3] = 1e3
    losses = []
    for moved in (offsets, wild):
        evidence = gather_evidence(moved, covariances, weights)
        losses.append(surprise(evidence, draw_poses(evidence, targets, poses, generator())))
    torch.testing.assert_close(*losses)
    half = gather_evidence(offsets, covariances, weights / 2).precisions
    whole = gather_evidence(offsets, covariances, weights).precisions
    torch.testing.assert_close(half, whole)  # of all: a common factor
    weights[:, 5] = 0.5
    some = gather_evidence(offsets, covariances, weights).precisions
    torch.testing.assert_close(some[..., 5] / some[..., 6], whole[..., 5] / whole[..., 6] / 2)


# -- the integral


@pytest.mark.parametrize("spread", [0.003, 0.03])
def test_the_integral_of_a_narrow_density_is_that_of_a_gaussian(rng, scene, spread):
    targets, poses = scene
    covariances = spread**2 * random_covariances(rng, 6)
    offsets = noise(rng, covariances)
    # By linear algebra alone: errors e, slopes J, inverse covariances P, projected to what is left
    # of e by the best pose; the cost is quadratic, its matrix H = J^T P J.
    _, slopes = linearise(targets, poses)
    slopes, errors = slopes.double().flatten(1, 2), offsets.double().flatten(1)[..., None]
    weights = torch.stack([torch.block_diag(*c) for c in covariances.double().inverse()])
    matrix = slopes.mT @ weights @ slopes
    best = torch.linalg.solve(matrix, slopes.mT @ weights @ errors)
    left = errors - slopes @ best
    cost = (left.mT @ weights @ left)[:, 0, 0] / 2
    expected = 3 * math.log(2 * math.pi) - matrix.logdet() / 2 - cost

    # Four errors in a hundred lie beyond Huber's line in these draws: lift it.
    evidence = evidence_of(offsets, covariances)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monte_carlo, "HUBER", 100.0)
        draws = draw_poses(evidence, targets, poses, generator(), draws=2048)
        few = draw_poses(evidence, targets, poses, generator())
        found, quick = log_integral(evidence, draws), log_integral(evidence, few)
    np.testing.assert_allclose(found, expected, atol=0.06)
    np.testing.assert_allclose(quick, expected, atol=0.3)
    torch.testing.assert_close(
        draws.mean[..., None].double(), best, atol=0.01 * best.abs().max().item(), rtol=0
    )


def test_few_draws_say_what_many_say(rng, scene):
    targets, poses = scene
    covariances = 0.3 * random_covariances(rng, 6)
    offsets = noise(rng, covariances)
    offsets[:, :2] *= 6  # so that the density is no Gaussian
    evidence = evidence_of(offsets, covariances)
    many = log_integral(evidence, draw_poses(evidence, targets, poses, generator(1), draws=4096))
    few = [
        log_integral(evidence, draw_poses(evidence, targets, poses, generator(seed)))
        for seed in range(12)
    ]
    spread, mean = torch.stack(few).std(dim=0), torch.stack(few).mean(dim=0)
    assert spread.max() < 0.15
    np.testing.assert_allclose(mean, many, atol=0.15)  # of some 20 nats


def test_a_wrong_proposal_is_mended_by_the_weights(rng, scene, monkeypatch):
    targets, poses = scene
    covariances = 0.3 * random_covariances(rng, 6)
    evidence = evidence_of(noise(rng, covariances), covariances)
    right = draw_poses(evidence, targets, poses, generator(1), draws=4096)
    found = monte_carlo._mode(evidence, targets, poses)

    def beside(*_):
        change, covariance, fixed = found
        return change + covariance.diagonal(dim1=1, dim2=2).sqrt(), 2 * covariance, fixed

    monkeypatch.setattr(monte_carlo, "_mode", beside)
    wrong = draw_poses(evidence, targets, poses, generator(2), draws=4096)
    np.testing.assert_allclose(
        log_integral(evidence, wrong), log_integral(evidence, right), atol=0.1
    )


def test_the_same_seed_draws_the_same_poses(rng, scene):
    targets, poses = scene
    covariances = random_covariances(rng, 6)
    evidence = evidence_of(noise(rng, covariances), covariances)
    first, again, other = (
        draw_poses(evidence, targets, poses, generator(seed)).pixels for seed in (3, 3, 4)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


# -- the loss


def test_the_loss_falls_as_keypoints_move_to_the_truth(rng, scene):
    targets, poses = scene
    covariances = random_covariances(rng, 6)
    offsets = noise(rng, covariances)
    losses = []
    for share in (1.0, 0.7, 0.4, 0.1, 0.0):
        evidence = evidence_of(share * offsets, covariances)
        losses.append(surprise(evidence, draw_poses(evidence, targets, poses, generator())))
    assert (torch.stack(losses).diff(dim=0) < 0).all()


def test_errors_that_keypoints_share_cost_more_than_errors_they_average_out(rng, scene):
    # The same length of all errors: those of a wrong distance, and the same with random signs.
    targets, poses = scene
    covariances = 0.1 * torch.eye(2).expand(6, K, 2, 2)
    farther = torch.tensor([0, 0, 0, 0, 0, 0.3]).expand(6, 1, 6)
    shared = displace(targets, poses, farther)[0][:, 0].mT
    signs = torch.tensor(rng.choice([-1.0, 1.0], (6, K, 1))).float()
    costs = []
    for offsets in (shared, signs * shared):
        evidence = evidence_of(offsets, covariances)
        draws = draw_poses(evidence, targets, poses, generator())
        costs.append(surprise(evidence, draws))
    assert (costs[0] > costs[1] + 1).all()


def test_the_loss_is_least_for_covariances_as_large_as_the_errors(rng):
    targets, poses = seen_objects(rng, 128)
    covariances = 0.2 * random_covariances(rng, 128)
    offsets = noise(rng, covariances)
    scales = [0.5, 0.7, 1.0, 1.4, 2.0]
    losses = []
    for scale in scales:
        evidence = evidence_of(offsets, scale**2 * covariances)
        draws = draw_poses(evidence, targets, poses, generator())
        losses.append(surprise(evidence, draws).mean().item())
    assert scales[int(np.argmin(losses))] == 1.0
    # By hand: 6 log s + 3 / s^2 nats, as six numbers are off by chance; at 0.5 Huber's line
    # takes some of it away.
    expected = [6 * math.log(s) + 3 / s**2 - 3 for s in scales[1:]]
    np.testing.assert_allclose(np.array(losses[1:]) - losses[2], expected, atol=0.4)


def test_the_gradient_is_the_difference_of_losses_with_the_same_draws(rng):
    targets, poses = seen_objects(rng, 2)
    covariances = random_covariances(rng, 2).double()
    offsets = noise(rng, covariances.float()).double()
    offsets[:, 0] *= 6  # beyond Huber's corner
    drawn = draw_poses(
        evidence_of(offsets.float(), covariances.float()), targets, poses, generator(), draws=16
    )

    def loss(places, spreads):
        spreads = (spreads + spreads.mT) / 2
        return surprise(evidence_of(places, spreads), drawn)

    offsets.requires_grad_()
    covariances.requires_grad_()
    assert torch.autograd.gradcheck(loss, (offsets, covariances), atol=1e-5)


def test_a_step_along_the_gradient_brings_the_pose_nearer(rng, scene):
    targets, poses = scene
    covariances = 0.3 * random_covariances(rng, 6)
    offsets = noise(rng, covariances).requires_grad_()
    evidence = evidence_of(offsets, covariances)
    before = draw_poses(evidence, targets, poses, generator())
    surprise(evidence, before).sum().backward()
    better = evidence_of((offsets - 0.03 * offsets.grad).detach(), covariances)
    after = draw_poses(better, targets, poses, generator())

    def distance(draws):
        whitened = draws.mean[:, None] @ before.covariance.inverse() @ draws.mean[..., None]
        return whitened.flatten()

    assert (distance(after) < 0.95 * distance(before)).all()


# -- what does not fix a pose


def degenerate(name, rng, targets):
    points = targets.points.clone()
    weights = torch.ones(6, K)
    if name == "one place":
        points[:] = points[:, :1]
    elif name == "a line":
        points[:] = points[:, :1] * torch.linspace(-1, 1, K)[:, None]
    elif name == "two keypoints":
        weights[:, 2:] = 0
    elif name == "none":
        weights[:] = 0
    changed = PoseTargets(
        targets.heatmap_camera, targets.camera_from_object, points, targets.diameters
    )
    return changed, weights


@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("name", ["one place", "a line", "two keypoints", "none"])
def test_keypoints_that_fix_no_pose_are_named_and_nothing_is_nan(rng, scene, name, spread):
    targets, weights = degenerate(name, rng, scene[0])
    covariances = (spread**2 * random_covariances(rng, 6)).requires_grad_()
    offsets = noise(rng, covariances.detach()).requires_grad_()
    evidence = gather_evidence(offsets, covariances, weights)
    draws = draw_poses(evidence, targets, scene[1], generator())
    loss = surprise(evidence, draws)
    assert not draws.fixed.any()
    torch.where(draws.fixed, loss, 0.0).sum().backward()
    assert loss.isfinite().all()
    assert offsets.grad.isfinite().all() and covariances.grad.isfinite().all()


def test_one_sample_that_fixes_no_pose_leaves_the_others_alone(rng, scene):
    targets, poses = scene
    covariances = random_covariances(rng, 6)
    offsets = noise(rng, covariances)
    precisions = evidence_of(offsets, covariances).precisions
    alone = draw_poses(Evidence(offsets.mT, precisions), targets, poses, generator())
    precisions = precisions.clone()
    precisions[2] = 0
    beside = draw_poses(Evidence(offsets.mT, precisions), targets, poses, generator())
    assert alone.fixed.all() and beside.fixed.tolist() == [True, True, False, True, True, True]
    keep = beside.fixed
    torch.testing.assert_close(beside.pixels[keep], alone.pixels[keep])


def test_wild_keypoints_give_finite_losses(rng, scene):
    targets, poses = scene
    offsets = (torch.tensor(rng.normal(size=(6, K, 2))).float() * 1e3).requires_grad_()
    covariances = (1e-2 * random_covariances(rng, 6)).requires_grad_()
    evidence = evidence_of(offsets, covariances)
    draws = draw_poses(evidence, targets, poses, generator())
    loss = torch.where(draws.fixed, surprise(evidence, draws), 0.0)
    loss.sum().backward()
    assert loss.isfinite().all() and offsets.grad.isfinite().all()
    assert covariances.grad.isfinite().all()
