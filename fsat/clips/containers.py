"""What the header of a sound file announces, compared with the bytes that are there: decoders stop without an error."""

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import BinaryIO, NamedTuple, cast

from fsat.clips import chunks, mpeg
from fsat.clips.container import BEGINNING, Container, Excerpt, beginning_in

_ASF = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
_ASF_PROPERTIES = bytes.fromhex("A1DCAB8C47A9CF118EE400C00C205365")
_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"moof", b"styp", b"pnot")
_SCAN_BYTES = 1 << 20
# A header with the number of the frame or sample; what follows depends on the third byte.
_FLAC_FRAME = re.compile(
    rb"(?=\xff[\xf8\xf9][\x10-\xff][^\xb0-\xff]((?:[\0-\x7f]|[\xc0-\xdf].|[\xe0-\xef]..|[\xf0-\xf7].{3}|[\xf8-\xfb].{4}"
    rb"|[\xfc\xfd].{5}|\xfe.{6})))",
    re.DOTALL,
)
_MAX_PAGE = 27 + 255 + 255 * 255
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def examine(file: BinaryIO) -> Container:
    """Read what the header announces; the file is open and is not decoded."""
    file.seek(0)
    head = file.read(16).ljust(16, b"\0")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _checked(file, "AVI", _walk(file, 0, 12, _riff_list))
    if head[:4] in chunks.CHUNKED:
        return chunks.in_chunks(file, head)
    if head[:4] == b".snd":
        start, announced = (int.from_bytes(head[k : k + 4], "big") for k in (4, 8))
        return chunks.compared(file, chunks.Samples(start, announced, 8, 4, "big"), None)
    if head[:7] == b"NIST_1A":
        return chunks.in_sphere(file)
    if head[:4] == b"OggS":
        return _ogg(file)
    if head[:4] == b"fLaC":
        return _flac(file)
    if head[4:8] in _BOXES:
        return _checked(file, "MP4", _walk(file, 0, 8, _box))
    if head[:4] == _EBML:
        return _checked(file, "WebM or Matroska", _ebml_elements(file))
    if head == _ASF:
        file.seek(0)
        _, _, about = file.read(_MAX_PAGE).partition(_ASF_PROPERTIES)
        is_live = len(about) > 72 and about[72] & 1 == 1
        return _checked(file, "Windows Media", _walk(file, 0, 24, partial(_asf_object, is_live=is_live)))
    if head == b"Creative Voice F":
        start = int.from_bytes(file.read(6)[4:], "little")
        return _checked(file, "", _walk(file, start, 11, partial(_block, order="little", extra=4)))
    if head[:4] == b"TTA1":
        return Container("TTA", _joined(file, _second(file)))
    if head[:4] == b"FLV\1":
        return _checked(file, "Flash video", _walk(file, 13, 11, partial(_block, order="big", extra=15)))
    if length := _ts_packet(file):
        rest = (size := file.seek(0, 2)) % length
        is_whole = mpeg.behind_tags(file, size - rest, size) >= size
        problem = "" if is_whole else f"truncated: {rest} of {length} bytes of the last packet"
        return Container("MPEG transport stream", problem)
    if head[:5] == b"#!AMR":
        return Container("AMR")
    size, start = file.seek(0, 2), mpeg.behind_id3(file, 0)
    file.seek(start)
    head = file.read(4).ljust(4, b"\0")
    if start and head in (*chunks.CHUNKED, b"fLaC", b"OggS"):  # a tag in front of it
        content = Excerpt(file, (start, size))
        found = examine(cast(BinaryIO, content))
        return replace(found, content=found.content or content)
    return mpeg.examine(file, 0, size)


# Streams that libsndfile reads where nothing is odd ------------------------------------------------------------------


def _ogg(file: BinaryIO) -> Container:
    """Walk the pages (RFC 3533): a file may lack the end-of-stream flag, but ends with a whole page.

    Decoders leave out pages that are lost or have another checksum, without an error.
    """
    size = file.seek(0, 2)
    position = n_chains = 0
    was_first = is_opus = is_end = False
    numbers: dict[bytes, int] = {}
    while position < size:
        file.seek(position)
        page = file.read(_MAX_PAGE)
        if page[:4] != b"OggS":
            second = BEGINNING.search(page)
            if second or mpeg.begins_file(file, position):
                return Container(problem=_joined(file, position + (second.start() if second else 0)))
            skipped = page.find(b"OggS", 1)
            position += skipped if skipped > 0 else max(1, len(page) - 3)
            continue
        n_segments = page[26] if len(page) > 26 else 0
        length = 27 + n_segments + sum(page[27 : 27 + n_segments])
        if position + length > size:
            return Container(problem=f"truncated: {size - position} of {length} bytes of the last Ogg page")
        number, stream, is_first = int.from_bytes(page[18:22], "little"), page[14:18], bool(page[5] & 2)
        expected = number if is_first else numbers.get(stream, number - 1) + 1
        if number != expected or not _has_ogg_checksum(page[:length]):
            return Container(problem=f"damaged: Ogg page {expected}, at byte {position} of {size}, is lost or spoilt")
        numbers[stream] = number
        is_opus, is_end = is_opus or (is_first and b"OpusHead" in page[:64]), bool(page[5] & 4)
        n_chains += is_first and not was_first
        was_first = is_first
        position += length
    if n_chains == 1 and is_opus and not is_end:
        return Container("Opus without an end flag")
    return Container("chained Ogg" if n_chains > 1 else "")


def _has_ogg_checksum(page: bytes) -> bool:
    """Whether a page has its CRC: that of zlib with the bits of each byte the other way round."""
    data = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    return zlib.crc32(data, 0xFFFFFFFF) ^ 0xFFFFFFFF == int.from_bytes(page[22:26].translate(_REVERSED), "big")


def _flac(file: BinaryIO) -> Container:
    file.seek(8)
    info = file.read(34)
    total = int.from_bytes(info[10:18], "big") & (1 << 36) - 1
    if total == 0:
        return Container("FLAC of unknown length")
    if second := _second(file):
        file.seek(second)
        return Container("joined FLAC") if file.read(4) == b"fLaC" else Container(problem=_joined(file, second))
    size = file.seek(0, 2)
    file.seek(max(0, size - _SCAN_BYTES // 4))
    tail = file.read()
    if mpeg.occurs(tail):
        return Container(problem=f"two joined files: MPEG audio is among the last {len(tail)} of {size} bytes")
    return Container("FLAC longer than announced" if _flac_end(tail, info) > total else "")


def _flac_end(tail: bytes, info: bytes) -> int:
    """The sample behind the last frame that follows another one (RFC 9639); bytes inside a frame may look like one."""
    ends, last = {0}, 0
    for match in _FLAC_FRAME.finditer(tail):
        at, number, code = match.start(), match[1], tail[match.start() + 2] >> 4
        k = at + 4 + len(number)  # behind the number of the frame: its length, its rate, a checksum
        n_length, n_rate = {6: 1, 7: 2}.get(code, 0), {12: 1, 13: 2, 14: 2}.get(tail[at + 2] & 15, 0)
        if _crc8(tail[at : k + n_length + n_rate + 1]) != 0:
            continue
        begin = number[0] & 0x7F >> (len(number) if len(number) > 1 else 0)
        for byte in number[1:]:
            begin = begin << 6 | byte & 0x3F
        begin *= 1 if tail[at + 1] & 1 else int.from_bytes(info[2:4], "big")
        length = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8 if code > 7 else 0
        ends.add(end := begin + (length or 1 + int.from_bytes(tail[k : k + n_length], "big")))
        if begin in ends:
            last = max(last, end)
    return last


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 * (crc >> 7)) & 0xFF
    return crc


# Formats that only FFmpeg reads --------------------------------------------------------------------------------------


class _Element(NamedTuple):
    name: bytes  # empty where there should be one and is none
    start: int
    length: int  # 0: to the end of the file


# Name and length of an element by its first 24 bytes and the number of those that are there.
Measured = Callable[[bytes, int], tuple[bytes, int]]


def _checked(file: BinaryIO, kind: str, elements: Iterator[_Element]) -> Container:
    """Whether the last element is there to its end, and no file begins behind it."""
    size = file.seek(0, 2)
    lacks_index = "its index (moov) is missing" if kind == "MP4" else ""
    for name, start, length in elements:
        there = size - start
        if start and mpeg.behind_tags(file, start, size) >= size:
            break
        if start and mpeg.begins_file(file, start):
            return Container(kind, _joined(file, start))
        if not name:
            return Container(kind, f"damaged: there is no element at byte {start} of {size}")
        if name == b"moov":
            lacks_index = ""
        if length > there and (lacks_index or kind != "MP4" or name in _BOXES):  # else a tail of another kind
            shown = name.decode() if re.fullmatch(rb"[ -~]{4}", name) else "the last element"
            problem = f"truncated: {there} of {length} bytes of {shown}"
            return Container(kind, f"{problem}; {lacks_index}" if lacks_index else problem)
    return Container(kind, lacks_index)


def _walk(file: BinaryIO, position: int, n_head: int, measured: Measured) -> Iterator[_Element]:
    """Elements one after the other, the shortest of `n_head` bytes."""
    size = file.seek(0, 2)
    while position + n_head <= size:
        file.seek(position)
        name, length = measured(file.read(24), size - position)
        yield _Element(name, position, length)
        position += length or n_head


def _box(head: bytes, there: int) -> tuple[bytes, int]:
    """Of MP4 and QuickTime."""
    length = int.from_bytes(head[:4], "big")
    if length == 1:
        length = int.from_bytes(head[8:16], "big")
    return head[4:8], length if length and re.fullmatch(rb"[ -~\xa9]{4}", head[4:8]) else there


def _riff_list(head: bytes, there: int) -> tuple[bytes, int]:
    """An AVI or its continuation."""
    length = int.from_bytes(head[4:8], "little")
    return head[8:12], there if chunks.is_open(length) else 8 + length + length % 2


def _asf_object(head: bytes, there: int, *, is_live: bool) -> tuple[bytes, int]:
    """Of Windows Media; in a broadcast all sizes but that of the first are invalid."""
    length = int.from_bytes(head[16:], "little")
    return head[:16], there if length < 24 or (is_live and head[:16] != _ASF) else length


def _block(head: bytes, there: int, *, order: chunks.Order, extra: int) -> tuple[bytes, int]:
    """With a type and a size in three bytes: Creative Voice, Flash video."""
    return head[:1], extra + int.from_bytes(head[1:4], order) if 0 < head[0] < 19 else there


def _ebml_elements(file: BinaryIO) -> Iterator[_Element]:
    """Elements of WebM, to the blocks of samples: FFmpeg goes on behind what is none, or stops there without a word."""
    size, position = file.seek(0, 2), 0
    while position < size:
        file.seek(position)
        head = file.read(12)
        n_name = 9 - head[0].bit_length()
        if n_name > 4 or len(head) <= n_name or head[n_name] == 0:
            yield _Element(b"", position, 0)
            return
        n_size = 9 - head[n_name].bit_length()
        n_head = n_name + n_size
        name, bits = head[:n_name], 7 * n_size
        length = int.from_bytes(head[n_name:n_head], "big") & (1 << bits) - 1
        if length == (1 << bits) - 1:  # no size, as browsers write
            length = 0
        yield _Element(name, position, n_head + length)
        position += n_head + length * (name not in (_SEGMENT, _CLUSTER))


def _ts_packet(file: BinaryIO) -> int:
    """Bytes of the packets of a transport stream, which begin with 0x47 or, on discs, with a time of four bytes."""
    file.seek(0)
    data = file.read(5 * 192)
    return next((n for n in (188, 192) if len(data) > 4 * n and set(data[n - 188 :: n]) == {0x47}), 0)


def _joined(file: BinaryIO, second: int) -> str:
    return f"two joined files: the first ends at byte {second} of {file.seek(0, 2)}" if second else ""


def _second(file: BinaryIO) -> int:
    """Where a second file begins; 0 if none does."""
    position = 8
    while True:
        file.seek(position)
        block = file.read(_SCAN_BYTES)
        if (start := beginning_in(block)) >= 0:
            return position + start
        if len(block) < _SCAN_BYTES:
            return 0
        position += len(block) - 64
