import os

import pytest

from heatpose.render import variants


@pytest.fixture(autouse=True)
def fresh_answers():
    variants._usable.cache_clear()
    yield
    variants._usable.cache_clear()


def test_one_variant_that_ends_its_process_does_not_spoil_the_answer(monkeypatch):
    trial = "import os, sys\nif sys.argv[1] == 'llvm_ad_rgb': os.abort()\nprint('works')"
    monkeypatch.setattr(variants, "_TRIAL", trial)
    assert variants.usable_variants() == ["cuda_ad_rgb", "scalar_rgb"]


def test_a_senseless_llvm_of_the_user_leaves_the_scalar_variant(monkeypatch):
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", "/no/such/libLLVM.so")
    usable = variants.usable_variants()
    assert "llvm_ad_rgb" not in usable and "scalar_rgb" in usable
    assert os.environ["DRJIT_LIBLLVM_PATH"] == "/no/such/libLLVM.so"


def test_finds_the_newest_llvm_that_is_new_enough(tmp_path):
    places = [f"{tmp_path}/libLLVM*.so*", f"{tmp_path}/llvm-*/lib/libLLVM*.so*"]
    assert variants.newest_llvm(places) is None
    for name in ("libLLVM-14.so.1", "libLLVM-9.so", "libLLVMish.so"):
        (tmp_path / name).touch()
    assert variants.newest_llvm(places) is None
    (tmp_path / "libLLVM-15.so.1").touch()
    assert variants.newest_llvm(places) == tmp_path / "libLLVM-15.so.1"
    (tmp_path / "libLLVM.so.19.1").touch()
    (tmp_path / "llvm-20" / "lib").mkdir(parents=True)
    (tmp_path / "llvm-20" / "lib" / "libLLVM.so").symlink_to(tmp_path / "libLLVM.so.20.1")
    (tmp_path / "libLLVM.so.20.1").touch()
    assert variants.newest_llvm(places).resolve().name == "libLLVM.so.20.1"


def test_points_to_an_llvm_only_where_the_user_has_not(monkeypatch, tmp_path):
    library = tmp_path / "libLLVM.so.19.1"
    monkeypatch.setattr(variants, "newest_llvm", lambda: library)
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", "mine")
    variants.point_to_llvm()
    assert os.environ["DRJIT_LIBLLVM_PATH"] == "mine"
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH")
    variants.point_to_llvm()
    assert os.environ["DRJIT_LIBLLVM_PATH"] == str(library)
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH")
