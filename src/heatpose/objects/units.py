"""The length unit of a CAD file: asked for, or guessed from the size and said aloud.

Mesh files do not say their unit (glTF says metres, and half of its writers ignore that). Objects
that a camera looks for measure millimetres to a metre or two, so the size tells metres from
millimetres. It cannot tell centimetres and inches: a part of 4 inches looks like one of 4 mm.
The rule is therefore: largest extent under 3 is metres, everything else millimetres, and the
ranges in which another unit is as likely are reported as doubtful.
"""

from dataclasses import dataclass

from heatpose.geometry.arrays import Array

MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}
UNIT_NAMES = {"mm": "millimetres", "cm": "centimetres", "m": "metres", "inch": "inches"}

# Between these, an object in inches or centimetres is as likely as what the rule says.
DOUBTFUL = (1.0, 25.0)
LARGEST_IN_METRES = 3.0
PLAUSIBLE_MM = (1.0, 10_000.0)


@dataclass(frozen=True)
class LengthUnit:
    """The unit in which a file was written, and how we know."""

    unit: str  # a key of MM_PER_UNIT
    extents: tuple[float, float, float]  # of the file, in that unit
    guessed: bool  # from the size; otherwise somebody said so
    doubt: str | None = None  # why the guess may be wrong

    @property
    def mm(self) -> float:
        """Millimetres in one unit."""
        return MM_PER_UNIT[self.unit]

    def __str__(self) -> str:
        digits = ".3f" if 0.05 <= max(self.extents) < 10 else ".3g"
        size = " x ".join(f"{extent:{digits}}" for extent in self.extents)
        how = "taken for" if self.guessed else "given as"
        return f"extents {size}: {how} {UNIT_NAMES[self.unit]}"


def find_unit(extents: Array, unit: str | None = None) -> LengthUnit:
    """Settle the unit of a file from its extents (3,), unless it is given.

    Raises:
        ValueError: the given unit is not one of mm, cm, m, inch.
    """
    size = (float(extents[0]), float(extents[1]), float(extents[2]))
    if unit is not None:
        if unit not in MM_PER_UNIT:
            raise ValueError(f"unit must be one of {', '.join(MM_PER_UNIT)}, got {unit!r}")
        return LengthUnit(unit, size, guessed=False)
    guess = "m" if max(size) < LARGEST_IN_METRES else "mm"
    return LengthUnit(guess, size, guessed=True, doubt=_doubt(max(size), guess))


def _doubt(largest: float, guess: str) -> str | None:
    mm = largest * MM_PER_UNIT[guess]
    if not PLAUSIBLE_MM[0] <= mm <= PLAUSIBLE_MM[1]:
        return f"the object would be {mm:.3g} mm large: give the unit if that is wrong"
    if DOUBTFUL[0] <= largest < DOUBTFUL[1]:
        return (
            f"{largest:.3g} inches or centimetres are as likely as {UNIT_NAMES[guess]}: "
            "give the unit to be sure"
        )
    return None
