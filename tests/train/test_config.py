import pytest

from heatpose.train.config import TrainConfig


def test_epochs_and_steps_cover_the_samples_asked_for():
    config = TrainConfig(samples=10_000, samples_per_epoch=1000, batch_size=30)
    assert config.steps_per_epoch == 33
    assert config.epochs == 10  # of 990 samples each
    assert config.steps == 330


def test_at_least_one_epoch_is_trained():
    assert TrainConfig(samples=1, samples_per_epoch=8192).epochs == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples": 0}, "samples must be positive, got 0"),
        ({"learning_rate": -1e-3}, r"learning_rate must be positive, got -0\.001"),
        ({"workers": -1}, "workers must not be negative, got -1"),
        ({"samples_per_epoch": 8, "batch_size": 32}, "at least batch_size 32, got 8"),
    ],
)
def test_senseless_values_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**wrong)
