"""The building itself: floors, light imports, docstrings and public names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import heatpose

ROOT = Path(heatpose.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# Each part imports only from its own floor and below.
FLOORS = [
    {"errors", "files", "geometry"},
    {"types", "objects"},
    {"render"},
    {"data", "model", "solve"},
    {"runtime"},
    {"look", "pipeline"},
    {"train", "evaluate", "export", "draw", "synth", "check"},
    {"create", "study"},
    {"cli"},
]
FLOOR_OF = {part: number for number, floor in enumerate(FLOORS) for part in floor}

# Where torch may be imported before anything runs; all else works without it.
TORCH_MODULES = {
    "data/batch_augment.py",
    "data/batch_depth.py",
    "data/batch_depth_sensors.py",
    "data/batch_jpeg.py",
    "data/batch_detection.py",
    "data/batch_layouts.py",
    "data/batch_samples.py",
    "data/batch_scenery.py",
    "data/detection_samples.py",
    "data/samples.py",
    "data/scene_samples.py",
    "model/detector_trunk.py",
    "model/detector_weights.py",
    "model/fusion.py",
    "model/network.py",
    "model/resnet.py",
    "model/weights.py",
    "model/yolov10.py",
    "model/yolov10_blocks.py",
    "render/splats.py",
    "runtime/torch_predictor.py",
}
TORCH_PARTS = {"train", "export", "study"}
HEAVY = {"torch", "lightning", "openvino", "onnx", "onnxruntime", "scipy", "trimesh", "cv2"}


def part_of(path):
    """The first part of a module's place in the package: errors, geometry, cli."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(tree, nodes=ast.walk):
    """The full names of what a module imports; ``from a import b`` counts as a.b."""
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), path)


def fresh(code):
    """What Python says that has loaded nothing else."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def named(path):
    return str(path.relative_to(ROOT))


def test_every_part_has_a_floor():
    assert {part_of(path) for path in MODULES} - {"__init__"} <= FLOOR_OF.keys()


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_only_go_down(path):
    own = FLOOR_OF.get(part_of(path), len(FLOORS))  # the package itself stands on all floors
    names = [name.split(".") for name in imports_of(parse(path))]
    parts = [name[1] for name in names if name[0] == "heatpose" and len(name) > 1]
    up = [part for part in parts if FLOOR_OF.get(part, 0) > own]
    assert not up


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_torch_stays_where_networks_are_trained(path):
    at_import = {name.split(".")[0] for name in imports_of(parse(path), ast.iter_child_nodes)}
    allowed = named(path) in TORCH_MODULES or part_of(path) in TORCH_PARTS
    assert allowed or not at_import & {"torch", "lightning"}


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(parse(path))


def test_the_package_and_its_command_line_load_nothing_heavy():
    code = "import sys, heatpose.cli; print(*{name.split('.')[0] for name in sys.modules})"
    assert not HEAVY & set(fresh(code).split())


def test_inference_loads_no_torch():
    code = "import sys, heatpose.pipeline, heatpose.runtime.bundle; print('torch' in sys.modules)"
    assert fresh(code) == "False\n"


def test_training_loads_no_openvino():
    code = "import sys, heatpose.train.loop, heatpose.train.start; print('openvino' in sys.modules)"
    assert fresh(code) == "False\n"


def test_the_public_names_are_sorted_and_each_is_there():
    assert heatpose.__all__ == sorted(heatpose.__all__)
    for name in heatpose.__all__:
        assert getattr(heatpose, name).__name__ == name
    assert set(heatpose.__all__) <= set(dir(heatpose))


def test_type_checkers_see_the_public_names_where_they_are_loaded_from():
    tree = parse(ROOT / "__init__.py")
    seen = [name for name in imports_of(tree) if name.startswith("heatpose.")]
    loaded = [f"heatpose.{place}.{name}" for name, place in heatpose._PLACES.items()]
    assert sorted(seen) == sorted(loaded)
    assert sorted(heatpose._PLACES) == heatpose.__all__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'heatpose' has no attribute 'PoseMachine'"):
        heatpose.PoseMachine  # noqa: B018
