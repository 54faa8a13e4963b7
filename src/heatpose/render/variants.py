"""Which variants of mitsuba work on this machine, found out without risk.

A variant is a build of mitsuba for one way to compute: on a GPU (cuda), with vector units through
LLVM (llvm), or neither (scalar, about nine times slower than llvm). Drivers or an LLVM that are too
old can end the whole process, so the question is put to processes of their own.
"""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

VARIANTS = ("cuda_ad_rgb", "llvm_ad_rgb", "scalar_rgb")  # fastest first
OLDEST_LLVM = 15  # older ones lack the opaque pointers that mitsuba's compiler needs
LLVM_PATH = "DRJIT_LIBLLVM_PATH"  # the environment variable in which mitsuba looks for it
LLVM_PLACES = (
    "/usr/lib/*-linux-gnu/libLLVM*.so*",
    "/usr/lib/llvm-*/lib/libLLVM*.so*",
    "/usr/lib64/libLLVM*.so*",
    "/usr/lib/libLLVM*.so*",
    "/usr/local/lib/libLLVM*.so*",
    "/opt/homebrew/opt/llvm*/lib/libLLVM*.dylib",
    "/usr/local/opt/llvm*/lib/libLLVM*.dylib",
)

# One ray has to meet a sphere, which needs compiler and ray tracer, not only the library; and the
# lesser of two numbers has to be found, which drjit 1.5 asks of LLVM 15 in words that it lacks.
_TRIAL = """
import sys, drjit, mitsuba
mitsuba.set_variant(sys.argv[1])
if "scalar" not in sys.argv[1]:
    assert "1" in str(drjit.minimum(mitsuba.Float([1, 4]), 3))
scene = mitsuba.load_dict({"type": "scene", "ball": {"type": "sphere"}})
hit = scene.ray_intersect(mitsuba.Ray3f([0, 0, -3], [0, 0, 1]))
assert "2" in str(hit.t), hit.t
print("works")
"""


def usable_variants(among: Sequence[str] = VARIANTS) -> list[str]:
    """Return those of mitsuba's variants that trace a ray on this machine, fastest first.

    Empty where mitsuba is not installed. Sets the environment variable ``DRJIT_LIBLLVM_PATH`` to
    the newest LLVM in the usual places unless it is set already.
    """
    point_to_llvm()
    return list(_usable(tuple(among), os.environ.get(LLVM_PATH)))


def point_to_llvm() -> None:
    """Tell mitsuba where the newest LLVM is, unless the user has; before it is imported."""
    if LLVM_PATH not in os.environ and (library := newest_llvm()):
        os.environ[LLVM_PATH] = str(library)


def newest_llvm(places: Sequence[str] = LLVM_PLACES) -> Path | None:
    """Return the library of the newest LLVM that mitsuba can use, None if there is none.

    Args:
        places: absolute patterns of file names.
    """
    found = [path for place in places for path in Path("/").glob(place.lstrip("/"))]
    by_version = [(_version(path), path) for path in sorted(found)]
    return max((v for v in by_version if v[0] >= OLDEST_LLVM), default=(0, None))[1]


def _version(library: Path) -> int:
    """Return the major version in the name of a library, or in that of what it links to; else 0."""
    for name in (library.name, library.resolve().name):
        if match := re.fullmatch(r"libLLVM(?:-|\.so\.|\.)(\d+).*", name):
            return int(match[1])
    return 0


@functools.cache
def _usable(among: tuple[str, ...], _llvm: str | None) -> tuple[str, ...]:
    """Try variants, all at once, each in a process of its own; they see the same environment."""
    trials = {
        variant: subprocess.Popen(
            [sys.executable, "-c", _TRIAL, variant],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for variant in among
    }
    return tuple(v for v, trial in trials.items() if "works" in trial.communicate()[0])
