"""Downloads from a server on this machine that behaves, and misbehaves, like real ones."""

import hashlib
import io
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock
from loopback import Server, server

from fsat.clips import layouts
from fsat.core.errors import FsatError
from fsat.sources import download, fsdkaggle2018
from fsat.sources.download import RemoteFile

__all__ = ["server"]

ROOT = Path(__file__).parents[2]


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def make_zip(members: dict[str, bytes], *, mode: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


DATA = np.random.default_rng(0).bytes(256_000)


# --- fetch -----------------------------------------------------------------------------------------------------------


def fetch(server: Server, kept: Path, *, expected: str | None = None) -> Path:
    remote = RemoteFile(f"{server.url}/file", md5=expected or md5(DATA), n_bytes=256_000, listed_in="table.py, file")
    return download.fetch(remote, kept, attempts=3, wait_s=0)


def test_downloads_once_and_then_keeps_what_is_there(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = DATA
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert server.asked_ranges() == [None]
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


def test_no_link_under_the_name_of_a_partial_download_is_followed(server: Server, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    server.files["/file"] = DATA
    (tmp_path / "file.part").symlink_to(precious)
    path = fetch(server, tmp_path)
    assert path.read_bytes() == DATA and not path.is_symlink()
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    ("ranges", "breaks", "starts"), [(True, 4, [60_000, 120_000, 180_000, 240_000]), (False, 2, [])]
)
def test_continues_after_each_broken_connection_or_begins_anew_on_a_server_without_ranges(
    server: Server, tmp_path: Path, ranges: bool, breaks: int, starts: list[int]
) -> None:
    server.files["/file"], server.ranges = DATA, ranges
    server.break_after, server.breaks = 60_000, breaks  # may be more than attempts, if each brings something
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert len(server.requests) == breaks + 1
    assert not ranges or server.asked_ranges() == [None, *(f"bytes={n}-" for n in starts)]


def test_a_connection_that_keeps_breaking_ends_with_what_was_received(server: Server, tmp_path: Path) -> None:
    server.files["/file"], server.ranges = DATA, False
    server.break_after, server.breaks = 60_000, 100
    with pytest.raises(FsatError, match=r"3 attempts in a row\. 60,000 bytes are kept .* run again"):
        fetch(server, tmp_path)
    assert len(server.requests) == 3
    assert (tmp_path / "file.part").stat().st_size == 60_000
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("name", "n_bytes", "asked"),
    [
        ("file.part", 1000, ["bytes=1000-"]),
        ("file.part", 256_000, ["bytes=256000-"]),
        ("file.part", 256_004, ["bytes=256004-", None]),
        ("file", 255_999, [None]),
    ],
)
def test_what_an_earlier_download_left_is_continued_or_dropped(
    server: Server, tmp_path: Path, name: str, n_bytes: int, asked: list[str | None]
) -> None:
    server.files["/file"] = DATA
    (tmp_path / name).write_bytes((DATA + b"more")[:n_bytes])
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert server.asked_ranges() == asked


def test_a_server_that_sends_another_range_is_not_believed(server: Server, tmp_path: Path) -> None:
    server.files["/file"], server.wrong_range = DATA, True
    (tmp_path / "file.part").write_bytes(DATA[:1000])
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert server.asked_ranges() == ["bytes=1000-", None]


def test_wrong_checksum_names_both_and_a_corrected_one_needs_no_second_download(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = DATA
    with pytest.raises(FsatError) as caught:
        fetch(server, tmp_path, expected="0" * 32)
    assert f"file: its md5 is {md5(DATA)}, expected was {'0' * 32} (256,000 bytes of 256,000)" in str(caught.value)
    assert "Nothing was unpacked" in str(caught.value) and "stands in table.py, file." in str(caught.value)
    assert fetch(server, tmp_path).read_bytes() == DATA
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "n_requests"), [(404, 1), (403, 1), (503, 3)])
def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path, status: int, n_requests: int) -> None:
    server.answers = [status] * 3
    with pytest.raises(FsatError, match=f"{server.url}/file: .*{status}"):
        fetch(server, tmp_path)
    assert len(server.requests) == n_requests
    server.files["/file"], server.answers = DATA, [503, 429]
    assert fetch(server, tmp_path).read_bytes() == DATA


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(FsatError, match=r"cannot connect: .*refused.* 2 attempts.*put the whole file"):
        download.fetch(RemoteFile("http://127.0.0.1:9/file", "table.py"), tmp_path, attempts=2, wait_s=0)


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "file:///etc/passwd", "ftp://localhost/x", "http://127.0.0.1.org/x"]
)
def test_only_https_leaves_this_machine(tmp_path: Path, url: str) -> None:
    with pytest.raises(FsatError, match="only https://"):
        download.fetch(RemoteFile(url, "table.py"), tmp_path)


def test_a_redirection_cannot_lead_where_an_address_cannot(server: Server, tmp_path: Path) -> None:
    server.redirect = target = "http://example.org/x"
    with pytest.raises(FsatError, match=re.escape(f"{target}: only https://")):
        fetch(server, tmp_path)


def test_a_server_that_announces_no_size_sends_no_more_than_expected(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.announces, server.files["/file"] = False, DATA
    assert fetch(server, tmp_path).read_bytes() == DATA
    server.files["/file"] = DATA + b"!"
    monkeypatch.setattr(download, "_LARGEST_BYTES", 200_000)
    for n_bytes, largest in ((256_000, "256,000"), (None, "200,000")):
        remote = RemoteFile(f"{server.url}/file", md5="0" * 32, n_bytes=n_bytes, listed_in="table.py, file")
        with pytest.raises(FsatError, match=rf"sends more than {largest} bytes. .* say so in table\.py, file"):
            download.fetch(remote, tmp_path / largest, wait_s=0)
        assert list((tmp_path / largest).iterdir()) == []


def test_a_download_ends_after_its_time(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/file"] = DATA
    monkeypatch.setattr(download, "_LONGEST_S", -1.0 - 256_000 / 50_000)
    with pytest.raises(FsatError, match=r"not complete after .* hours\. [\d,]+ bytes are kept in .*file\.part"):
        fetch(server, tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    assert fetch(server, tmp_path).read_bytes() == DATA and server.asked_ranges()[1] is not None


def test_no_room_for_what_is_to_come(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/file"] = DATA
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(FsatError, match="256,000 bytes are to come, but 1,000 are free"):
        fetch(server, tmp_path)
    with pytest.raises(FsatError, match="10,000,000 bytes are to come, but 1,000 are free"):
        unpack(tmp_path, make_zip({"top/zeros": bytes(10_000_000)}))


# --- unpack ----------------------------------------------------------------------------------------------------------


def unpack(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "a.zip").write_bytes(data)
    (tmp_path / "out").mkdir()
    download.unpack(tmp_path / "a.zip", tmp_path / "out", top="top")
    return tmp_path / "out"


def test_unpacks_files_and_folders(tmp_path: Path) -> None:
    out = unpack(tmp_path, make_zip({"top/": b"", "top/a.wav": DATA, "top/b/c.csv": b"x,y\n", "__MACOSX/._a": b"junk"}))
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == {"top/a.wav", "top/b/c.csv"}
    assert (out / "top/a.wav").read_bytes() == DATA


@pytest.mark.parametrize(
    "name", ["../evil", "top/../../evil", "/evil", "top/..\\..\\evil", "top/C:evil", "other/evil", "evil", ".."]
)
def test_a_name_that_leads_elsewhere_writes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(FsatError, match=r"a name .*Nothing was unpacked"):
        unpack(tmp_path, make_zip({"top/good": b"x", name: b"evil"}))
    assert not list((tmp_path / "out").iterdir())
    assert not list(tmp_path.rglob("*evil*"))


TWO = make_zip({"top/a": DATA[:5000], "top/b": DATA[:5000]})
METHOD = b"PK\x01\x02\x14\x03\x14\0\0\0\x08\0"  # of a member, in the directory
REFUSED = {
    "link": (make_zip({"top/a": b"/etc"}, mode=stat.S_IFLNK), "a link or device"),
    "file as folder": (make_zip({"top/a": b"1", "top/a/b": b"2"}), "same name"),
    "nothing": (b"", r"a\.zip: is no zip that can be unpacked"),
    "truncated": (TWO[:9900], r"a\.zip: is no zip that can be unpacked"),
    "damaged": (TWO.replace(DATA[2000:2010], bytes(10)), "is no zip that can be unpacked"),
    "empty": (make_zip({}), "empty zip"),
    "no method": (TWO.replace(METHOD, METHOD[:-2] + b"\x63\0"), "is no zip that can be unpacked"),
    "other local header": (TWO.replace(b"PK\x03\x04", b"PK\x03\x05", 1), "is no zip that can be unpacked"),
    "deflate": (TWO[:40] + bytes(20) + TWO[60:], "is no zip that can be unpacked"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_a_hostile_or_damaged_zip_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(FsatError, match=message):
        unpack(tmp_path, data)


# --- the whole dataset -----------------------------------------------------------------------------------------------


def dataset_zips() -> dict[str, bytes]:
    """A training clip, a test clip, their tables and a page about them, as published."""
    members = {
        "audio_train": {"00.wav": DATA[:9000]},
        "audio_test": {"ff.wav": DATA[9000:9100]},
        "meta": {
            "train_post_competition.csv": b"fname,label,manually_verified\n00.wav,Bark,1\n",
            "test_post_competition_scoring_clips.csv": b"fname,label,usage\nff.wav,Bark,Public\n",
        },
        "doc": {"README.md": b"About the dataset\n"},
    }
    return {
        f"FSDKaggle2018.{part}": make_zip({f"FSDKaggle2018.{part}/{name}": data for name, data in inside.items()})
        for part, inside in members.items()
    }


def serve(server: Server, zips: dict[str, bytes]) -> dict[str, RemoteFile]:
    """Serve the zips as Zenodo does; returns the table of them."""
    server.files |= {f"/files/{name}.zip?download=1": data for name, data in zips.items()}
    return {
        name: replace(remote, url=f"{server.url}/files/{name}.zip?download=1", md5=md5(zips[name]))
        for name, remote in fsdkaggle2018.ZIPS.items()
    }


def fetch_dataset(table: dict[str, RemoteFile], tmp_path: Path) -> Path:
    out = tmp_path / "data/fsdkaggle2018"
    download.fetch_dataset(table, out, kept=tmp_path / "state/download", wait_s=0)
    return out


def test_clips_arrive_as_index_expects_them_and_are_downloaded_once(server: Server, tmp_path: Path) -> None:
    table = serve(server, dataset_zips())
    server.break_after, server.breaks = 5000, 1
    out = fetch_dataset(table, tmp_path)
    assert server.breaks == 0 and any(server.asked_ranges()), "no connection broke: this tested nothing"
    listing = layouts.read(out)
    assert not listing.problems
    assert listing.table["fname"].tolist() == ["00.wav", "ff.wav"]
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert len(before) == 5 and {path for path, _ in server.requests} == set(server.files)
    n_requests = len(server.requests)
    fetch_dataset(table, tmp_path)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert len(server.requests) == n_requests


@pytest.mark.parametrize("what", ["wrong sum", "hostile archive"])
def test_a_zip_that_is_refused_leaves_the_earlier_dataset_alone(server: Server, tmp_path: Path, what: str) -> None:
    doc = "FSDKaggle2018.doc"
    table = serve(server, dataset_zips() | {doc: make_zip({f"{doc}/../../../evil": b"x"})})
    message = "leads out of the folder"
    if what == "wrong sum":
        table[doc] = replace(table[doc], md5="0" * 32)
        message = r"doc\.zip: its md5 is .* expected was 0+ .*fsat/sources/fsdkaggle2018\.py, FSDKaggle2018\.doc\."
    out = tmp_path / "data/fsdkaggle2018"
    out.mkdir(parents=True)
    (out / "earlier").touch()
    with pytest.raises(FsatError, match=message):
        fetch_dataset(table, tmp_path)
    assert [path.name for path in (tmp_path / "data").rglob("*")] == ["fsdkaggle2018", "earlier"]
    assert not list(tmp_path.rglob("evil"))


def test_two_at_a_time_are_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "state/download").mkdir(parents=True)
    with (
        FileLock(tmp_path / "state/download/dataset.lock"),
        pytest.raises(FsatError, match="another process is downloading"),
    ):
        fetch_dataset(serve(server, dataset_zips()), tmp_path)
    assert not server.requests


def run_stage(table: dict[str, RemoteFile], folder: Path, *, file_limit: int | None = None) -> str:
    """Run the stage script in a folder, with another table; returns what it says on stderr, "" if it succeeds."""

    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    code = (
        "import runpy; from fsat.sources import fsdkaggle2018; from fsat.sources.download import RemoteFile; "
        f"fsdkaggle2018.ZIPS = {table!r}; runpy.run_module('stages.fsdkaggle2018', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=limit, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert (done.returncode == 0) == (folder / "data/fsdkaggle2018").is_dir()
    return done.stderr if done.returncode else ""


def test_the_stage_script_goes_on_after_a_disk_that_was_full(server: Server, tmp_path: Path) -> None:
    table = serve(server, dataset_zips())
    message = run_stage(table, tmp_path, file_limit=6000)
    assert "no space left to write" in message
    assert not (tmp_path / "data").exists()
    assert (tmp_path / "state/download/FSDKaggle2018.audio_train.zip.part").stat().st_size == 6000
    assert run_stage(table, tmp_path) == ""
    assert server.asked_ranges()[-1] == "bytes=6000-"
