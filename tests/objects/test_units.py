import numpy as np
import pytest

from heatpose.objects.units import find_unit


@pytest.mark.parametrize(
    ("largest", "unit", "doubtful"),
    [
        (0.0005, "m", True),  # half a millimetre
        (0.092, "m", False),
        (0.999, "m", False),
        (2.9, "m", True),  # a part of 3 inches?
        (4.0, "mm", True),  # of 4 inches, or 4 cm?
        (24.9, "mm", True),
        (25.0, "mm", False),
        (260.0, "mm", False),
        (20_000.0, "mm", True),  # micrometres?
    ],
)
def test_size_tells_metres_from_millimetres_and_doubts_the_rest(largest, unit, doubtful):
    found = find_unit(np.array([largest / 2, largest, largest / 3]))
    assert (found.unit, found.guessed) == (unit, True)
    assert (found.doubt is not None) == doubtful


def test_what_was_found_reads_as_a_sentence():
    metres = find_unit(np.array([0.076, 0.078, 0.092]))
    assert str(metres) == "extents 0.076 x 0.078 x 0.092: taken for metres"
    inches = find_unit(np.array([1.5, 2.0, 4.0]), "inch")
    assert str(inches) == "extents 1.500 x 2.000 x 4.000: given as inches"
    assert inches.mm == 25.4 and inches.doubt is None


def test_doubt_names_the_other_units():
    assert "4 inches or centimetres are as likely as millimetres" in str(
        find_unit(np.array([4.0, 1.0, 1.0])).doubt
    )


def test_an_unknown_unit_is_refused():
    with pytest.raises(ValueError, match="one of mm, cm, m, inch, got 'ft'"):
        find_unit(np.ones(3), "ft")
