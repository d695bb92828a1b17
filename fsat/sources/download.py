"""Download archives, check their checksums, and unpack them without trusting the names inside.

Downloads are kept: after a broken connection only the missing bytes are fetched, and a later run can unpack an archive
without downloading it again.
"""

import hashlib
import http.client
import re
import shutil
import stat
import struct
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from fsat.core import files
from fsat.core.errors import FsatError, escaped

_CHUNK_BYTES = 1 << 20
_LOG_INTERVAL_S = 15.0
# Of a file whose size nobody gives; the largest of FSDKaggle2018 has 3.6 GB.
_LARGEST_BYTES = 8 * 1024**3
# A download may take an hour, and longer at this many bytes a second.
_LONGEST_S, _SLOWEST = 3600.0, 50_000
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# HTTP status codes after which another attempt is pointless.
_FINAL_STATUS = {400, 401, 403, 404, 405, 410, 451}


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server, with the one checksum that its publisher gives.

    `listed_in` is where this project keeps these facts, for messages.
    """

    url: str
    listed_in: str
    md5: str = ""
    sha256: str = ""
    n_bytes: int | None = None


def fetch_dataset(zips: Mapping[str, RemoteFile], out: str | Path, *, kept: str | Path, wait_s: float = 5.0) -> None:
    """Download, check and unpack zips, each by the name of the one folder that it holds.

    The folder `out`, with these below it, appears when it is complete; an earlier one is replaced. Partial and finished
    downloads stay in `kept`. `FsatError` as by `fetch` and `unpack`; or if another process is downloading into `kept`.
    """
    kept = Path(kept)
    kept.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(kept / "dataset.lock", timeout=0):
            paths = {name: fetch(remote, kept, wait_s=wait_s) for name, remote in zips.items()}
            with files.atomic_folder(out) as folder:
                for name, path in paths.items():
                    unpack(path, folder, top=name)
    except Timeout as error:
        raise FsatError(f"{kept}: another process is downloading there. Wait for it, or end it.") from error


# --- download --------------------------------------------------------------------------------------------------------


def fetch(remote: RemoteFile, kept: Path, *, attempts: int = 5, wait_s: float = 5.0) -> Path:
    """Download a file into the folder `kept`, compare the checksum, and return its path.

    A file that is there with the right checksum is kept; with another checksum it is downloaded again. A partial
    download is ``<name>.part``. It is continued if the server supports HTTP Range, and started again otherwise.

    `FsatError` if the address is not allowed, the server answers with an error, sends more than expected or for too
    long, the connection breaks for `attempts` times in a row without new bytes, or the checksum differs. In the last
    case the file stays: with a corrected checksum it need not be downloaded again.
    """
    _check_address(remote.url)
    kept.mkdir(parents=True, exist_ok=True)
    path = kept / PurePosixPath(urllib.parse.urlsplit(remote.url).path).name
    kind, expected = ("sha256", remote.sha256) if remote.sha256 else ("md5", remote.md5)
    if path.is_file():
        if checksum(path, kind) == expected:
            print(f"{path.name}: already here", file=sys.stderr)
            return path
        path.unlink()
    part = path.with_name(f"{path.name}.part")
    _download(remote, part, attempts=attempts, wait_s=wait_s)
    part.replace(path)
    found = checksum(path, kind)
    if found != expected:
        size = f"{_size(path):,} bytes" + (f" of {remote.n_bytes:,}" if remote.n_bytes else "")
        raise FsatError(
            f"{path}: its {kind} is {found}, expected was {expected} ({size}). It was downloaded from {remote.url}. "
            "Nothing was unpacked. Run again to download it again. If it is the same again, the file has changed: the "
            f"expected sum stands in {remote.listed_in}."
        )
    return path


def checksum(path: Path, kind: str) -> str:
    """Checksum of a file in hexadecimal digits; `kind` is "md5" or "sha256"."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def _check_address(url: str) -> None:
    """Allow HTTPS, and plain HTTP to this machine only."""
    address = urllib.parse.urlsplit(url)
    if address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOOPBACK):
        raise FsatError(f"{url}: only https:// addresses are downloaded from (http:// from this machine alone).")


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Checks the address of every redirection as the first address is checked."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> urllib.request.Request | None:
        request = super().redirect_request(*args, **kwargs)
        if request is not None:
            _check_address(request.full_url)
        return request


class _BrokenError(Exception):
    """The connection failed (not the disk); another attempt may succeed."""


def _download(remote: RemoteFile, part: Path, *, attempts: int, wait_s: float) -> None:
    """Complete `part` over several connections; `attempts` in a row without new bytes end it with an `FsatError`."""
    if part.is_symlink():
        part.unlink()
    furthest, failures, begun = _size(part), 0, time.monotonic()
    while True:
        try:
            return _continue(remote, part, begun)
        except _BrokenError as error:
            # A server without Range starts from the first byte each time: only bytes past the furthest are new.
            failures = 1 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures >= attempts:
                raise FsatError(
                    f"{remote.url}: no connection that lasts ({error}), {attempts} attempts in a row. "
                    f"{furthest:,} bytes are kept in {part}; run again to go on from there, or put the whole file, "
                    f"downloaded elsewhere, into {part.parent}."
                ) from error
            pause_s = wait_s * 2 ** (failures - 1)
            print(escaped(f"{part.name}: {error}; trying again in {pause_s:.0f} s"), file=sys.stderr)
            time.sleep(pause_s)


def _size(path: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def _continue(remote: RemoteFile, part: Path, begun: float) -> None:
    """One connection: append to `part` what is missing, or begin anew if the server sends the whole file.

    `begun` is when the download began, by `time.monotonic`.
    """
    start = _size(part)
    request = urllib.request.Request(remote.url, headers={"User-Agent": "fsat"})  # noqa: S310  (checked: _check_address)
    if start:
        request.add_header("Range", f"bytes={start}-")
    opener = urllib.request.build_opener(_CheckedRedirects)
    try:
        response = opener.open(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:
            _end_of_range(error, part, start)
            return
        if error.code in _FINAL_STATUS:
            raise FsatError(
                f"{remote.url}: the server answers {error.code} {error.reason}. If the file has moved, its address "
                f"stands in {remote.listed_in}."
            ) from error
        raise _BrokenError(f"HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(f"cannot connect: {getattr(error, 'reason', error)}") from error
    with response:
        if response.status != 206:
            start = 0
        elif not (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
            part.unlink()
            raise _BrokenError("the server sent another range than asked for")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdecimal() else None
        _check_room(part, (total or 0) - _size(part))
        with part.open("ab" if start else "wb") as stream, _bar(part.stem, start=start, total=total) as bar:
            for chunk in _chunks(response, remote, part, start=start, total=total, begun=begun):
                stream.write(chunk)
                bar.update(len(chunk))
    if total is not None and _size(part) < total:
        raise _BrokenError(f"connection closed after {_size(part):,} of {total:,} bytes")


def _end_of_range(error: urllib.error.HTTPError, part: Path, start: int) -> None:
    """Accept a partial file as complete if its length is the total that the server gives; delete it otherwise."""
    total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range") or "")
    if total is None or int(total[1]) != start:
        part.unlink()
        raise _BrokenError("the partial file is longer than the server's; beginning anew")


def _check_room(path: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise FsatError(
            f"{path}: {n_bytes:,} bytes are to come, but {free:,} are free on that disk. Make room and run again."
        )


def _chunks(
    response: http.client.HTTPResponse, remote: RemoteFile, part: Path, *, start: int, total: int | None, begun: float
) -> Iterator[bytes]:
    """The body in chunks, which follow `start` bytes; an error of the connection becomes `_BrokenError`.

    `FsatError` if they are more than expected, or come too slowly.
    """
    size, largest = start, remote.n_bytes or total or _LARGEST_BYTES
    longest_s = _LONGEST_S + largest / _SLOWEST
    while True:
        try:
            chunk = response.read1(_CHUNK_BYTES)  # what is there: a slow server is seen to be slow
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(f"connection broken: {error}") from error
        if not chunk:
            return
        size += len(chunk)
        if size > largest:
            part.unlink()
            what = f"{remote.url}: the server sends more than {largest:,} bytes"
            raise FsatError(f"{what}. If the file is that large, say so in {remote.listed_in}.")
        yield chunk
        if time.monotonic() - begun > longest_s:
            what = f"{remote.url}: not complete after {longest_s / 3600:.1f} hours"
            raise FsatError(f"{what}. {size:,} bytes are kept in {part}; run again to go on from there.")


def _bar(desc: str, *, start: int, total: int | None) -> "tqdm[Any]":
    """A progress bar on a terminal; a line every 15 s in a log file."""
    log = not sys.stderr.isatty()
    line = "{desc}: {n_fmt}B of {total_fmt}B, {elapsed} passed, {remaining} left\n" if log else None
    return tqdm(
        desc=desc, initial=start, total=total, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr,
        mininterval=_LOG_INTERVAL_S if log else 0.1, bar_format=line,
    )  # fmt: skip


# --- unpacking -------------------------------------------------------------------------------------------------------


def unpack(path: Path, folder: Path, *, top: str) -> None:
    """Unpack a zip whose members all lie in one folder named `top` into `folder`.

    `FsatError` before anything is written, if the file is no zip; if a member has a name outside `top` (absolute or
    with ``..``) or is a link; or if the disk has no room for the sizes in the zip's directory, which no member can
    exceed. During unpacking, if a member is damaged or encrypted, or occurs twice.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked_members(archive, path, top)
            total = sum(member.file_size for member in members)
            _check_room(folder, total)
            with _bar(f"unpack {path.name}", start=0, total=total) as bar:
                for member in members:
                    target = folder.joinpath(*PurePosixPath(member.filename).parts)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(member) as source, target.open("xb") as stream:
                        shutil.copyfileobj(source, stream, _CHUNK_BYTES)
                    bar.update(member.file_size)
    except (FileExistsError, NotADirectoryError) as error:
        raise FsatError(f"{path}: two members have the same name ({error}). Do not trust this file.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error) as error:
        raise FsatError(f"{path}: is no zip that can be unpacked ({error}). Delete it and run again.") from error


def _checked_members(archive: zipfile.ZipFile, path: Path, top: str) -> list[zipfile.ZipInfo]:
    """The files of an archive, after checking that all are safe to write."""
    members = []
    for member in archive.infolist():
        name, parts = member.filename, PurePosixPath(member.filename).parts
        if parts and parts[0] == "__MACOSX":  # what a Mac adds to a zip
            continue
        problem = ""
        if not parts or parts[0] != top or ".." in parts or "\\" in name or ":" in name:
            problem = f"a name that leads out of the folder {top}"
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            problem = "a link or device"
        if problem:
            raise FsatError(
                f"{path}: member {name[:100]!r} is {problem}. Nothing was unpacked; do not trust this file."
            )
        if not member.is_dir():
            members.append(member)
    if not members:
        raise FsatError(f"{path}: is an empty zip. Expected was a folder {top}.")
    return members
