import tarfile

import pytest

from heatpose.errors import DataError, OptionError
from heatpose.synth.jobs import Outcome

ray = pytest.importorskip("ray")

from heatpose.synth.cluster import _packed, make_scenes, write_scene  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
    ),
]

# A worker of a cluster imports this: scenes that say what they were made of. Number 1 kills its
# worker, the first time.
TOYS = """
import os, signal
from pathlib import Path


class Toys:
    def __init__(self, orders):
        self.orders = Path(orders)

    def __call__(self, places):
        self.word = (places["models"] / "inner" / "word.txt").read_text()
        return self.make

    def make(self, number, folder):
        if (self.orders / str(number)).exists():
            (self.orders / str(number)).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        scene = folder / f"{number:06d}"
        (scene / "rgb").mkdir(parents=True)
        (scene / "rgb" / "000000.txt").write_text(f"{self.word} {number}")
        return {"scene": 0.5}
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "ray_toys.py").write_text(TOYS)
    monkeypatch.syspath_prepend(tmp_path / "code")
    (tmp_path / "orders").mkdir()
    (tmp_path / "models" / "inner").mkdir(parents=True)
    (tmp_path / "models" / "inner" / "word.txt").write_text("duck")
    import ray_toys

    ray.cloudpickle.register_pickle_by_value(ray_toys)  # the workers have no such file
    yield ray_toys.Toys(tmp_path / "orders")
    ray.cloudpickle.unregister_pickle_by_value(ray_toys)


def test_nothing_is_lost_when_one_of_two_workers_is_killed(tmp_path, toys):
    (tmp_path / "orders" / "1").touch()
    out = tmp_path / "train"
    places = {"models": tmp_path / "models"}
    outcomes = list(make_scenes(range(8), toys, places, out, "local", workers=2))
    assert [one.problem for one in outcomes if one.problem] == []
    assert not (tmp_path / "orders" / "1").exists()  # it was killed
    expected = [Outcome(n, {"scene": 0.5}) for n in range(8)]
    assert sorted(outcomes, key=lambda one: one.number) == expected
    for number in range(8):
        assert (out / f"{number:06d}" / "rgb" / "000000.txt").read_text() == f"duck {number}"
    assert sorted(p.name for p in out.iterdir()) == [f"{n:06d}" for n in range(8)]
    assert not ray.is_initialized()


def test_a_scene_that_is_sent_is_written_whole_or_not_at_all(tmp_path):
    scene = tmp_path / "made" / "000003"
    (scene / "rgb").mkdir(parents=True)
    (scene / "rgb" / "000000.jpg").write_bytes(b"picture")
    archive = _packed({"000003": scene})
    out = tmp_path / "train"
    write_scene(archive, 3, out)
    assert (out / "000003" / "rgb" / "000000.jpg").read_bytes() == b"picture"
    with pytest.raises(DataError, match=r"cannot write .*000003"):
        write_scene(archive, 3, out)  # it is there
    with pytest.raises(tarfile.TarError):
        write_scene(archive[: len(archive) // 4], 4, out)
    assert [p.name for p in out.iterdir()] == ["000003"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1: .*refused"),
        ("ray://127.0.0.1:1", "no Ray cluster at ray://127.0.0.1:1: .*refused"),
        ("here", "local, auto or HOST:PORT, got 'here'"),
    ],
)
def test_an_address_without_a_cluster_is_named(tmp_path, toys, address, message):
    with pytest.raises(OptionError, match=message):
        list(make_scenes([0], toys, {}, tmp_path, address, workers=1))
