import itertools
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heatpose.errors import BundleError, DataError
from heatpose.objects.catalogue import ObjectModel
from heatpose.runtime.bundle import Bundle, BundledDetector, read_bundle, write_bundle
from heatpose.runtime.bundle_files import write_files
from heatpose.runtime.bundle_record import CropSettings, DetectorSettings, Provenance, sha256
from heatpose.solve.probability import Calibration


@pytest.fixture
def bundle(cube_mesh, brick_mesh, rng):
    half_turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    objects = [
        ObjectModel(8, "cube", cube_mesh, rng.normal(size=(4, 3)), np.eye(4)[None], 138.6),
        ObjectModel(
            2,
            "Ziegel ä",
            brick_mesh,
            rng.normal(size=(4, 3)),
            np.stack([np.eye(4), half_turn]),
            161.0,
        ),
    ]
    return Bundle(
        name="toys",
        objects=tuple(objects),
        crop=CropSettings(size=64, margin=1.25, stride=4, sigma=1.5),
        network=bytes(range(256)),
        provenance=Provenance(
            heatpose="0.1.0",
            date="2026-11-22T09:00:00+00:00",
            network={"n_objects": 2},
            training={"steps": 10},
            samples=320,
            machine="two cores",
            meshes="drawn by hand",
            notes="",
        ),
        card="# toys\n",
    )


@pytest.fixture
def detector():
    settings = DetectorSettings(
        object_ids=[2, 31, 8],
        image_sizes=[320],
        threshold=0.3,
        weights="int8",
        network={"size": "n", "n_classes": 3},
        training={"steps": 7},
        samples=None,
        datasets=["scenes"],
        machine="two cores",
    )
    return BundledDetector(bytes(range(255, 0, -1)), settings)


@pytest.fixture(params=["toys.heatpose", "toys"], ids=["file", "folder"])
def written(request, bundle, tmp_path):
    write_bundle(tmp_path / request.param, bundle)
    return tmp_path / request.param


def rewrite_record(path, change):
    """Change bundle.json of a folder by hand, with a checksum that fits again."""
    record = json.loads((path / "bundle.json").read_text())
    change(record)
    record["checksum"] = "0" * 64
    text = json.dumps(record)
    (path / "bundle.json").write_text(text.replace("0" * 64, sha256(text.encode())))


def test_reading_gives_back_what_was_written(written, bundle):
    back = read_bundle(written)
    assert (back.name, back.crop, back.provenance) == (bundle.name, bundle.crop, bundle.provenance)
    assert (back.network, back.card, back.identity) == (
        bundle.network,
        bundle.card,
        bundle.identity,
    )
    for there, here in zip(back.objects, bundle.objects, strict=True):
        assert (there.object_id, there.name) == (here.object_id, here.name)
        assert there.diameter == here.diameter
        np.testing.assert_array_equal(there.keypoints, here.keypoints)
        np.testing.assert_array_equal(there.symmetries, here.symmetries)
        np.testing.assert_allclose(there.mesh.vertices, here.mesh.vertices, atol=1e-5)
        np.testing.assert_array_equal(there.mesh.faces, here.mesh.faces)
        np.testing.assert_array_equal(there.mesh.colours, here.mesh.colours)


@pytest.mark.parametrize("name", ["toys.heatpose", "toys"])
def test_a_detector_comes_along(bundle, detector, tmp_path, name):
    write_bundle(tmp_path / name, replace(bundle, detector=detector))
    back = read_bundle(tmp_path / name)
    assert back.detector.network == detector.network
    assert back.detector.settings == detector.settings
    write_bundle(tmp_path / name, replace(back, detector=None))
    assert read_bundle(tmp_path / name).detector is None


def test_the_identity_is_that_of_both_networks(bundle, detector):
    other = replace(detector, network=b"other")
    variants = [
        bundle,
        replace(bundle, network=b"other"),
        replace(bundle, detector=detector),
        replace(bundle, detector=other),
    ]
    assert len({one.identity for one in variants}) == 4
    assert bundle.identity == f"toys {sha256(bundle.network)[:12]}"  # as it was before detectors


def test_bundles_of_format_1_are_read(bundle, tmp_path):
    write_bundle(tmp_path / "toys", bundle)

    def as_of_old(record):
        record["format"] = 1
        del record["detector"]

    rewrite_record(tmp_path / "toys", as_of_old)
    back = read_bundle(tmp_path / "toys")
    assert (back.identity, back.detector) == (bundle.identity, None)


def test_it_is_kept_whether_the_network_looks_at_depth(bundle, tmp_path):
    both = bundle.crop.model_copy(update={"inputs": ["crops", "depth"]})
    write_bundle(tmp_path / "toys.heatpose", replace(bundle, crop=both))
    assert read_bundle(tmp_path / "toys.heatpose").crop.inputs == ["crops", "depth"]


def test_bundles_from_before_networks_looked_at_depth_are_read(bundle, tmp_path):
    write_bundle(tmp_path / "toys", bundle)

    def as_of_format_3(record):
        record["format"] = 3
        del record["crop"]["inputs"]

    rewrite_record(tmp_path / "toys", as_of_format_3)
    assert read_bundle(tmp_path / "toys").crop == bundle.crop
    assert bundle.crop.inputs == ["crops"]


def test_bundles_from_before_detectors_looked_at_several_sizes_are_read(bundle, detector, tmp_path):
    write_bundle(tmp_path / "toys", replace(bundle, detector=detector))

    def as_of_format_4(record):
        record["format"] = 4
        (record["detector"]["image_size"],) = record["detector"].pop("image_sizes")

    rewrite_record(tmp_path / "toys", as_of_format_4)
    assert read_bundle(tmp_path / "toys").detector.settings == detector.settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["files"].pop("detector.onnx"), "files lacks detector.onnx"),
        (lambda r: r["detector"].update(threshold=1.5), "detector.threshold"),
        (lambda r: r["detector"].update(image_sizes=[100]), "detector.image_sizes.0"),
        (lambda r: r["detector"].update(object_ids=[]), "detector.object_ids"),
        (lambda r: r["detector"].update(object_ids=[2, 2]), r"must differ, got \[2, 2\]"),
    ],
)
def test_wrong_settings_of_a_detector_are_explained(bundle, detector, tmp_path, change, message):
    write_bundle(tmp_path / "toys", replace(bundle, detector=detector))
    rewrite_record(tmp_path / "toys", change)
    with pytest.raises(BundleError, match=message):
        read_bundle(tmp_path / "toys")


@pytest.mark.parametrize("name", ["toys", "toys.heatpose"])
def test_calibrations_come_back(bundle, tmp_path, name):
    once = Calibration((1.5, 0, -2, 0, 0, 1e-9), -0.25, (1.0, 2.0, 4.5))
    thrice = replace(once, constant=0.5, looks=3, passes=2)
    bare = replace(once, constant=-1.0, outline=False)
    deep = replace(once, weights=(*once.weights, 1.0, -2.0, 3.0, -4.0, 5.0), depth=True)
    stood = replace(once, weights=(*once.weights, 2.5), table=True)
    known = once, thrice, bare, deep, stood
    taught = bundle
    for number, calibration in enumerate(known):
        taught = taught.with_calibration(calibration, f"card {number}")
    assert (taught.card, taught.calibrations) == ("card 4", known)
    write_bundle(tmp_path / name, taught)
    assert read_bundle(tmp_path / name).calibrations == known
    better = replace(once, constant=0.75)
    assert taught.with_calibration(better, "").calibrations == (*known[1:], better)


@pytest.mark.parametrize("known", [True, False])
def test_bundles_from_before_there_were_several_calibrations_are_read(bundle, tmp_path, known):
    calibration = Calibration((1.5, 0, -2, 0, 0, 1e-9), -0.25, (1.0, 2.0, 4.5))
    write_bundle(tmp_path / "toys", bundle.with_calibration(calibration, bundle.card))

    def as_of_format_5(record):
        record["format"] = 5
        (one,) = record.pop("calibrations")
        del one["looks"], one["passes"]
        record["calibration"] = one if known else None

    rewrite_record(tmp_path / "toys", as_of_format_5)
    assert read_bundle(tmp_path / "toys").calibrations == ((calibration,) if known else ())


def test_a_calibration_of_too_few_numbers_is_explained(bundle, tmp_path):
    calibration = Calibration((1.5, 0, -2, 0, 0, 1e-9), -0.25, (1.0, 2.0, 4.5))
    write_bundle(tmp_path / "toys", bundle.with_calibration(calibration, bundle.card))
    rewrite_record(tmp_path / "toys", lambda r: r["calibrations"][0]["weights"].pop())
    with pytest.raises(BundleError, match=r"toys cannot be used: .* 6 weights .*, got 5"):
        read_bundle(tmp_path / "toys")


def test_a_bundle_leaves_nothing_beside_it(written):
    read_bundle(written)
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_the_same_bundle_gives_the_same_bytes(bundle, tmp_path):
    for name in ("a.heatpose", "b.heatpose"):
        write_bundle(tmp_path / name, bundle)
    assert (tmp_path / "a.heatpose").read_bytes() == (tmp_path / "b.heatpose").read_bytes()


def test_a_folder_zipped_by_hand_is_a_bundle(bundle, tmp_path):
    write_bundle(tmp_path / "toys", bundle)
    archive = shutil.make_archive(str(tmp_path / "by_hand"), "zip", tmp_path / "toys")
    assert read_bundle(archive).name == "toys"


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_no_byte_of_a_file_can_change_unseen(bundle, tmp_path, bit):
    path = tmp_path / "toys.heatpose"
    write_bundle(path, bundle)
    content = path.read_bytes()
    # All of what frames the files, and a good part of what is in them.
    places = itertools.chain(range(0, len(content), 7), range(len(content) - 800, len(content)))
    unseen = []
    for place in places:
        changed = bytearray(content)
        changed[place] ^= bit
        path.write_bytes(changed)
        try:
            read_bundle(path)
            unseen.append(place)
        except BundleError as error:
            assert "\n" not in str(error)
    assert not unseen


def test_no_byte_of_bundle_json_in_a_folder_can_change_unseen(bundle, tmp_path):
    write_bundle(tmp_path / "toys", bundle)
    path = tmp_path / "toys" / "bundle.json"
    content = path.read_bytes()
    for place in range(0, len(content), 11):
        changed = bytearray(content)
        changed[place] ^= 0x04
        path.write_bytes(changed)
        with pytest.raises(BundleError, match=r"bundle.json"):
            read_bundle(tmp_path / "toys")


@pytest.mark.parametrize("name", ["keypoints.onnx", "card.md", "models/obj_000008.ply"])
def test_a_changed_file_is_named(bundle, tmp_path, name):
    write_bundle(tmp_path / "toys", bundle)
    path = tmp_path / "toys" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} of .*toys was changed"):
        read_bundle(tmp_path / "toys")


def test_a_missing_file_is_named(bundle, tmp_path):
    write_bundle(tmp_path / "toys", bundle)
    (tmp_path / "toys" / "keypoints.onnx").unlink()
    with pytest.raises(BundleError, match=r"cannot read keypoints.onnx of .*toys: No such file"):
        read_bundle(tmp_path / "toys")


@pytest.mark.parametrize("length", [0, 1, 500, -1])
def test_a_cut_file_is_refused(bundle, tmp_path, length):
    path = tmp_path / "toys.heatpose"
    write_bundle(path, bundle)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BundleError, match=r"toys.heatpose"):
        read_bundle(path)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(BundleError, match=r"cannot read .*gone.heatpose: No such file"):
        read_bundle(tmp_path / "gone.heatpose")


def test_an_archive_of_other_things_is_no_bundle(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.heatpose", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(BundleError, match=r"other.heatpose lacks bundle.json"):
        read_bundle(tmp_path / "other.heatpose")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(format=11), "format 11, newer than the 10"),
        (lambda r: r["crop"].update(inputs=["crops", "touch"]), "crop.inputs.1"),
        (lambda r: r["crop"].update(inputs=[]), "crop.inputs"),
        (lambda r: r["crop"].update(size=100), "crop.size"),
        (lambda r: r.pop("name"), "name: Field required"),
        (lambda r: r.update(extra=1), "extra"),
        (lambda r: r["objects"][0].update(mesh="../../etc/passwd"), "must stay inside the bundle"),
        (lambda r: r["objects"][0].update(mesh="models/none.ply"), "files lacks models/none.ply"),
        (lambda r: r["files"].pop("keypoints.onnx"), "files lacks keypoints.onnx"),
        (lambda r: r["objects"][0].update(diameter_mm=-1), "diameter_mm"),
        (lambda r: r["objects"][0].update(id=2), r"object ids must differ, got \[2, 2\]"),
        (lambda r: r["objects"][0]["keypoints_mm"].pop(), r"equally many keypoints, got \[3, 4\]"),
    ],
)
def test_a_wrong_bundle_json_is_explained(bundle, tmp_path, change, message):
    write_bundle(tmp_path / "toys", bundle)
    rewrite_record(tmp_path / "toys", change)
    with pytest.raises(BundleError, match=message):
        read_bundle(tmp_path / "toys")


def test_writing_again_replaces_the_bundle(written, bundle):
    write_bundle(written, replace(bundle, name="others"))
    assert read_bundle(written).name == "others"
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_a_folder_that_is_no_bundle_is_left_alone(bundle, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="photos exists and is not a bundle"):
        write_bundle(tmp_path / "photos", bundle)
    assert (tmp_path / "photos" / "a.png").exists()


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_the_previous_folder_survives_a_failure(bundle, tmp_path, monkeypatch, step):
    write_bundle(tmp_path / "toys", bundle)
    rename = Path.rename

    def fail(*_):
        raise OSError(28, "No space left on device")

    def rename_all_but_the_new(own, to):
        return rename(own, to) if own.name == "toys" or own.suffix == ".old" else fail()

    if step == "fsync":
        monkeypatch.setattr("os.fsync", fail)
    else:
        monkeypatch.setattr(Path, "rename", rename_all_but_the_new)
    with pytest.raises(DataError, match=r"cannot write .*toys: No space left"):
        write_files(tmp_path / "toys", {"bundle.json": b"new"})
    assert read_bundle(tmp_path / "toys").name == "toys"
    assert [path.name for path in tmp_path.iterdir()] == ["toys"]


def test_textures_are_refused(bundle, tmp_path, brick_mesh):
    textured = replace(
        brick_mesh, uv=np.zeros((8, 2)), texture=np.zeros((4, 4, 3), np.uint8), colours=None
    )
    objects = (replace(bundle.objects[0], mesh=textured),)
    with pytest.raises(ValueError, match="cube has a texture"):
        write_bundle(tmp_path / "toys", replace(bundle, objects=objects))
