"""What the header of a sound file announces, compared with the bytes that are there: decoders stop without an error."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

from fsat.clips import mpeg

Order = Literal["little", "big"]

# Formats made of chunks, by their first four bytes: byte order of the sizes.
_CHUNKED: dict[bytes, Order] = {b"RIFF": "little", b"RF64": "little", b"RIFX": "big", b"FORM": "big"}
_SAMPLE_CHUNKS = (b"data", b"SSND", b"BODY")
_MAX_CHUNKS = 1_000
_MPEG_TAGS = (0x50, 0x55)  # WAVE_FORMAT_MPEG, WAVE_FORMAT_MPEGLAYER3
# A recorder that cannot go back to the header leaves 0 in it, or about the largest signed or unsigned number.
_ABOUT = 0x2000
_PLACEHOLDERS = (0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
_HEADER_BYTES = 1_024  # some writers count the header as samples: a size may be too large by so much
_W64 = bytes.fromhex("726966662E91CF11A5D628DB04C10000")
_ASF = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"moof", b"styp", b"pnot")
_FIRST = (b"ftyp", _EBML, _ASF, b"AVI ")  # come once a file
_SCAN_BYTES = 1 << 20


@dataclass(frozen=True)
class Container:
    """How to read a file.

    Attributes
    ----------
    kind : str
        Name of a format that libsndfile does not read, or does not read rightly; empty for all others.
    problem : str
        What the header announces and the file lacks; empty for a whole file. What is there may still be decoded.
    content : binary stream or None
        What to decode in place of the file: a part of it, or the file with a right size in its header.
    """

    kind: str = ""
    problem: str = ""
    content: io.RawIOBase | None = None


class Excerpt(io.RawIOBase):
    """Bytes `start` to `stop` of a file as a file, some of them replaced; reads through the file's own handle."""

    def __init__(self, file: BinaryIO, start: int, stop: int, *, at: int = 0, patch: bytes = b"") -> None:
        self._file, self._start, self._stop, self._at, self._patch = file, start, stop, at, patch
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Position from the first byte of the excerpt."""
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """As files do."""
        self._position = max(0, offset + (0, self._position, self._stop - self._start)[whence])
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from the file, patched."""
        first = min(self._start + self._position, self._stop)
        self._file.seek(first)
        data = bytearray(self._file.read(max(0, min(len(buffer), self._stop - first))))
        for k, byte in enumerate(self._patch, start=self._at - first):
            if 0 <= k < len(data):
                data[k] = byte
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def examine(file: BinaryIO) -> Container:
    """Read what the header announces; the file is open and is not decoded."""
    file.seek(0)
    head = file.read(16)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _checked(file, "AVI", _riff_lists(file))
    if head[:4] in _CHUNKED:
        return _chunked(file, head)
    if head == _W64:
        return _samples(file, _w64_samples(file))
    if head[:4] == b"caff":
        return _samples(file, _caf_samples(file))
    if head[:4] == b".snd":
        start, announced = (int.from_bytes(head[k : k + 4], "big") for k in (4, 8))
        return _samples(file, _Samples(start, announced, 8, 4, "big"))
    if head[:7] == b"NIST_1A":
        return _nist(file)
    if head[:4] == b"OggS":
        return _ogg(file)
    if head[:4] == b"fLaC":
        return _flac(file, head)
    if head[4:8] in _BOXES:
        return _mp4(file)
    if head[:4] == _EBML:
        return _checked(file, "WebM or Matroska", _ebml_elements(file))
    if head == _ASF:
        return _checked(file, "Windows Media", _asf_objects(file))
    if head[:5] == b"#!AMR":
        return Container("AMR")
    if head[:1] == b"\xff" and head[1] & 0xF6 == 0xF0:
        return Container("AAC")
    return _mpeg(file, 0, file.seek(0, 2))


# Chunks of samples ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Samples:
    """Where samples begin, how many bytes of them are announced, and where that size is written."""

    start: int
    announced: int
    size_at: int
    size_bytes: int
    order: Order
    extra: int = 0  # what the written size counts beyond the samples


def _samples(file: BinaryIO, samples: _Samples | None, *, trailing: bool = False) -> Container:
    """Compare the announced samples with what follows; `trailing`: chunks may come behind them."""
    if samples is None:
        return Container()
    size = file.seek(0, 2)
    present, announced = size - samples.start, samples.announced
    is_open = announced <= 0 or any(abs(announced - value) <= _ABOUT for value in _PLACEHOLDERS)
    slack = min(samples.start, _HEADER_BYTES) if trailing else 0
    if announced - present > slack and not is_open:
        return Container(problem=f"truncated: {max(0, present)} of {announced} bytes of samples")
    end = samples.start + announced
    if announced < present and trailing:
        if _is_second_file(file, end):
            return Container(problem=f"two joined files: {announced} bytes of samples are announced, {present} follow")
        is_open = is_open or not _is_trailer(file, end, size)
        if announced == 0 and _is_trailer(file, end, size, shortest=0):
            return Container()
    elif announced < present - _HEADER_BYTES:
        is_open = True
    if not is_open and announced <= present:
        return Container()
    right = min(present + samples.extra, 256**samples.size_bytes - 1).to_bytes(samples.size_bytes, samples.order)
    return Container(content=Excerpt(file, 0, size, at=samples.size_at, patch=right))


def _chunked(file: BinaryIO, head: bytes) -> Container:
    """WAV, AIFF and their relatives."""
    order = _CHUNKED[head[:4]]
    size = file.seek(0, 2)
    position, wide, encoding = 12, None, 0
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        length = int.from_bytes(chunk[4:], order)
        if chunk[:4] == b"ds64":  # RF64 keeps the 64-bit length of its data here
            wide = _Samples(0, int.from_bytes(file.read(16)[8:], "little"), position + 16, 8, "little")
        elif chunk[:4] == b"fmt ":
            encoding = int.from_bytes(file.read(2), order)
        elif chunk[:4] in _SAMPLE_CHUNKS:
            samples = _Samples(position + 8, length, position + 4, 4, order)
            if wide is not None and length == 0xFFFFFFFF:
                samples = replace(wide, start=position + 8)
            found = _samples(file, samples, trailing=True)
            if encoding not in _MPEG_TAGS or found.problem:
                return found
            return _mpeg(file, samples.start, size if found.content else min(size, samples.start + length))
        position += 8 + length + length % 2
    return Container()


def _is_second_file(file: BinaryIO, end: int) -> bool:
    """Whether a file of the same kind begins where the samples end."""
    file.seek(end)
    data = file.read(14)
    return any(data[k : k + 4] in _CHUNKED and data[k + 8 : k + 12].isalpha() for k in (end % 2, 0))


def _is_trailer(file: BinaryIO, end: int, size: int, *, shortest: int = _HEADER_BYTES) -> bool:
    """Whether chunks, tags or padding follow the samples; a few bytes more are of no interest."""
    if size - end < shortest:
        return True
    for position in {end + end % 2, end}:
        file.seek(position)
        if file.read(8).startswith((b"TAG", b"ID3", b"APETAGEX")) or _are_chunks(file, position, size):
            return True
    file.seek(end)
    return shortest > 0 and all(not any(block) for block in iter(lambda: file.read(_SCAN_BYTES), b""))


def _are_chunks(file: BinaryIO, position: int, size: int) -> bool:
    order: Order = "big" if (file.seek(0), file.read(4))[1] in (b"FORM", b"RIFX") else "little"
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8:
            return True
        if not re.fullmatch(rb"[ -~]{4}", chunk[:4]):
            return False
        position += 8 + (length := int.from_bytes(chunk[4:], order)) + length % 2
        if position > size + 1:
            return chunk[:4] in (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"JUNK")
    return True


def _w64_samples(file: BinaryIO) -> _Samples | None:
    size, position = file.seek(0, 2), 40
    while position + 24 <= size:
        file.seek(position)
        chunk = file.read(24)
        length = int.from_bytes(chunk[16:], "little")
        if chunk[:4] == b"data":
            return _Samples(position + 24, length - 24, position + 16, 8, "little", extra=24)
        position += max(24, length + -length % 8)
    return None


def _caf_samples(file: BinaryIO) -> _Samples | None:
    size, position = file.seek(0, 2), 8
    while position + 12 <= size:
        file.seek(position)
        chunk = file.read(12)
        length = int.from_bytes(chunk[4:], "big", signed=True)
        if chunk[:4] == b"data":  # four bytes of it count edits; -1: to the end
            return _Samples(position + 16, length - 4 if length > 0 else 0, position + 4, 8, "big", extra=4)
        position += 12 + max(0, length)
    return None


def _nist(file: BinaryIO) -> Container:
    """SPHERE, the format of speech corpora: a header in text."""
    file.seek(0)
    header = file.read(1_024)
    found = dict(re.findall(rb"(sample_count|sample_n_bytes|channel_count) -i (\d+)", header))
    if len(found) < 3 or not header[8:16].strip().isdigit():
        return Container()
    announced = int(found[b"sample_count"]) * int(found[b"sample_n_bytes"]) * int(found[b"channel_count"])
    present = file.seek(0, 2) - int(header[8:16])
    return Container(problem=f"truncated: {present} of {announced} bytes of samples" if present < announced else "")


# Streams that libsndfile reads where nothing is odd ------------------------------------------------------------------


def _ogg(file: BinaryIO) -> Container:
    """Walk the pages (RFC 3533): a file may lack the end-of-stream flag, but ends with a whole page."""
    size = file.seek(0, 2)
    position = n_chains = 0
    was_first = False
    while position < size:
        file.seek(position)
        page = file.read(27 + 255)
        if page[:4] != b"OggS":
            if b"OggS".startswith(page[:4]):
                return Container(problem=f"truncated: {len(page)} bytes of the last Ogg page")
            file.seek(position)
            skipped = file.read(_SCAN_BYTES).find(b"OggS")
            position += skipped if skipped >= 0 else _SCAN_BYTES
            continue
        n_segments = page[26] if len(page) > 26 else 0
        length = 27 + n_segments + sum(page[27 : 27 + n_segments])
        if position + length > size or len(page) < 27:
            there = size - position
            return Container(problem=f"truncated: {there} of {length} bytes of the last Ogg page")
        is_first = bool(page[5] & 2)
        n_chains += is_first and not was_first
        was_first = is_first
        position += length
    return Container("chained Ogg" if n_chains > 1 else "")


def _flac(file: BinaryIO, head: bytes) -> Container:
    file.seek(8)
    info = file.read(34)
    total = int.from_bytes(info[10:18], "big") & (1 << 36) - 1
    if total == 0:
        return Container("FLAC of unknown length")
    if _occurs_again(file, head[:8]):
        return Container("joined FLAC")
    return Container("FLAC longer than announced" if _last_flac_sample(file, info) > total else "")


def _last_flac_sample(file: BinaryIO, info: bytes) -> int:
    """A sample's number at or before the end of the last frame, from the header of that frame; 0 if none is found."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 65_536))
    tail = file.read()
    for at in range(len(tail) - 16, 0, -1):
        if tail[at] != 0xFF or tail[at + 1] & 0xFE != 0xF8 or tail[at + 3] & 1:
            continue
        n_more = max(0, 8 - (~tail[at + 4] & 0xFF).bit_length() - 1) if tail[at + 4] & 0x80 else 0
        wide = {6: 1, 7: 2}.get(tail[at + 2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(tail[at + 2] & 15, 0)
        end = at + 5 + n_more + wide
        if end < len(tail) and _crc8(tail[at:end]) == tail[end]:
            number = tail[at + 4] & (0x7F >> n_more + bool(n_more))
            for byte in tail[at + 5 : at + 5 + n_more]:
                number = number << 6 | byte & 0x3F
            return number if tail[at + 1] & 1 else number * int.from_bytes(info[2:4], "big")
    return 0


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 & 0xFF ^ (7 if crc & 0x80 else 0)
    return crc


def _mpeg(file: BinaryIO, start: int, stop: int) -> Container:
    """MPEG audio: libsndfile guesses the length unless the first frame has a tag that says it."""
    frames = mpeg.walk(file, start, stop)
    is_whole_file = start == 0 and stop == file.seek(0, 2)
    if frames is None:
        return Container() if is_whole_file else Container("MP3 in a WAV", "", Excerpt(file, start, stop))
    problem, announced = frames.problem, frames.announced
    if announced is not None and frames.found + 1 < announced:  # some tags count themselves
        problem = f"truncated: {frames.found} of {announced} MPEG frames"
    is_plain = frames.is_plain and frames.found == announced
    content = None if is_whole_file and is_plain else Excerpt(file, start, frames.stop)
    return Container("" if is_plain else "MP3 without a right count of its frames", problem, content)


# Formats that only FFmpeg reads --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Element:
    name: bytes
    start: int
    length: int  # 0: to the end of the file


def _checked(file: BinaryIO, kind: str, elements: Iterator[_Element]) -> Container:
    """Whether the last element is there to its end, and the first one does not come a second time."""
    size = file.seek(0, 2)
    seen: set[bytes] = set()
    for element in elements:
        there = size - element.start
        seen.add(element.name)
        if element.length > there:
            name = element.name.decode() if re.fullmatch(rb"[ -~]{4}", element.name) else "the last element"
            return Container(kind, f"truncated: {there} of {element.length} bytes of {name}{_lacks_index(kind, seen)}")
        if element.start and element.name in _FIRST:
            return Container(kind, f"two joined files: the first ends at byte {element.start} of {size}")
    return Container(kind, _lacks_index(kind, seen).removeprefix("; "))


def _lacks_index(kind: str, names: set[bytes]) -> str:
    return "; its index (moov) is missing" if kind == "MP4" and b"moov" not in names else ""


def _mp4(file: BinaryIO) -> Container:
    return _checked(file, "MP4", _boxes(file))


def _boxes(file: BinaryIO) -> Iterator[_Element]:
    """Top-level boxes of MP4 and QuickTime; `ftyp` comes once a file."""
    size, position = file.seek(0, 2), 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0 or not re.fullmatch(rb"[ -~\xa9]{4}", head[4:8]):
            length = size - position
        yield _Element(head[4:8], position, length)
        position += max(8, length)


def _riff_lists(file: BinaryIO) -> Iterator[_Element]:
    """An AVI and its continuations."""
    size, position = file.seek(0, 2), 0
    while position + 12 <= size:
        file.seek(position)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        yield _Element(head[8:12], position, 8 + length if length else size - position)
        position += 8 + length + length % 2 if length else size


def _asf_objects(file: BinaryIO) -> Iterator[_Element]:
    size, position = file.seek(0, 2), 0
    while position + 24 <= size:
        file.seek(position)
        head = file.read(24)
        length = int.from_bytes(head[16:], "little")
        yield _Element(head[:16], position, length if length >= 24 else size - position)
        position += length if length >= 24 else size


def _ebml_elements(file: BinaryIO) -> Iterator[_Element]:
    """Elements of WebM; those without a size, as browsers write them, are entered."""
    size, position = file.seek(0, 2), 0
    while position < size:
        file.seek(position)
        head = file.read(12)
        n_name = 9 - head[0].bit_length()
        if n_name > 4 or len(head) <= n_name or head[n_name] == 0:
            return  # no element: the decoder says more
        n_size = 9 - head[n_name].bit_length()
        n_head = n_name + n_size
        name, bits = head[:n_name], 7 * n_size
        length = int.from_bytes(head[n_name:n_head], "big") & (1 << bits) - 1
        if length == (1 << bits) - 1:
            if name not in (_SEGMENT, _CLUSTER):
                return
            length = 0
        yield _Element(name, position, n_head + length)
        position += n_head + length


def _occurs_again(file: BinaryIO, signature: bytes) -> bool:
    """Whether the bytes that a file begins with come a second time."""
    file.seek(len(signature))
    overlap = b""
    while block := file.read(_SCAN_BYTES):
        if signature in overlap + block:
            return True
        overlap = block[-len(signature) :]
    return False
