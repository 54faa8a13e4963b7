"""What training minimises: heatmaps first, then what the pose makes of them.

Everything is computed in float32, under autocast too. Positions are heatmap px.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from heatpose.model.heatmaps import SIGMA, WINDOW
from heatpose.model.network import heatmaps_of
from heatpose.train.monte_carlo import Evidence, draw_poses, gather_evidence, surprise
from heatpose.train.pose_targets import PoseTargets, linearise


@dataclass(frozen=True)
class LossConfig:
    """Weights and scales of the terms."""

    heatmap: float = 1.0  # weights
    reprojection: float = 0.2
    pose: float = 0.0
    monte_carlo: float = 0.0
    sigma: float = SIGMA  # spread of the target Gaussians, px
    reprojection_scale: float = 1.0  # where the error turns from squared to linear, px
    pose_scale: float = 0.05  # the same for the pose, in diameters

    def __post_init__(self) -> None:
        for name in ("sigma", "reprojection_scale", "pose_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class KeypointLoss:
    """The terms of the loss, scalars without their weights, and their weighted sum."""

    total: Tensor
    heatmap: Tensor  # divergence of the heatmaps from the target, nats; 0 is perfect
    reprojection: Tensor  # Huber of the distance in px
    pose: Tensor  # Huber of the displacement in diameters; 0 where it is switched off
    monte_carlo: Tensor  # minus the log density at the true pose, nats; 0 where it is switched off
    left_out: Tensor  # samples that this one leaves out, for their keypoints fix no pose
    distance: Tensor  # mean distance of decoded from true keypoints, px, to watch; no gradient


def keypoint_loss(
    logits: Tensor,
    keypoints: Tensor,
    config: LossConfig | None = None,
    pose_targets: PoseTargets | None = None,
    seed: int = 0,
) -> KeypointLoss:
    """Compare heatmaps with the labelling of the keypoints that they fit best.

    Args:
        logits: (b, k, h, w).
        keypoints: (b, m, k, 2), heatmap px, for each of m labellings that the object's
            symmetries allow. NaN for keypoints outside of the map, and for whole labellings
            where a sample has fewer than m.
        config: weights and scales.
        pose_targets: needed where a term of the pose has a weight.
        seed: of the poses that the Monte Carlo term draws.
    """
    config = config or LossConfig()
    with torch.autocast(logits.device.type, enabled=False):
        logits, keypoints = logits.float(), keypoints.float()
        chosen = choose_labelling(logits, keypoints)
        each = torch.arange(len(chosen), device=chosen.device)
        truth = keypoints[each, chosen]  # (b, k, 2)
        valid = truth.isfinite().all(dim=-1)  # (b, k)
        truth = torch.where(valid[..., None], truth, 0.0)

        heatmap = _mean_of_valid(heatmap_divergence(logits, truth, config.sigma), valid)
        heatmaps = heatmaps_of(logits)
        offsets, masses = decoded_offsets(heatmaps, truth, WINDOW * config.sigma)
        weights = masses.detach() * valid
        distance = _length(offsets)
        reprojection = _mean_of_valid(weights * _huber(distance, config.reprojection_scale), valid)
        pose = monte_carlo = left_out = logits.new_zeros(())
        if config.pose:
            targets = _needed("pose", config.pose, pose_targets)
            pose = _pose_term(offsets, weights, chosen, targets, config)
        if config.monte_carlo:
            targets = _needed("monte_carlo", config.monte_carlo, pose_targets)
            covariances = decoded_covariances(heatmaps, truth, offsets, WINDOW * config.sigma)
            evidence = gather_evidence(offsets, covariances, weights)
            monte_carlo, left_out = _monte_carlo_term(evidence, chosen, targets, seed)
    terms = config.heatmap * heatmap + config.reprojection * reprojection + config.pose * pose
    return KeypointLoss(
        total=terms + config.monte_carlo * monte_carlo,
        heatmap=heatmap,
        reprojection=reprojection,
        pose=pose,
        monte_carlo=monte_carlo,
        left_out=left_out,
        distance=_mean_of_valid(distance.detach(), valid),
    )


@torch.no_grad()
def choose_labelling(logits: Tensor, keypoints: Tensor) -> Tensor:
    """Return the labelling of each sample that its heatmaps find most likely, (b,).

    Args:
        logits: (b, k, h, w).
        keypoints: (b, m, k, 2), px; NaN rows do not count, labellings of NaN lose.
    """
    b, m, k, _ = keypoints.shape
    if m == 1:
        return torch.zeros(b, dtype=torch.int64, device=logits.device)
    valid = keypoints.isfinite().all(dim=-1)  # (b, m, k)
    height, width = logits.shape[2:]
    logs = logits.flatten(2).log_softmax(dim=-1).view(b * k, 1, height, width)
    places = torch.where(valid[..., None], keypoints, 0.0).transpose(1, 2).reshape(b * k, 1, m, 2)
    size = torch.tensor([width, height], device=logits.device)
    grid = (places + 0.5) * 2 / size - 1  # grid_sample: -1 and 1 are the outer edges
    found = functional.grid_sample(logs, grid, padding_mode="border", align_corners=False)
    found = torch.where(valid, found.view(b, k, m).transpose(1, 2), 0.0)  # (b, m, k)
    counts = valid.sum(dim=-1)
    mean = found.sum(dim=-1) / counts.clamp_min(1)
    return torch.where(counts > 0, mean, -torch.inf).argmax(dim=1)


def heatmap_divergence(logits: Tensor, truth: Tensor, sigma: float) -> Tensor:
    """Return how far heatmaps are from Gaussians at the truth: KL divergence, (b, k), nats.

    This is the cross-entropy less the entropy of the target, a constant. The Gaussian is a
    product of one along x and one along y, so that it is never drawn.

    Args:
        logits: (b, k, h, w).
        truth: (b, k, 2), px, finite.
        sigma: spread of the Gaussian, px.
    """
    height, width = logits.shape[2:]
    log_x = _log_gaussian(truth[..., 0], width, sigma)  # (b, k, w)
    log_y = _log_gaussian(truth[..., 1], height, sigma)  # (b, k, h)
    along_x, along_y = log_x.exp(), log_y.exp()
    expected = ((logits @ along_x[..., None])[..., 0] * along_y).sum(dim=-1)
    log_normaliser = logits.flatten(2).logsumexp(dim=-1)
    negative_entropy = (along_x * log_x).sum(dim=-1) + (along_y * log_y).sum(dim=-1)
    return negative_entropy + log_normaliser - expected


def decoded_offsets(heatmaps: Tensor, truth: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Return where heatmaps put the keypoints, relative to the truth, differentiably.

    The centroid of the mass in a square window. The window lies around the truth, not around
    the peak: it does not jump, and a peak elsewhere cannot pull the loss to where it is
    wrong. Maps with little mass there (far from trained, or lost) are for the heatmap loss to
    mend, so weight the offsets by the masses.

    Args:
        heatmaps: probabilities, (b, k, h, w).
        truth: (b, k, 2), px, finite.
        radius: half the side of the window, px.

    Returns:
        Offsets (b, k, 2), px, and the masses in the windows, (b, k), in [0, 1].
    """
    height, width = heatmaps.shape[2:]
    x, weight_x = _window_axis(truth[..., 0], width, radius)
    y, weight_y = _window_axis(truth[..., 1], height, radius)
    right = torch.stack([weight_x, weight_x * x], dim=-1)  # (b, k, w, 2)
    left = torch.stack([weight_y, weight_y * y], dim=-2)  # (b, k, 2, h)
    moments = left @ (heatmaps @ right)  # (b, k, 2, 2): [[1, x], [y, xy]]
    mass = moments[..., 0, 0]
    sums = torch.stack([moments[..., 0, 1], moments[..., 1, 0]], dim=-1)
    return sums / mass.clamp_min(1e-6)[..., None], mass


def decoded_covariances(heatmaps: Tensor, truth: Tensor, offsets: Tensor, radius: float) -> Tensor:
    """Return how heatmaps spread around the decoded keypoints, (b, k, 2, 2), px^2.

    Args:
        heatmaps: probabilities, (b, k, h, w).
        truth: (b, k, 2), px, finite.
        offsets: those of `decoded_offsets` with the same window, (b, k, 2), px.
        radius: half the side of the window, px.
    """
    height, width = heatmaps.shape[2:]
    x, weight_x = _window_axis(truth[..., 0], width, radius)
    y, weight_y = _window_axis(truth[..., 1], height, radius)
    x, y = x - offsets[..., :1], y - offsets[..., 1:]
    right = weight_x[..., None] * torch.stack([torch.ones_like(x), x, x * x], dim=-1)
    left = weight_y[..., None, :] * torch.stack([torch.ones_like(y), y, y * y], dim=-2)
    moments = left @ (heatmaps @ right)  # (b, k, 3, 3): y to the row's power, x to the column's
    rows = [moments[..., 0, 2], moments[..., 1, 1], moments[..., 1, 1], moments[..., 2, 0]]
    covariances = torch.stack(rows, dim=-1) / moments[..., 0, :1].clamp_min(1e-6)
    # The mass of a pixel is spread over the pixel, and there may be none at all.
    return covariances.view(*offsets.shape, 2) + torch.eye(2, device=offsets.device) / 12


def pose_displacement(
    offsets: Tensor, weights: Tensor, pose_targets: PoseTargets, camera_from_object: Tensor
) -> Tensor:
    """Return how far the object moves if its pose follows the decoded keypoints.

    The projection is linearised at the true pose and the weighted least squares for the change
    of the pose is solved in closed form, so that gradients know which errors of the keypoints
    a pose averages out and which it follows (a common scale becomes distance). Neighbours of
    the idea: BPnP (Chen et al., 2020), which differentiates the solver at its optimum, and
    EPro-PnP (Chen et al., 2022), whose derivative regularisation is one Gauss-Newton step.

    Args:
        offsets: decoded less true keypoints, (b, k, 2), px.
        weights: inverse variances, (b, k), 1 / px^2; 0 leaves a keypoint out.
        pose_targets: camera, points and diameters.
        camera_from_object: the true transforms, (b, 4, 4), mm.

    Returns:
        Mean displacement of the object's points, (b,), in diameters.
    """
    to_points, to_pixels = linearise(pose_targets, camera_from_object)
    weighted = to_pixels * weights[..., None, None]  # (b, k, 2, 6)
    normal = torch.einsum("bkri,bkrj->bij", weighted, to_pixels)
    right = torch.einsum("bkri,bkr->bi", weighted, offsets)
    # The prior of one radian and one diameter keeps it solvable with any number of keypoints;
    # 32 keypoints outweigh it a hundred times even in the distance.
    normal = normal + torch.eye(6, device=normal.device)
    change = torch.linalg.solve_ex(normal, right)[0]  # (b, 6)
    moved = torch.einsum("bkci,bi->bkc", to_points, change)
    return _length(moved).mean(dim=1)


def _pose_term(
    offsets: Tensor,
    weights: Tensor,
    chosen: Tensor,
    pose_targets: PoseTargets,
    config: LossConfig,
) -> Tensor:
    displacement = pose_displacement(offsets, weights, pose_targets, pose_targets.poses(chosen))
    return _huber(displacement, config.pose_scale).mean()


def _monte_carlo_term(
    evidence: Evidence, chosen: Tensor, pose_targets: PoseTargets, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the mean surprise over the samples whose pose is fixed, and how many are not."""
    generator = torch.Generator(chosen.device).manual_seed(seed)
    draws = draw_poses(evidence, pose_targets, pose_targets.poses(chosen), generator)
    term = _mean_of_valid(surprise(evidence, draws), draws.fixed)
    return term, (~draws.fixed).sum().float()


def _needed(name: str, weight: float, pose_targets: PoseTargets | None) -> PoseTargets:
    if pose_targets is None:
        raise ValueError(f"{name} weight is {weight} but there are no pose_targets")
    return pose_targets


def _log_gaussian(centre: Tensor, size: int, sigma: float) -> Tensor:
    """Return log weights (..., size) of Gaussians whose weights sum to 1 over the pixels."""
    pixels = torch.arange(size, device=centre.device)
    return (-((pixels - centre[..., None]) ** 2) / (2 * sigma**2)).log_softmax(dim=-1)


def _window_axis(centre: Tensor, size: int, radius: float) -> tuple[Tensor, Tensor]:
    """Return offsets of the pixels from centres (...,), and their shares in the window.

    A pixel counts by the part of it that lies inside, so that a flat map decodes to the centre
    but for a hundredth of a pixel, and no offset jumps with the centre.
    """
    offset = torch.arange(size, device=centre.device) - centre[..., None]
    return offset, (radius + 0.5 - offset.abs()).clamp(0.0, 1.0)


def _length(vectors: Tensor) -> Tensor:
    """Return the lengths of vectors (..., d); at zero the gradient is zero, not NaN."""
    return (vectors.square().sum(dim=-1) + 1e-12).sqrt()


def _huber(distance: Tensor, scale: float) -> Tensor:
    """Return distance^2 / (2 scale) up to the scale, then on in a straight line of slope 1."""
    inner = distance.clamp_max(scale)
    return inner.square() / (2 * scale) + (distance - inner)


def _mean_of_valid(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of values (...,) over the valid ones, 0 where there are none."""
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp_min(1)
