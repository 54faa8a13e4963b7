"""Data sets from a server: one here that cuts connections, does not resume, or lies."""

import hashlib
import http.server
import io
import json
import threading
import zipfile

import pytest

from heatpose.data.download import RemoteFile, download
from heatpose.data.fetch import fetch, remote_files, unpack
from heatpose.errors import DataError, OptionError

FILES = {
    "lm_base.zip": {"lm/camera.json": b'{"fx": 1}', "lm/dataset_info.md": b"# LM"},
    "lm_models.zip": {"models/obj_000001.ply": bytes(range(256)) * 4000},
    "lm_test_all.zip": {"test/000001/rgb/000000.png": b"picture" * 3000},
}


def zipped(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


class Server:
    """What is asked for and how it is answered; `behaviour` is changed by tests."""

    def __init__(self):
        self.archives = {name: zipped(files) for name, files in FILES.items()}
        self.requests = []  # (path, Range)
        self.resumes = True
        self.cut_after = None  # bytes of each answer after which the connection ends
        self.replaced = {}  # what is sent instead of an archive
        self.refusals = 0  # answers that are 503
        self.address = ""

    def listing(self):
        return [{"type": "directory", "path": "old", "size": 0}] + [
            {
                "type": "file",
                "path": name,
                "size": len(content),
                "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)},
            }
            for name, content in self.archives.items()
        ]

    def asked_for(self, name):
        return [asked for path, asked in self.requests if path.endswith(name)]


@pytest.fixture
def server():
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state.requests.append((self.path, self.headers.get("Range")))
            if self.path == "/api/datasets/bop-benchmark/lm/tree/main":
                self.answer(200, json.dumps(state.listing()).encode())
                return
            name = self.path.rsplit("/", 1)[1]
            if self.path != f"/datasets/bop-benchmark/lm/resolve/main/{name}":
                self.send_error(404)
            elif state.refusals:
                state.refusals -= 1
                self.send_error(503)
            else:
                self.send_archive(state.replaced.get(name, state.archives[name]))

        def send_archive(self, content):
            start = 0
            if self.headers.get("Range") and state.resumes:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.answer(206 if start else 200, content[start:], start, len(content))

        def answer(self, status, content, start=0, total=0):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.end_headers()
            self.wfile.write(content if status == 200 and not total else content[: state.cut_after])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.address = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield state
        running.shutdown()


def silent(_):
    return lambda have, total: None


def fetch_from(server, out, parts=(), **options):
    return fetch("lm", out, parts, silent, server.address, pause=0.001, **options)


def assert_whole(out):
    assert (out / "camera.json").read_bytes() == b'{"fx": 1}'
    for files in list(FILES.values())[1:]:
        for name, content in files.items():
            assert (out / name).read_bytes() == content
    assert not list(out.rglob("*.part"))


def test_archives_are_fetched_checked_and_unpacked(server, tmp_path):
    assert fetch_from(server, tmp_path / "lm") == list(FILES)
    assert_whole(tmp_path / "lm")
    assert not (tmp_path / "lm" / "archives").exists()


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    fetch_from(server, tmp_path / "lm", ["base"], keep=True)
    assert (tmp_path / "lm" / "archives" / "lm_base.zip").is_file()
    assert fetch_from(server, tmp_path / "lm") == ["lm_models.zip", "lm_test_all.zip"]
    assert len(server.asked_for("lm_base.zip")) == 1
    assert fetch_from(server, tmp_path / "lm") == []


def test_a_connection_that_is_cut_is_taken_up_where_it_was(server, tmp_path):
    server.cut_after = 5000
    fetch_from(server, tmp_path / "lm")
    assert_whole(tmp_path / "lm")
    ranges = server.asked_for("lm_test_all.zip")
    assert ranges[:3] == [None, "bytes=5000-", "bytes=10000-"]


def test_a_later_call_goes_on_with_what_an_earlier_one_fetched(server, tmp_path):
    archives = tmp_path / "lm" / "archives"
    archives.mkdir(parents=True)
    (archives / "lm_models.zip.part").write_bytes(server.archives["lm_models.zip"][:7777])
    fetch_from(server, tmp_path / "lm")
    assert_whole(tmp_path / "lm")
    assert server.asked_for("lm_models.zip") == ["bytes=7777-"]


def test_a_server_that_does_not_resume_is_asked_for_all_of_it(server, tmp_path):
    server.resumes = False
    archives = tmp_path / "lm" / "archives"
    archives.mkdir(parents=True)
    (archives / "lm_models.zip.part").write_bytes(b"something else")
    fetch_from(server, tmp_path / "lm")
    assert_whole(tmp_path / "lm")
    assert server.asked_for("lm_models.zip") == ["bytes=14-"]  # and what came was taken


def test_what_was_begun_from_another_file_is_thrown_away(server, tmp_path):
    archives = tmp_path / "lm" / "archives"
    archives.mkdir(parents=True)
    (archives / "lm_models.zip.part").write_bytes(b"x" * 7777)
    fetch_from(server, tmp_path / "lm")
    assert_whole(tmp_path / "lm")
    assert server.asked_for("lm_models.zip") == ["bytes=7777-", None]


@pytest.mark.parametrize("longer", [0, 3, -3], ids=["same length", "longer", "shorter"])
def test_a_wrong_file_is_never_taken(server, tmp_path, longer):
    right = server.archives["lm_models.zip"]
    server.replaced["lm_models.zip"] = b"y" * (len(right) + longer)
    with pytest.raises(DataError, match=r"lm_models.zip"):
        fetch_from(server, tmp_path / "lm")
    assert not (tmp_path / "lm" / "archives" / "lm_models.zip").exists()
    assert not (tmp_path / "lm" / "models").exists()
    server.replaced.clear()
    fetch_from(server, tmp_path / "lm")
    assert_whole(tmp_path / "lm")


def test_a_server_that_is_busy_is_asked_again(server, tmp_path):
    server.refusals = 3
    fetch_from(server, tmp_path / "lm")
    assert_whole(tmp_path / "lm")


def test_a_server_that_stays_busy_is_named_with_how_far_it_is(server, tmp_path):
    server.refusals = 99
    with pytest.raises(DataError, match=r"503 .*; 0 of \d+ bytes are here, and the same command"):
        fetch_from(server, tmp_path / "lm")


def test_what_is_not_there_is_named(server, tmp_path):
    with pytest.raises(OptionError, match="lmx is not one of lm, lmo"):
        fetch("lmx", tmp_path, (), silent, server.address)
    with pytest.raises(OptionError, match="lm has no part test_bop19; it has base, models"):
        fetch_from(server, tmp_path, ["test_bop19"])
    with pytest.raises(OptionError, match=r"has no lm_train_pbr.zip of lm; it has lm_base.zip"):
        fetch_from(server, tmp_path, ["train_pbr"])
    with pytest.raises(DataError, match="404"):
        fetch("lmo", tmp_path, (), silent, server.address)
    with pytest.raises(DataError, match=r"127.0.0.1:9/api"):
        remote_files("lm", "http://127.0.0.1:9")


def test_progress_goes_from_what_is_there_to_all_of_it(server, tmp_path):
    remote = remote_files("lm", server.address)["lm_models.zip"]
    seen = []
    download(remote, tmp_path / "a.zip", lambda *numbers: seen.append(numbers))
    assert seen[-1] == (remote.size, remote.size)
    assert seen == sorted(seen)


def test_a_file_without_a_checksum_is_taken_by_its_length(server, tmp_path):
    known = remote_files("lm", server.address)["lm_base.zip"]
    download(RemoteFile(known.url, known.size, None), tmp_path / "a.zip", silent(""))
    assert (tmp_path / "a.zip").read_bytes() == server.archives["lm_base.zip"]


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "lm/../../evil.txt"])
def test_archives_cannot_write_outside_of_their_folder(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(zipped({name: b"x"}))
    with pytest.raises(DataError, match="outside of its folder"):
        unpack(tmp_path / "a.zip", tmp_path / "out" / "lm", "lm")
    assert not list(tmp_path.rglob("evil.txt"))


def test_damaged_archives_are_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"a.zip is damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out", "lm")
