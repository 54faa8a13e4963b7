import base64
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from heatpose.data.bop_files import GroundTruth
from heatpose.draw.page import PagePicture, write_page
from heatpose.evaluate.comparison import compare_poses
from heatpose.geometry.transforms import make_transform
from heatpose.objects.catalogue import ObjectModel
from heatpose.pipeline import STAGES
from heatpose.types import PoseEstimate

VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """What stands on a page: its tags, the text of each cell, whether tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.cells, self.sources, self.text = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.sources += [attributes[k] for k in ("src", "href") if k in attributes]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "td" in self.open:
            self.cells[-1] += data


@pytest.fixture
def page(tmp_path, cube_mesh):
    model = ObjectModel(4, "cube <&> co", cube_mesh, cube_mesh.vertices, np.eye(4)[None], 100.0)
    pose = make_transform(np.eye(3), [10.0, 20.0, 800.0])
    lifted = make_transform(np.eye(3), [10.0, 20.0, 805.0])
    found = PoseEstimate(
        4, lifted, 0.87, np.eye(6), np.full((8, 2), 5.0), np.full(8, True), (1, 1, 9, 9)
    )
    findings = compare_poses([found, found], [GroundTruth(4, pose)], {4: model})
    image = np.zeros((30, 40, 3), np.uint8)
    image[..., 0] = 200
    stages = dict(zip(STAGES, (12.34, 1, 50, 2, 4, 3, 7, 8, 5, 6), strict=True))
    pictures = [
        PagePicture("desk.png", image, stages, 69.6, findings),
        PagePicture("empty.png", image, {"detect": 12.0}, 12.1, []),
    ]
    write_page(tmp_path / "index.html", pictures, "1 of 1 & so on", "a desk")
    return Page((tmp_path / "index.html").read_text("utf-8"))


def test_every_tag_is_closed_and_nothing_is_left_of_the_template(page):
    assert page.open == [] and "$" not in page.text


def test_the_page_needs_nothing_beside_it(page):
    assert len(page.sources) == 2
    for source in page.sources:
        head, _, data = source.partition(",")
        assert head == "data:image/jpeg;base64"
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_allclose(picture[15, 20], [0, 0, 200], atol=8)  # BGR: still red


def test_each_pose_is_a_row(page):
    assert page.cells[:7] == ["cube <&> co", "right", "0.87", "0.050", "5.0", "0.0", "10, 20, 805"]
    assert page.cells[7:] == ["cube <&> co", "false alarm", "0.87", "", "", "", "10, 20, 805"]
    assert "2 poses in 70 ms" in page.text
    assert "no poses in 12 ms" in page.text and "nothing was found" in page.text


def test_each_stage_has_its_time_its_share_of_the_bar_and_its_colour(page):
    spans = {a["class"]: a["style"] for tag, a in page.tags if tag == "span" and "style" in a}
    assert spans.keys() == set(STAGES)
    assert spans["network"] == "flex-grow:50.000"
    assert "network 50.0" in page.text and "detect 12.3" in page.text
    assert all(f".{stage} {{ background: #" in page.text for stage in STAGES)


def test_summary_and_machine_are_said(page):
    assert "1 of 1 & so on." in page.text and "on a desk." in page.text
