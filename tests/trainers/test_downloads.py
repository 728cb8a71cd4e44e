"""Against a real server on loopback that cuts connections, lies about lengths or knows no ranges."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from trainers import downloaded
from trainers.config import DatasetConfig
from trainers.data import load
from trainers.downloads import DownloadError, fetch, has_md5

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000).astype(np.uint8).tobytes()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    ranges = True
    cuts: list[int]
    """bytes after which each next connection breaks off"""
    content = CONTENT
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        if self.path != "/file":
            self.send_error(404)
            return
        content = self.server.content
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.wfile.write(content[first : first + cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    found = Server(("127.0.0.1", 0), Handler)
    found.cuts, found.asked = [], []
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def url(server, name="file"):
    return f"http://127.0.0.1:{server.server_port}/{name}"


def test_a_connection_cut_half_way_is_taken_up_again(server, tmp_path):
    server.cuts = [150_000, 100_000]
    fetch([url(server)], tmp_path / "file", md5=MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=150000-", "bytes=250000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_next_call_goes_on_where_a_dead_server_left_off(server, tmp_path):
    server.cuts = [120_000, 0, 0, 0]
    with pytest.raises(DownloadError, match="the connection closed early"):
        fetch([url(server)], tmp_path / "file", md5=MD5)
    assert not (tmp_path / "file").exists()
    fetch([url(server)], tmp_path / "file", md5=MD5)
    assert server.asked[-1] == "bytes=120000-"
    assert has_md5(tmp_path / "file", MD5)


def test_a_server_without_ranges_sends_everything_again(server, tmp_path):
    server.ranges, server.cuts = False, [100_000]
    fetch([url(server)], tmp_path / "file", md5=MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_spoilt_beginning_is_thrown_away_once(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    fetch([url(server)], tmp_path / "file", md5=MD5)
    (tmp_path / "file").rename(tmp_path / "other.part")
    (tmp_path / "other.part").write_bytes(CONTENT)  # whole already: the server has nothing left to send
    fetch([url(server)], tmp_path / "other", md5=MD5)
    assert (tmp_path / "other").read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None, "bytes=300000-"]


def test_another_content_is_refused(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(DownloadError, match="another MD5"):
        fetch([url(server)], tmp_path / "file", md5=MD5)
    assert list(tmp_path.iterdir()) == []


def test_mirrors_are_tried_in_turn_and_a_whole_file_asks_nobody(server, tmp_path):
    fetch([url(server, "absent"), url(server)], tmp_path / "file", md5=MD5)
    assert len(server.asked) == 2
    fetch([url(server)], tmp_path / "file", md5=MD5)
    assert len(server.asked) == 2
    with pytest.raises(DownloadError, match=r"absent: Not Found"):
        fetch([url(server, "absent")], tmp_path / "new", md5=MD5)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_no_network_is_one_sentence_that_names_every_file(tmp_path, monkeypatch, name):
    dataset = downloaded._dataset(name)
    nobody = "http://127.0.0.1:1/"
    if hasattr(dataset, "mirrors"):
        monkeypatch.setattr(dataset, "mirrors", [nobody])
        files = [f"{dataset.__name__}/raw/{file}" for file, _ in dataset.resources]
    else:
        monkeypatch.setattr(dataset, "url", nobody + dataset.filename)
        files = [dataset.filename]
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded .*refused") as caught:
        load(DatasetConfig(name=name), tmp_path, "cpu")
    assert all(f"{tmp_path / file} (from {nobody}" in str(caught.value) for file in files)
    assert "\n" not in str(caught.value)
