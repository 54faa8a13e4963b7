import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from heatpose.errors import DataError
from heatpose.files import write_whole


@pytest.fixture
def target(tmp_path):
    """A file that exists already, alone in its folder."""
    path = tmp_path / "poses.json"
    path.write_text("previous")
    return path


def assert_untouched(path):
    assert path.read_text() == "previous"
    assert list(path.parent.iterdir()) == [path]


def test_what_was_written_is_there_and_nothing_else(target):
    with write_whole(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "previous"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_path_may_be_a_string_and_the_file_new(tmp_path):
    with write_whole(str(tmp_path / "new.png")) as temporary:
        temporary.write_bytes(b"content")
    assert (tmp_path / "new.png").read_bytes() == b"content"


def test_the_temporary_file_lies_beside_and_ends_alike(target):
    with write_whole(target) as temporary:
        temporary.write_text("new")
        assert (temporary.parent, temporary.suffix) == (target.parent, ".json")


def test_a_new_file_has_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        with write_whole(tmp_path / "new.txt") as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_while_writing_leaves_the_previous_file(target, error):
    with pytest.raises(error), write_whole(target) as temporary:
        temporary.write_text("ne")
        raise error
    assert_untouched(target)


def test_a_disk_that_fills_up_is_named_with_the_file(target):
    with (
        pytest.raises(DataError, match=r"cannot write .*poses\.json: No space left on device"),
        write_whole(target) as temporary,
    ):
        temporary.write_text("ne")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert_untouched(target)


def test_a_disk_that_fills_up_at_the_last_moment_leaves_the_previous_file(target, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"), write_whole(target) as temporary:
        temporary.write_text("new")
    assert_untouched(target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_truly_full_device_is_one_of_these_errors(target):
    with pytest.raises(DataError, match="No space left"), write_whole(target) as temporary:
        temporary.unlink()
        temporary.symlink_to("/dev/full")
        temporary.write_text("new")
    assert_untouched(target)


def test_a_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(DataError, match=r"cannot write .*absent/poses\.csv: No such file"),
        write_whole(tmp_path / "absent" / "poses.csv"),
    ):
        pytest.fail("there is nowhere to write to")


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="Is a directory"), write_whole(tmp_path / "out") as new:
        new.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_error_about_another_file_keeps_its_own_words(target):
    with pytest.raises(FileNotFoundError, match=r"source\.png"), write_whole(target):
        (target.parent / "source.png").read_bytes()
    assert_untouched(target)


def test_a_process_killed_while_it_writes_leaves_the_previous_file(target):
    script = """
        import os, signal, sys
        from heatpose.files import write_whole
        with write_whole(sys.argv[1]) as temporary:
            with temporary.open("w") as file:
                file.write("half of the new ")
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(target)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert target.read_text() == "previous"
