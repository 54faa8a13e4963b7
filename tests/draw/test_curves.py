import pytest

from heatpose.data.images import read_image
from heatpose.draw.curves import Curve, draw_curves

PANELS = {
    "noise, mm": [Curve("rgb, no depth", [(0, 40), (30, 40)], dotted=True)],
    "holes, share": [Curve("cross", [(0.9, 50), (0, 80)], dashed=True), Curve("rgb", [(0, 70)])],
    "stereo, strength": [],
    "resolution": [Curve("cross, geometry", [(0, 90)])],
}


@pytest.mark.parametrize("panels", [PANELS, dict(list(PANELS.items())[:1])])
def test_curves_are_drawn_as_a_png_or_an_svg(tmp_path, panels):
    draw_curves(tmp_path / "curves.png", panels, "recall, %")
    assert read_image(tmp_path / "curves.png").std() > 5
    draw_curves(tmp_path / "curves.svg", panels, "recall, %")
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
