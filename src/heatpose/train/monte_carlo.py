"""How improbable keypoints make the true pose: the Monte Carlo pose loss of EPro-PnP.

Chen et al., CVPR 2022, arXiv 2203.13254. Keypoints with covariances give each pose a cost, and
all poses together a density (their equation 3). The loss is minus its logarithm at the truth
(equation 5), ``cost(truth) + log of the integral of exp(-cost)``: the first term draws the
keypoints to the truth, the second keeps the covariances from saying nothing, and both together
ask for the pose that the keypoints mean, not for each keypoint alone. The integral is estimated
from poses that are drawn where the density is (equation 6), by adaptive multiple importance
sampling (algorithm 1): each round draws from a proposal fitted to the rounds before, and all
poses are weighted by the mixture of all proposals.

Poses are changes of the true one (`pose_targets`), six numbers over which the prior is flat. So
one multivariate t in six dimensions serves as the proposal, where the paper multiplies one for
translations by an angular central Gaussian for rotations: where keypoints fix a pose at all the
density is narrow, and there both are the same but for the coupling of turns and shifts, which
only the one in six dimensions can follow. Poses without such a mode are left out.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from heatpose.train.pose_targets import PoseTargets, displace, linearise

HUBER = 3.0  # standard deviations; one in a hundred Gaussian errors lies beyond
ROUNDS = 3  # of adapting the proposal
DRAWS = 64  # poses in each round, even
ADAPTED = 0.25  # how far a round moves the covariance of the proposal from that of the first
STEPS = 4  # of Gauss-Newton towards the mode
FREEDOM = 3.0  # degrees of freedom of the proposals: tails of the third power
_SMALLEST_FACTOR = 1e-3  # errors of 1/30 of the heatmaps' spread are as good as none
_SMALLEST_PIVOT = 1e-5  # share of a direction that the others leave; float32 has seven digits


@dataclass(frozen=True, eq=False)
class Evidence:
    """What keypoints say of a pose: how far off the truth they are, and how sure."""

    offsets: Tensor  # decoded less true keypoints, (b, 2, k), px
    precisions: Tensor  # xx, xy and yy of the inverse covariances, (b, 3, k), 1 / px^2; 0 is none

    def costs(self, pixels: Tensor) -> Tensor:
        """Return the cost of poses, (b, n), nats: Huber's loss of the whitened errors.

        Args:
            pixels: where poses put the keypoints, less the truth, (b, n, 2, k), px.
        """
        squared = self.squared_distances(pixels)
        inner = squared.clamp_max(HUBER**2) / 2
        beyond = squared.clamp_min(HUBER**2).sqrt() - HUBER
        return (inner + HUBER * beyond).sum(dim=-1)

    def squared_distances(self, pixels: Tensor) -> Tensor:
        """Return the squared Mahalanobis distances, (b, n, k), of pixels (b, n, 2, k)."""
        x, y = (pixels - self.offsets[:, None]).unbind(dim=2)
        xx, xy, yy = self.precisions[:, :, None].unbind(dim=1)
        return xx * x * x + (2 * xy * x + yy * y) * y

    def normal_equations(self, pixels: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Return matrix (b, 6, 6) and right side (b, 6) of a Gauss-Newton step.

        Args:
            pixels: where the pose is, (b, 1, 2, k), px.
            slopes: of the pixels by the change of the pose, (b, k, 2, 6).
        """
        distances = self.squared_distances(pixels).clamp_min(HUBER**2).sqrt()  # (b, 1, k)
        weights = HUBER / distances * self.precisions
        xx, xy, yy = weights.unbind(dim=1)
        matrices = torch.stack([xx, xy, xy, yy], dim=-1).view(*xx.shape, 2, 2)
        weighted = (matrices @ slopes).flatten(1, 2)  # (b, 2 k, 6)
        errors = (self.offsets - pixels[:, 0]).mT.flatten(1)  # (b, 2 k)
        return weighted.mT @ slopes.flatten(1, 2), (weighted.mT @ errors[..., None])[..., 0]


def gather_evidence(offsets: Tensor, covariances: Tensor, weights: Tensor) -> Evidence:
    """Take decoded keypoints for evidence of the pose.

    Heatmaps are as wide as they are trained to be, wider than the errors of their centres. So
    the covariances have a common factor, as in the solver: the one by which the median error of
    the batch is what it should be. It has no gradient: the heatmaps' common width is left to
    the heatmap loss, and what is learned is which keypoints are better than others.

    Args:
        offsets: decoded less true keypoints, (b, k, 2), px.
        covariances: (b, k, 2, 2), px^2, positive definite.
        weights: (b, k), multiply the precisions; 0 leaves a keypoint out.
    """
    xx, xy, yy = covariances[..., 0, 0], covariances[..., 0, 1], covariances[..., 1, 1]
    inverse = torch.stack([yy, -xy, xx], dim=1)
    evidence = Evidence(offsets.mT, weights[:, None] / (xx * yy - xy * xy)[:, None] * inverse)
    with torch.no_grad():
        squared = evidence.squared_distances(torch.zeros_like(evidence.offsets)[:, None])[:, 0]
        median = torch.where(weights > 0, squared, torch.nan).nanmedian()
        # 2 ln 2 is the median for Gaussian errors in two dimensions.
        factor = (median / (2 * math.log(2))).nan_to_num(1.0).clamp_min(_SMALLEST_FACTOR)
    return Evidence(evidence.offsets, evidence.precisions / factor)


@dataclass(frozen=True, eq=False)
class PoseDraws:
    """Poses that the integral is estimated from. They are given: no gradient flows to them."""

    pixels: Tensor  # where they put the keypoints, less the truth, (b, n, 2, k), px
    log_densities: Tensor  # of the proposals that they are drawn from, (b, n); inf leaves out
    mean: Tensor  # of the first proposal, near the mode, (b, 6)
    covariance: Tensor  # its covariance by Laplace's approximation, (b, 6, 6)
    fixed: Tensor  # whether the keypoints fix the pose, (b,); what is drawn is finite anyway


def surprise(evidence: Evidence, draws: PoseDraws) -> Tensor:
    """Return minus the log density at the true pose, (b,), nats (equation 5).

    By radians and diameters to the third power each; negative where keypoints are sure.
    """
    truth = evidence.costs(torch.zeros_like(draws.pixels[:, :1]))[:, 0]
    return truth + log_integral(evidence, draws)


def log_integral(evidence: Evidence, draws: PoseDraws) -> Tensor:
    """Estimate the logarithm of the integral of exp(-cost) over all poses, (b,) (equation 6)."""
    log_weights = _log_weights(evidence.costs(draws.pixels), draws.log_densities)
    return log_weights.logsumexp(dim=1) - math.log(log_weights.shape[1])


@torch.no_grad()
def draw_poses(
    evidence: Evidence,
    pose_targets: PoseTargets,
    camera_from_object: Tensor,
    generator: torch.Generator,
    rounds: int = ROUNDS,
    draws: int = DRAWS,
) -> PoseDraws:
    """Draw poses where keypoints make them probable (algorithm 1).

    Args:
        evidence: what the keypoints say.
        pose_targets: camera, points and diameters.
        camera_from_object: the true transforms, (b, 4, 4), mm.
        generator: on the device of the evidence.
        rounds: of drawing and fitting.
        draws: in each round, even: they come in pairs, one on either side of the mean, so that
            what is linear in the change cancels without noise.
    """
    mean, covariance, fixed = _mode(evidence, pose_targets, camera_from_object)
    first, factor, centre = covariance, torch.linalg.cholesky_ex(covariance)[0], mean
    proposals: list[tuple[Tensor, Tensor]] = []
    changes, pixels, costs = [], [], []
    for _ in range(rounds):
        proposals.append((centre, factor))
        changes.append(centre[:, None] + _t_draws(len(mean), draws, generator) @ factor.mT)
        seen, allowed = displace(pose_targets, camera_from_object, changes[-1])
        pixels.append(seen)
        costs.append(torch.where(allowed, evidence.costs(seen), torch.inf))
        every, cost = torch.cat(changes, dim=1), torch.cat(costs, dim=1)
        mixture = torch.stack([_t_log_density(every, *p) for p in proposals])
        log_densities = mixture.logsumexp(dim=0) - math.log(len(proposals))
        weights = _log_weights(cost, log_densities).softmax(dim=1)
        centre, factor = _fit(every, weights, first)
    return PoseDraws(
        pixels=torch.cat(pixels, dim=1),
        log_densities=torch.where(cost.isfinite(), log_densities, torch.inf),
        mean=mean,
        covariance=first,
        fixed=fixed & cost.isfinite().any(dim=1),
    )


def _mode(
    evidence: Evidence, pose_targets: PoseTargets, camera_from_object: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the most probable pose from the truth, and how sharply it is one.

    The derivatives stay those at the truth: the proposal may be off, weights mend it.

    Returns:
        The change (b, 6), its covariance (b, 6, 6), and whether the keypoints fix the pose, (b,):
        that they know all of it to better than a radian and a diameter.
    """
    _, slopes = linearise(pose_targets, camera_from_object)
    identity = torch.eye(6, device=slopes.device)
    change = slopes.new_zeros(len(slopes), 6)
    for step in range(STEPS + 1):
        pixels, _ = displace(pose_targets, camera_from_object, change[:, None])
        matrix, right = evidence.normal_equations(pixels, slopes)
        if step < STEPS:  # with a prior of one radian and one diameter, that any can be solved
            change = change + torch.linalg.solve_ex(matrix + identity, right - change)[0]
    covariance, definite = _inverse(matrix)
    fixed = definite & (covariance.diagonal(dim1=1, dim2=2) < 1).all(dim=1)
    covariance = torch.where(fixed[:, None, None], covariance, identity)
    return torch.where(fixed[:, None], change, 0.0), covariance, fixed


def _inverse(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Invert symmetric matrices (b, 6, 6), and say which of them have an inverse, (b,).

    By Cholesky factors: what finds eigenvalues raises an error on the worst of matrices.
    """
    scale = matrices.diagonal(dim1=1, dim2=2).clamp_min(1e-12).rsqrt()
    scale = scale[:, :, None] * scale[:, None]
    factors, failed = torch.linalg.cholesky_ex(matrices * scale)  # of a diagonal of ones
    pivots = factors.diagonal(dim1=1, dim2=2).square().amin(dim=1)
    definite = (failed == 0) & (pivots > _SMALLEST_PIVOT)  # NaN is not
    identity = torch.eye(6, device=matrices.device)
    factors = torch.where(definite[:, None, None], factors, identity)
    return torch.cholesky_inverse(factors) * scale, definite


def _fit(changes: Tensor, weights: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a proposal to weighted poses (b, n, 6): its mean, and the factor of its covariance.

    Of the covariance a share alone is moved from that of the first proposal, (b, 6, 6). Poses
    that count are few for six dimensions, and a proposal that fits them too well has its
    density where they happen to lie: the integral comes out too small. From 3 x 32 poses it was
    0.5 nats without that share, 0.17 with a half and 0.09 with a quarter; from 3 x 64 it is 0.04.
    """
    centre = torch.einsum("bn,bni->bi", weights, changes)
    beside = changes - centre[:, None]
    covariance = (beside * weights[..., None]).mT @ beside
    return centre, torch.linalg.cholesky_ex(first.lerp(covariance, ADAPTED))[0]


def _t_draws(b: int, n: int, generator: torch.Generator) -> Tensor:
    """Draw from the standard t in six dimensions, (b, n, 6), in pairs of opposite sign."""
    device = generator.device
    normal = torch.randn(b, n // 2, 6, generator=generator, device=device)
    chi = torch.randn(b, n // 2, int(FREEDOM), generator=generator, device=device)
    half = normal * (FREEDOM / chi.square().sum(dim=-1, keepdim=True)).sqrt()
    return torch.cat([half, -half], dim=1)


def _t_log_density(changes: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """Return the log density (b, n) of the t with mean (b, 6) and factor (b, 6, 6)."""
    white: Tensor = torch.linalg.solve_triangular(factor, (changes - mean[:, None]).mT, upper=False)
    log_volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1, keepdim=True)
    constant = math.lgamma((FREEDOM + 6) / 2) - math.lgamma(FREEDOM / 2)
    constant -= 3 * math.log(FREEDOM * math.pi)
    distances = white.square().sum(dim=1) / FREEDOM
    return constant - log_volume - (FREEDOM + 6) / 2 * distances.log1p()


def _log_weights(costs: Tensor, log_densities: Tensor) -> Tensor:
    """Return log importance weights (b, n); what is left out weighs nothing, but is finite."""
    return (-costs - log_densities).clamp_min(-1e30)
