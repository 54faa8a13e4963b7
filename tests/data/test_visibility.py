import json

import pytest

from heatpose.data.bop import BopDataset
from heatpose.data.bop_files import Target, write_targets
from heatpose.data.visibility import visibility_of


def write_objects(root, objects):
    """Write one image of objects, (id, visible fraction) each."""
    scene = root / "test" / "000003"
    scene.mkdir(parents=True)
    pose = {"cam_R_m2c": [1, 0, 0, 0, 1, 0, 0, 0, 1], "cam_t_m2c": [0, 0, 500]}
    box = {"bbox_obj": [0, 0, 9, 9], "bbox_visib": [0, 0, 9, 9]}
    counts = {"px_count_all": 100, "px_count_valid": 100}
    truth = [{**pose, "obj_id": object_id} for object_id, _ in objects]
    seen = [
        {**box, **counts, "px_count_visib": round(100 * part), "visib_fract": part}
        for _, part in objects
    ]
    (scene / "scene_gt.json").write_text(json.dumps({"1": truth}))
    (scene / "scene_gt_info.json").write_text(json.dumps({"1": seen}))


def test_what_is_to_be_found_counts_and_of_several_the_most_visible(tmp_path):
    write_objects(tmp_path, [(5, 0.3), (5, 0.9), (5, 0.7), (6, 0.2), (8, 0.05)])
    write_targets(tmp_path / "test_targets_bop19.json", [Target(3, 1, 5, 2), Target(3, 1, 6, 1)])
    found = visibility_of(BopDataset(tmp_path))
    assert found.n_targets == 3
    assert found.mean == pytest.approx(0.6)
    assert found.below == pytest.approx((1 / 3, 2 / 3))
    assert str(found) == (
        "3 objects to find: 60.0% of each is seen, of 33.3% less than 40%, of 66.7% less than 80%"
    )


@pytest.mark.real
def test_the_development_split_is_as_hidden_as_documents_say(real_data):
    found = visibility_of(BopDataset(real_data / "lmo"))
    assert found.n_targets == 487
    assert found.mean == pytest.approx(0.784, abs=1e-3)
    assert found.below == pytest.approx((0.086, 0.409), abs=1e-3)
