import subprocess
import sys
import time

import pytest

from heatpose.errors import DataError, HeatposeError
from heatpose.synth.jobs import Manner, Outcome, make_scenes, remove_leftovers

# What a new process imports: a maker that writes a small scene, and does what the file named after
# the scene says, once: die, fail, wait or say what is wrong.
TOYS = """
import os, signal, time
from pathlib import Path
from heatpose.errors import DataError


class Toys:
    def __init__(self, orders):
        self.orders = Path(orders)

    def __call__(self):
        order = self.take("start")
        if order == "refuse":
            raise DataError("no such toys")
        if order == "die":
            os._exit(3)
        return self.make

    def take(self, name):
        path = self.orders / name
        if not path.exists():
            return None
        order, times = path.read_text().split()
        if int(times) == 1:
            path.unlink()
        else:
            path.write_text(f"{order} {int(times) - 1}")
        return order

    def make(self, number, folder):
        temporary = folder / f".{number:06d}.toy"
        temporary.mkdir(parents=True)
        order = self.take(str(number))
        if order == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "wait":
            for beat in range(600):
                (temporary / "beat").write_text(str(beat))
                time.sleep(0.1)
        if order == "refuse":
            raise DataError("the disk is full")
        if order == "fail":
            raise RuntimeError("the lamp broke")
        device = os.environ.get("CUDA_VISIBLE_DEVICES")
        where = f" on {device}" if device else ""
        (temporary / "scene").write_text(f"{number} {os.environ['OMP_NUM_THREADS']}{where}")
        temporary.rename(folder / f"{number:06d}")
        return {"scene": 0.5}
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A function that returns what opens a maker of toys, with orders by name."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "toy_scenes.py").write_text(TOYS)
    monkeypatch.syspath_prepend(tmp_path / "code")  # spawned processes get the path too

    def prepare(**orders):
        from toy_scenes import Toys

        (tmp_path / "orders").mkdir(exist_ok=True)
        for name, order in orders.items():
            (tmp_path / "orders" / name.lstrip("_")).write_text(order)
        return Toys(tmp_path / "orders")

    return prepare


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_every_scene_is_made_once_and_reported(tmp_path, toys):
    out = tmp_path / "train"
    outcomes = list(make_scenes(range(3, 8), toys(), out, workers=2, threads=2))
    assert sorted(one.number for one in outcomes) == [3, 4, 5, 6, 7]
    assert all(one.seconds == {"scene": 0.5} and one.problem is None for one in outcomes)
    assert names(out) == [f"{n:06d}" for n in range(3, 8)]
    assert (out / "000003" / "scene").read_text() == "3 2"  # before numpy was loaded


def test_a_scene_whose_process_is_killed_is_made_again(tmp_path, toys, caplog):
    out = tmp_path / "train"
    outcomes = list(make_scenes(range(4), toys(_1="die 2"), out, workers=2))
    assert sorted(outcomes, key=lambda one: one.number) == [
        Outcome(n, {"scene": 0.5}) for n in range(4)
    ]
    assert names(out) == [f"{n:06d}" for n in range(4)]  # and nothing half done
    assert caplog.messages == ["scene 1: its process was ended by signal 9; trying again"] * 2


def test_a_scene_that_kills_its_process_each_time_is_given_up_and_named(tmp_path, toys):
    out = tmp_path / "train"
    outcomes = list(make_scenes(range(3), toys(_1="die 3"), out, workers=1))
    problems = {one.number: one.problem for one in outcomes}
    assert problems == {0: None, 1: "its process was ended by signal 9, 3 times", 2: None}
    assert names(out) == ["000000", "000002"]


def test_an_exception_ends_one_scene_and_the_others_go_on(tmp_path, toys):
    out = tmp_path / "train"
    outcomes = list(make_scenes(range(3), toys(_0="fail 1"), out, workers=1))
    problems = {one.number: one.problem for one in outcomes}
    assert problems == {0: "RuntimeError: the lamp broke", 1: None, 2: None}


@pytest.mark.parametrize(
    ("orders", "message"),
    [({"_1": "refuse 9"}, "the disk is full"), ({"start": "refuse 9"}, "toys")],
)
def test_what_would_be_the_same_for_all_scenes_ends_everything(tmp_path, toys, orders, message):
    with pytest.raises(DataError, match=message):
        list(make_scenes(range(50), toys(**orders), tmp_path, workers=1))


def test_processes_that_die_before_they_begin_are_not_started_forever(tmp_path, toys):
    with pytest.raises(HeatposeError, match="ended with 3 before it made a scene, 3 times"):
        list(make_scenes(range(5), toys(start="die 9"), tmp_path, workers=1))


def test_closing_ends_the_processes_and_leaves_whole_scenes_only(tmp_path, toys):
    out = tmp_path / "train"
    running = make_scenes(range(9), toys(_1="wait 1"), out, workers=1)
    assert next(running).number == 0
    wait_for(lambda: len(names(out)) == 2)  # 000000 and the one that waits
    running.close()
    assert names(out) == ["000000"]


def test_processes_end_with_a_parent_that_is_killed(tmp_path, toys):
    """It cannot say so; they would work on, and get in the way of those of the next run."""
    toys(_0="wait 1")
    program = tmp_path / "program.py"
    program.write_text(f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(tmp_path / "code")!r})
from toy_scenes import Toys
from heatpose.synth.jobs import make_scenes
if __name__ == "__main__":
    list(make_scenes(range(1), Toys({str(tmp_path / "orders")!r}), Path({str(tmp_path)!r}), 1))
""")
    parent = subprocess.Popen([sys.executable, program])
    beat = tmp_path / ".000000.toy" / "beat"
    wait_for(lambda: beat.exists())
    parent.kill()
    parent.wait()
    time.sleep(0.5)
    last = beat.read_text()
    time.sleep(0.5)
    assert beat.read_text() == last


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_leftovers_of_one_scene_are_removed_and_nothing_else(tmp_path):
    kept = ["000001", "000002", ".000002.abcd", "synth.json"]
    for name in [*kept, ".000001.abcd", ".000001.ef"]:
        (tmp_path / name).mkdir()
    remove_leftovers(tmp_path, 1)
    assert names(tmp_path) == sorted(kept)


def test_other_things_are_called_what_they_are_and_dealt_out_to_devices(tmp_path, toys):
    manner = Manner("run", ("4", "7"))
    [outcome] = make_scenes([1], toys(_1="die 3"), tmp_path / "runs", workers=1, manner=manner)
    assert outcome.problem == "its process was ended by signal 9, 3 times"
    with pytest.raises(HeatposeError, match="before it made a run"):
        list(make_scenes([1], toys(start="die 9"), tmp_path / "runs", 1, manner=manner))


def test_each_process_sees_its_own_device(tmp_path, toys):
    out, manner = tmp_path / "runs", Manner("run", ("4", "7"))
    outcomes = list(make_scenes(range(4), toys(), out, workers=2, manner=manner))
    assert [one.problem for one in outcomes] == [None] * 4
    devices = {(out / name / "scene").read_text().split(" on ")[1] for name in names(out)}
    assert devices <= {"4", "7"} and devices
