import pytest
import torch

from heatpose.train.config import TrainConfig
from heatpose.train.training import share_of_learning_rate


def test_epochs_and_steps_cover_the_samples_asked_for():
    config = TrainConfig(samples=10_000, samples_per_epoch=1000, batch_size=30)
    assert config.steps_per_epoch == 33
    assert config.epochs == 10  # of 990 samples each
    assert config.steps == 330


def test_as_many_batches_are_drawn_as_are_learned_from_a_given_number_of_times():
    for echo, drawn in [(1, 33), (2, 17), (3, 11), (40, 1)]:
        config = TrainConfig(samples=10_000, samples_per_epoch=1000, batch_size=30, echo=echo)
        assert config.drawn_per_epoch == drawn
        assert config.steps == 330


def test_at_least_one_epoch_is_trained():
    assert TrainConfig(samples=1, samples_per_epoch=8192).epochs == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples": 0}, "samples must be positive, got 0"),
        ({"learning_rate": -1e-3}, r"learning_rate must be positive, got -0\.001"),
        ({"schedule": "linear"}, "schedule must be one of cosine, .* got 'linear'"),
        ({"minutes": 0.0}, r"minutes must be positive, got 0\.0"),
        ({"echo": 0}, "echo must be positive, got 0"),
        ({"workers": -1}, "workers must not be negative, got -1"),
        ({"samples_per_epoch": 8, "batch_size": 32}, "at least batch_size 32, got 8"),
    ],
)
def test_senseless_values_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**wrong)


def shares(schedule):
    config = TrainConfig(samples=8000, samples_per_epoch=8000, batch_size=8, schedule=schedule)
    return [share_of_learning_rate(config, step) for step in range(config.steps)]


def test_a_constant_learning_rate_stays_after_the_same_warm_up_as_a_cosine():
    constant, cosine = shares("constant"), shares("cosine")
    assert constant[:30] == cosine[:30] and constant[0] < 0.05
    assert set(constant[30:]) == {1.0}
    assert cosine[30] == 1.0 and cosine[515] == pytest.approx(0.505, abs=0.01)
    assert cosine[-1] == pytest.approx(0.01, abs=1e-4)


def test_one_cycle_is_that_of_torch():
    weights = [torch.zeros(1, requires_grad=True)]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=1001, cycle_momentum=False
    )
    for step, share in enumerate(shares("one-cycle")):
        # torch puts the top a step earlier: before the step that ends the rise
        assert share == pytest.approx(theirs.get_last_lr()[0], abs=0.006), step
        optimizer.step()
        theirs.step()
