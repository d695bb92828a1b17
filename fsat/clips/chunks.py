"""Sizes of samples in WAV, AIFF and other formats that announce them, compared with what follows."""

import re
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

from fsat.clips import mpeg
from fsat.clips.container import BEGINNING, Container, Excerpt

Order = Literal["little", "big"]

# Formats made of chunks, by their first four bytes: byte order of the sizes.
CHUNKED: dict[bytes, Order] = {b"RIFF": "little", b"RF64": "little", b"RIFX": "big", b"FORM": "big"}
_SAMPLE_CHUNKS = (b"data", b"SSND", b"BODY")
_MAX_CHUNKS = 1_000
_MPEG_TAGS = (0x50, 0x55)  # WAVE_FORMAT_MPEG, WAVE_FORMAT_MPEGLAYER3
# A recorder that cannot go back to the header leaves 0 in it, or about the largest signed or unsigned number.
_ABOUT = 0x2000
_PLACEHOLDERS = (0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
_FEW_BYTES = 1_024
_SCAN_BYTES = 1 << 20


@dataclass(frozen=True)
class Samples:
    """Where samples begin, how many bytes of them are announced, and where that size is written."""

    start: int
    announced: int
    size_at: int
    size_bytes: int
    order: Order
    extra: int = 0  # what the written size counts beyond the samples


def is_open(size: int) -> bool:
    """Whether a size is a placeholder: what it measures goes on to the end of the file."""
    return size <= 0 or any(abs(size - value) <= _ABOUT for value in _PLACEHOLDERS)


def compared(file: BinaryIO, samples: Samples | None, *, trailing: bool = False, is_mpeg: bool = False) -> Container:
    """Compare the announced samples with what follows; `trailing`: chunks may come behind them."""
    if samples is None:
        return Container()
    size = file.seek(0, 2)
    present, announced = size - samples.start, samples.announced
    to_end = is_open(announced)
    # Some writers count the header, or a part of it, as samples.
    surplus = announced - present
    counts_header = trailing and (
        8 <= surplus <= max(44, min(samples.start, 128)) or surplus in (samples.start - 8, samples.start)
    )
    if announced > present and not to_end and not counts_header:
        return Container(problem=f"truncated: {max(0, present)} of {announced} bytes of samples")
    end = samples.start + announced
    if announced < present and trailing:
        if _is_second_file(file, end, is_mpeg=is_mpeg or announced == 0):
            return Container(problem=f"two joined files: {announced} bytes of samples are announced, {present} follow")
        to_end = to_end or not _is_trailer(file, end, size)
        if announced == 0 and _is_trailer(file, end, size, shortest=0):
            return Container()
    elif announced < present - _FEW_BYTES:
        to_end = True
    if not to_end and announced <= present:
        return Container()
    right = min(present + samples.extra, 256**samples.size_bytes - 1).to_bytes(samples.size_bytes, samples.order)
    return Container(content=Excerpt(file, 0, size, at=samples.size_at, patch=right))


def in_chunks(file: BinaryIO, head: bytes) -> Container:
    """WAV, AIFF and their relatives."""
    order = CHUNKED[head[:4]]
    size = file.seek(0, 2)
    position, wide, encoding = 12, None, 0
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        length = int.from_bytes(chunk[4:], order)
        if chunk[:4] == b"ds64":  # RF64 keeps the 64-bit length of its data here
            wide = Samples(0, int.from_bytes(file.read(16)[8:], "little"), position + 16, 8, "little")
        elif chunk[:4] == b"fmt ":
            encoding = int.from_bytes(file.read(2), order)
        elif chunk[:4] in _SAMPLE_CHUNKS:
            samples = Samples(position + 8, length, position + 4, 4, order)
            if wide is not None and length == 0xFFFFFFFF:
                samples = replace(wide, start=position + 8)
            found = compared(file, samples, trailing=True, is_mpeg=encoding in _MPEG_TAGS)
            if wide is not None and not wide.announced and length != 0xFFFFFFFF and found == Container():
                found = Container(content=Excerpt(file, 0, size, at=wide.size_at, patch=length.to_bytes(8, "little")))
            if encoding not in _MPEG_TAGS or found.problem:
                return found
            return mpeg.examine(file, samples.start, size if found.content else min(size, samples.start + length))
        position += 8 + length + length % 2
    return Container()


def _is_second_file(file: BinaryIO, end: int, *, is_mpeg: bool) -> bool:
    """Whether samples or a file of any kind begin where the samples end, and behind a tag there."""
    for position in (end, end + end % 2):
        start = mpeg.behind_id3(file, position)
        file.seek(start)
        data = file.read(64)
        is_mpeg_behind = not is_mpeg and mpeg.begins(file, start)
        if is_mpeg_behind or BEGINNING.match(data) or (data[:4] in _SAMPLE_CHUNKS and len(data) > 8):
            return True
    return False


def _is_trailer(file: BinaryIO, end: int, size: int, *, shortest: int = _FEW_BYTES) -> bool:
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


def in_w64(file: BinaryIO) -> Samples | None:
    """The samples of a Wave64, whose sizes count their own headers."""
    size, position = file.seek(0, 2), 40
    while position + 24 <= size:
        file.seek(position)
        chunk = file.read(24)
        length = int.from_bytes(chunk[16:], "little")
        if chunk[:4] == b"data":
            return Samples(position + 24, length - 24, position + 16, 8, "little", extra=24)
        position += max(24, length + -length % 8)
    return None


def in_caf(file: BinaryIO) -> Samples | None:
    """The samples of a Core Audio file."""
    size, position = file.seek(0, 2), 8
    while position + 12 <= size:
        file.seek(position)
        chunk = file.read(12)
        length = int.from_bytes(chunk[4:], "big", signed=True)
        if chunk[:4] == b"data":  # four bytes of it count edits; -1: to the end
            return Samples(position + 16, length - 4 if length > 0 else 0, position + 4, 8, "big", extra=4)
        position += 12 + max(0, length)
    return None


def cut_block(file: BinaryIO, position: int, order: Order, *, extra: int) -> str:
    """What the last block lacks, of those with a type and a size in three bytes: Creative Voice, Flash video."""
    size = file.seek(0, 2)
    while position + 10 < size:
        file.seek(position)
        if not 0 < (block := file.read(4))[0] < 19:
            break
        length = extra + int.from_bytes(block[1:], order)
        if position + length > size:
            return f"truncated: {size - position} of {length} bytes of a block of samples"
        position += length
    return ""


def in_sphere(file: BinaryIO) -> Container:
    """SPHERE, the format of speech corpora: a header in text."""
    file.seek(0)
    header = file.read(1_024)
    found = dict(re.findall(rb"(sample_count|sample_n_bytes|channel_count) -i (\d+)", header))
    if len(found) < 3 or not header[8:16].strip().isdigit():
        return Container()
    announced = int(found[b"sample_count"]) * int(found[b"sample_n_bytes"]) * int(found[b"channel_count"])
    present = file.seek(0, 2) - int(header[8:16])
    return Container(problem=f"truncated: {present} of {announced} bytes of samples" if present < announced else "")
