"""Downloads from a server on this machine that behaves, and misbehaves, like real ones."""

import csv
import hashlib
import io
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from fsat.clips import layouts
from fsat.core.errors import FsatError
from fsat.sources import download
from shared_data import SHARED, needs

ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    """What the server has, how it misbehaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    break_after: int | None = None  # bytes of a body, then the connection closes
    breaks: int = 0  # how often
    answers: list[int] = field(default_factory=list)  # statuses of the next requests, instead of a file
    redirect: str | None = None
    wrong_range: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def asked_ranges(self) -> list[str | None]:
        return [requested for _, requested in self.requests]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, requested = self.path, self.headers.get("Range")
            state.requests.append((path, requested))
            if state.redirect:
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.end_headers()
                return
            if state.answers:
                self.send_error(state.answers.pop(0))
                return
            body = state.files.get(path)
            if body is None:
                self.send_error(404)
                return
            start = 0
            if requested and state.ranges:
                start = int(requested.removeprefix("bytes=").removesuffix("-"))
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.end_headers()
                    return
                self.send_response(206)
                said = start + 1 if state.wrong_range else start
                self.send_header("Content-Range", f"bytes {said}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if state.breaks and state.break_after is not None and len(body) - start > state.break_after:
                state.breaks -= 1
                self.wfile.write(body[start : start + state.break_after])
                return
            self.wfile.write(body[start:])

        def log_message(self, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def make_zip(members: dict[str, bytes], edit: Callable[[zipfile.ZipInfo], None] | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of names that occur twice
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if edit:
                edit(info)
            archive.writestr(info, data)
    return stream.getvalue()


DATA = np.random.default_rng(0).bytes(256_000)


# --- fetch -----------------------------------------------------------------------------------------------------------


def fetch(server: Server, path: Path, *, expected: str | None = None) -> Path:
    return download.fetch(f"{server.url}/file", path, md5=expected or md5(DATA), attempts=3, wait_s=0)


def test_downloads_once_and_then_keeps_what_is_there(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = DATA
    assert fetch(server, tmp_path / "file").read_bytes() == DATA
    assert fetch(server, tmp_path / "file").read_bytes() == DATA
    assert server.asked_ranges() == [None]
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


def test_continues_a_partial_file(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = DATA
    (tmp_path / "file.part").write_bytes(DATA[:1000])
    assert fetch(server, tmp_path / "file").read_bytes() == DATA
    assert server.asked_ranges() == ["bytes=1000-"]


def test_continues_after_each_broken_connection(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = DATA
    server.break_after, server.breaks = 60_000, 4  # more breaks than attempts, but each brings something
    assert fetch(server, tmp_path / "file").read_bytes() == DATA
    assert server.asked_ranges() == [None, *(f"bytes={n}-" for n in (60_000, 120_000, 180_000, 240_000))]


def test_begins_anew_on_a_server_without_ranges(server: Server, tmp_path: Path) -> None:
    server.files["/file"], server.ranges = DATA, False
    server.break_after, server.breaks = 60_000, 2
    assert fetch(server, tmp_path / "file").read_bytes() == DATA
    assert len(server.requests) == 3


def test_a_connection_that_keeps_breaking_ends_with_what_was_received(server: Server, tmp_path: Path) -> None:
    server.files["/file"], server.ranges = DATA, False
    server.break_after, server.breaks = 60_000, 100
    with pytest.raises(FsatError, match=r"3 attempts in a row\. 60,000 bytes are kept .* run again"):
        fetch(server, tmp_path / "file")
    assert len(server.requests) == 3
    assert (tmp_path / "file.part").stat().st_size == 60_000
    assert not (tmp_path / "file").exists()


def test_a_partial_file_that_is_already_whole(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = DATA
    (tmp_path / "file.part").write_bytes(DATA)
    assert fetch(server, tmp_path / "file").read_bytes() == DATA


def test_a_partial_file_longer_than_the_server_s_is_dropped(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = DATA
    (tmp_path / "file.part").write_bytes(DATA + b"more")
    assert fetch(server, tmp_path / "file").read_bytes() == DATA
    assert server.asked_ranges() == ["bytes=256004-", None]


def test_a_server_that_sends_another_range_is_not_believed(server: Server, tmp_path: Path) -> None:
    server.files["/file"], server.wrong_range = DATA, True
    (tmp_path / "file.part").write_bytes(DATA[:1000])
    assert fetch(server, tmp_path / "file").read_bytes() == DATA
    assert server.asked_ranges() == ["bytes=1000-", None]


def test_wrong_checksum_names_both_and_a_corrected_one_needs_no_second_download(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = DATA
    with pytest.raises(FsatError, match=f"file: its md5 is {md5(DATA)}, expected was {'0' * 32}.*Nothing was unpacked"):
        fetch(server, tmp_path / "file", expected="0" * 32)
    assert fetch(server, tmp_path / "file").read_bytes() == DATA
    assert len(server.requests) == 1


def test_a_damaged_file_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = DATA
    (tmp_path / "file").write_bytes(DATA[:-1] + b"x")
    assert fetch(server, tmp_path / "file").read_bytes() == DATA
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "n_requests"), [(404, 1), (403, 1), (503, 3)])
def test_an_error_of_the_server(server: Server, tmp_path: Path, status: int, n_requests: int) -> None:
    server.answers = [status] * 10
    with pytest.raises(FsatError, match=f"{server.url}/file: .*{status}"):
        fetch(server, tmp_path / "file")
    assert len(server.requests) == n_requests


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.files["/file"], server.answers = DATA, [503, 429]
    assert fetch(server, tmp_path / "file").read_bytes() == DATA


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(FsatError, match=r"cannot connect: .*refused.* 2 attempts"):
        download.fetch("http://127.0.0.1:9/file", tmp_path / "file", md5="0" * 32, attempts=2, wait_s=0)


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "file:///etc/passwd", "ftp://localhost/x", "http://127.0.0.1.org/x"]
)
def test_only_https_leaves_this_machine(tmp_path: Path, url: str) -> None:
    with pytest.raises(FsatError, match="only https://"):
        download.fetch(url, tmp_path / "file", md5="0" * 32)


@pytest.mark.parametrize("target", ["http://example.org/x", "ftp://example.org/x"])
def test_a_redirection_cannot_lead_where_an_address_cannot(server: Server, tmp_path: Path, target: str) -> None:
    server.redirect = target
    with pytest.raises(FsatError, match=re.escape(f"{target}: only https://")):
        fetch(server, tmp_path / "file")


def test_no_room_for_what_is_to_come(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/file"] = DATA
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(free=1000))
    with pytest.raises(FsatError, match="256,000 bytes are to come, but 1,000 are free"):
        fetch(server, tmp_path / "file")


@dataclass
class _Usage:
    free: int


# --- unpack ----------------------------------------------------------------------------------------------------------


def unpack(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "a.zip").write_bytes(data)
    (tmp_path / "out").mkdir()
    download.unpack(tmp_path / "a.zip", tmp_path / "out", top="top")
    return tmp_path / "out"


def test_unpacks_files_and_folders(tmp_path: Path) -> None:
    out = unpack(tmp_path, make_zip({"top/": b"", "top/a.wav": DATA, "top/b/c.csv": b"x,y\n", "__MACOSX/._a": b"junk"}))
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {
        "top/a.wav",
        "top/b/c.csv",
    }
    assert (out / "top/a.wav").read_bytes() == DATA


@pytest.mark.parametrize(
    "name",
    ["../evil", "top/../../evil", "/evil", "top/..\\..\\evil", "C:/evil", "other/evil", "evil", "..", "top2/evil"],
)
def test_a_name_that_leads_elsewhere_writes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(FsatError, match=r"a name .*Nothing was unpacked"):
        unpack(tmp_path, make_zip({"top/good": b"x", name: b"evil"}))
    assert not list((tmp_path / "out").iterdir())
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    def edit(info: zipfile.ZipInfo) -> None:
        info.external_attr = (kind | 0o777) << 16

    with pytest.raises(FsatError, match="a link or device"):
        unpack(tmp_path, make_zip({"top/a": b"/etc/passwd"}, edit))


def test_a_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FsatError, match="occurs twice"):
        unpack(tmp_path, make_zip({"top/a": b"1", "top/A": b"2"}))


def test_a_file_where_a_folder_is_needed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FsatError, match="same name"):
        unpack(tmp_path, make_zip({"top/a": b"1", "top/a/b": b"2"}))


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    with pytest.raises(FsatError, match="promise to unpack to 10,000,000"):
        unpack(tmp_path, make_zip({"top/zeros": bytes(10_000_000)}))
    assert not list((tmp_path / "out").iterdir())


def test_a_member_writes_no_more_than_the_directory_says(tmp_path: Path) -> None:
    data = make_zip({"top/zeros": os.urandom(50_000)})
    # The size in the central directory, which follows the local header.
    lying = data[::-1].replace((50_000).to_bytes(4, "little")[::-1], (1000).to_bytes(4, "little")[::-1], 1)[::-1]
    with pytest.raises(FsatError, match="is no zip that can be unpacked"):
        unpack(tmp_path, lying)
    assert all(path.stat().st_size <= 1000 for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_zip(tmp_path: Path, share: float) -> None:
    data = make_zip({"top/a": os.urandom(5000), "top/b": os.urandom(5000)})
    with pytest.raises(FsatError, match=r"a\.zip: is no zip that can be unpacked"):
        unpack(tmp_path, data[: int(len(data) * share)])


def test_a_damaged_member(tmp_path: Path) -> None:
    data = bytearray(make_zip({"top/a": os.urandom(5000)}))
    data[2000] ^= 0xFF
    with pytest.raises(FsatError, match="is no zip that can be unpacked"):
        unpack(tmp_path, bytes(data))


def test_an_empty_zip(tmp_path: Path) -> None:
    with pytest.raises(FsatError, match="empty zip"):
        unpack(tmp_path, make_zip({}))


# --- the whole dataset -----------------------------------------------------------------------------------------------

TRAIN_COLUMNS = ["fname", "label", "manually_verified", "freesound_id", "license"]
TEST_COLUMNS = ["fname", "label", "usage", "freesound_id", "license"]


def table(columns: list[str], rows: list[list[str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([columns, *rows])
    return stream.getvalue().encode()


def dataset_zips(train: dict[str, bytes], test: dict[str, bytes], meta: dict[str, bytes]) -> dict[str, bytes]:
    name = "FSDKaggle2018"
    return {
        "audio_train": make_zip({f"{name}.audio_train/{fname}": data for fname, data in train.items()}),
        "audio_test": make_zip({f"{name}.audio_test/{fname}": data for fname, data in test.items()}),
        "meta": make_zip({f"{name}.meta/{fname}": data for fname, data in meta.items()}),
        "doc": make_zip({f"{name}.doc/README.md": b"About the dataset\n"}),
    }


def synthetic_zips() -> dict[str, bytes]:
    train = {f"{n:08x}.wav": os.urandom(3000) for n in range(3)}
    meta = {
        "train_post_competition.csv": table(TRAIN_COLUMNS, [[f, "Bark", "1", "1", "CC0"] for f in train]),
        "test_post_competition_scoring_clips.csv": table(TEST_COLUMNS, [["ff.wav", "Bark", "Public", "2", "CC0"]]),
    }
    return dataset_zips(train, {"ff.wav": os.urandom(3000)}, meta)


def serve(server: Server, zips: dict[str, bytes]) -> dict[str, str]:
    """Serve the zips as Zenodo does; returns their checksums."""
    for part, data in zips.items():
        server.files[f"/records/1/files/FSDKaggle2018.{part}.zip?download=1"] = data
    return {part: md5(data) for part, data in zips.items()}


def fetch_dataset(server: Server, tmp_path: Path, sums: dict[str, str]) -> Path:
    out = tmp_path / "data/fsdkaggle2018"
    download.fetch_dataset(
        download.FSDKAGGLE2018,
        out,
        base_url=f"{server.url}/records/1/files",
        md5=sums,
        kept=tmp_path / "state/download",
        wait_s=0,
    )
    return out


def test_the_record_is_the_published_one() -> None:
    source = download.FSDKAGGLE2018
    assert {source.archive(part) for part in source.parts} == {
        "FSDKaggle2018.audio_train", "FSDKaggle2018.audio_test", "FSDKaggle2018.meta", "FSDKaggle2018.doc",
    }  # fmt: skip
    assert source.doi == "10.5281/zenodo.2552860" and source.page.endswith("/2552860")


@needs("fsdkaggle2018_slice")
def test_real_clips_arrive_as_index_expects_them_over_a_broken_connection(server: Server, tmp_path: Path) -> None:
    slice_ = SHARED / "fsdkaggle2018_slice"

    def pick(split: str, name: str, columns: list[str]) -> tuple[dict[str, bytes], bytes]:
        with (slice_ / "FSDKaggle2018.meta" / name).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        rows = sorted(rows, key=lambda row: (slice_ / f"FSDKaggle2018.audio_{split}" / row["fname"]).stat().st_size)[:4]
        clips = {row["fname"]: (slice_ / f"FSDKaggle2018.audio_{split}" / row["fname"]).read_bytes() for row in rows}
        return clips, table(columns, [[row[column] for column in columns] for row in rows])

    train, train_table = pick("train", "train_post_competition.csv", TRAIN_COLUMNS)
    test, test_table = pick("test", "test_post_competition_scoring_clips.csv", TEST_COLUMNS)
    meta = {"train_post_competition.csv": train_table, "test_post_competition_scoring_clips.csv": test_table}
    sums = serve(server, dataset_zips(train, test, meta))
    server.break_after, server.breaks = 100_000, 2

    out = fetch_dataset(server, tmp_path, sums)

    assert server.breaks == 0 and any(server.asked_ranges()), "no connection broke: this tested nothing"
    listing = layouts.read(out)
    assert not listing.problems
    clips = {split: set(rows["fname"]) for split, rows in listing.table.groupby("split")}
    assert clips == {"train": set(train), "test": set(test)}
    for path, fname in zip(listing.table["path"], listing.table["fname"], strict=True):
        assert (out / path).read_bytes() == (train | test)[fname]
    assert (out / "FSDKaggle2018.doc/README.md").is_file()


def test_a_second_run_downloads_nothing(server: Server, tmp_path: Path) -> None:
    sums = serve(server, synthetic_zips())
    out = fetch_dataset(server, tmp_path, sums)
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert len(before) == 7 and len(server.requests) == 4
    assert {path for path, _ in server.requests} == set(server.files)
    fetch_dataset(server, tmp_path, sums)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert len(server.requests) == 4


def test_a_wrong_checksum_leaves_the_earlier_dataset_alone(server: Server, tmp_path: Path) -> None:
    sums = serve(server, synthetic_zips())
    out = tmp_path / "data/fsdkaggle2018"
    out.mkdir(parents=True)
    (out / "earlier").touch()
    with pytest.raises(FsatError, match=r"doc\.zip: its md5 is .* expected was 0+\..*sources\.fsdkaggle2018\.md5\.doc"):
        fetch_dataset(server, tmp_path, sums | {"doc": "0" * 32})
    assert [path.name for path in (tmp_path / "data").rglob("*")] == ["fsdkaggle2018", "earlier"]


def test_a_hostile_archive_leaves_the_earlier_dataset_alone(server: Server, tmp_path: Path) -> None:
    zips = synthetic_zips() | {"doc": make_zip({"FSDKaggle2018.doc/../../../evil": b"x"})}
    sums = serve(server, zips)
    out = tmp_path / "data/fsdkaggle2018"
    out.mkdir(parents=True)
    (out / "earlier").touch()
    with pytest.raises(FsatError, match="leads out of the folder"):
        fetch_dataset(server, tmp_path, sums)
    assert [path.name for path in (tmp_path / "data").rglob("*")] == ["fsdkaggle2018", "earlier"]
    assert not list(tmp_path.rglob("evil"))


def test_two_at_a_time_are_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "state/download").mkdir(parents=True)
    with (
        FileLock(tmp_path / "state/download/FSDKaggle2018.lock"),
        pytest.raises(FsatError, match="another process is downloading"),
    ):
        fetch_dataset(server, tmp_path, serve(server, synthetic_zips()))
    assert not server.requests


def run_stage(server: Server, sums: dict[str, str], folder: Path, *, file_limit: int | None = None) -> str:
    """Run the stage script in a folder with its own params.yaml; returns what it says on stderr, "" if it succeeds."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text, n = re.subn(r"(base_url: )\S+", rf"\g<1>{server.url}/records/1/files", text)
    for part, value in sums.items():
        text, m = re.subn(rf'({part}: )"?[0-9a-f]{{32}}"?', rf'\g<1>"{value}"', text)
        n += m
    assert n == 5
    (folder / "params.yaml").write_text(text, encoding="utf-8")

    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    done = subprocess.run(
        [sys.executable, "-m", "stages.fsdkaggle2018"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=limit, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert (done.returncode == 0) == (folder / "data/fsdkaggle2018").is_dir()
    return done.stderr if done.returncode else ""


def test_the_stage_script_with_a_disk_that_is_full_while_unpacking(server: Server, tmp_path: Path) -> None:
    zips = synthetic_zips()
    # A member larger than its zip: the download fits under the limit, the unpacked file does not.
    zips["doc"] = make_zip({"FSDKaggle2018.doc/README.md": os.urandom(500) * 40})
    sums = serve(server, zips)
    message = run_stage(server, sums, tmp_path, file_limit=16_000)
    assert "no space left to write" in message and "fsdkaggle2018" in message
    assert not list((tmp_path / "data").iterdir())
    assert run_stage(server, sums, tmp_path) == ""
    assert len(server.requests) == 4, "the second run had to download nothing"
    assert (tmp_path / "data/fsdkaggle2018/FSDKaggle2018.doc/README.md").stat().st_size == 20_000


def test_the_stage_script_with_a_disk_that_is_full_while_downloading(server: Server, tmp_path: Path) -> None:
    sums = serve(server, synthetic_zips())
    message = run_stage(server, sums, tmp_path, file_limit=6000)
    assert "no space left to write" in message
    assert not (tmp_path / "data").exists()
    assert (tmp_path / "state/download/FSDKaggle2018.audio_train.zip.part").stat().st_size == 6000
    assert run_stage(server, sums, tmp_path) == ""
    assert server.asked_ranges()[-1] == "bytes=6000-"
