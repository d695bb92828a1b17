"""Sizes of samples in WAV, AIFF and other formats that announce them, compared with what follows."""

import re
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

from fsat.clips import mpeg
from fsat.clips.container import Container, Excerpt

Order = Literal["little", "big"]


class Form(NamedTuple):
    """How chunks are written: bytes of a name and of a size, its order, what it counts beyond the body, alignment."""

    n_name: int
    n_size: int
    order: Order
    n_counted: int
    aligned: int


_LITTLE, _BIG = Form(4, 4, "little", 0, 2), Form(4, 4, "big", 0, 2)
_W64, _CAF = Form(16, 8, "little", 24, 8), Form(4, 8, "big", 0, 1)
# Formats made of chunks, by their first four bytes: how, and where the first chunk is.
CHUNKED = {
    b"RIFF": (_LITTLE, 12),
    b"RF64": (_LITTLE, 12),
    b"RIFX": (_BIG, 12),
    b"FORM": (_BIG, 12),
    b"riff": (_W64, 40),
    b"caff": (_CAF, 8),
}
_SAMPLE_CHUNKS = (b"data", b"SSND", b"BODY")
_CUT_CHUNKS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"JUNK")  # may be cut: no samples are lost
_TAGS = (b"TAG", b"ID3", b"APETAGEX")
_MAX_CHUNKS = 1_000
_MPEG_TAGS = (0x50, 0x55)  # WAVE_FORMAT_MPEG, WAVE_FORMAT_MPEGLAYER3
# A recorder that cannot go back to the header leaves 0 in it, or about the largest signed or unsigned number.
_ABOUT = 0x2000
_PLACEHOLDERS = (0x7F000000, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # the first: SoX's AIFF
_FEW_BYTES = 128
_SCAN_BYTES = 1 << 20


class Samples(NamedTuple):
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


def compared(file: BinaryIO, samples: Samples, form: Form | None, *, is_mpeg: bool = False) -> Container:
    """Compare the announced samples with what follows; chunks of a form may come behind them."""
    size = file.seek(0, 2)
    present, announced = size - samples.start, samples.announced
    if present < 0:
        return Container(problem=f"truncated: {size} of {samples.start} bytes of the header")
    to_end = is_open(announced)
    # Some writers count the header, or a part of it, as samples.
    surplus = announced - present
    counts_header = 8 <= surplus <= max(44, min(samples.start, 128)) or surplus in (samples.start - 8, samples.start)
    if surplus > 0 and not to_end and not counts_header:
        return Container(problem=f"truncated: {max(0, present)} of {announced} bytes of samples")
    if surplus < 0:
        behind = _behind(file, samples.start + announced, form, is_mpeg=is_mpeg or announced == 0)
        if behind == "file":
            return Container(problem=f"two joined files: {announced} bytes of samples are announced, {present} follow")
        to_end = to_end or behind == "samples"
        if announced == 0 and behind == "chunks":
            return Container()
    if not to_end and surplus <= 0:
        return Container()
    right = min(present + samples.extra, 256**samples.size_bytes - 1).to_bytes(samples.size_bytes, samples.order)
    return _patched(file, samples.size_at, right)


def _patched(file: BinaryIO, at: int, right: bytes) -> Container:
    return Container(content=Excerpt(file, (0, at), right, (at + len(right), file.seek(0, 2))))


def _chunks(file: BinaryIO, position: int, form: Form) -> Iterator[tuple[bytes, int, int]]:
    """Name (its first four bytes), place and length of the body of each chunk; the last may be none."""
    n_head, size, n = form.n_name + form.n_size, file.seek(0, 2), 0
    while position + n_head <= size and n < _MAX_CHUNKS:
        file.seek(position)
        head, n = file.read(n_head), n + 1
        length = max(0, int.from_bytes(head[form.n_name :], form.order, signed=form is _CAF) - form.n_counted)
        yield head[:4], position + n_head, length
        position += n_head + length + -length % form.aligned


def in_chunks(file: BinaryIO, head: bytes) -> Container:
    """WAV, AIFF and their relatives, Wave64, Core Audio."""
    form, first = CHUNKED[head[:4]]
    wide, encoding = None, 0
    for name, start, length in _chunks(file, first, form):
        if name == b"ds64":  # RF64 keeps the 64-bit length of its data here
            file.seek(start + 8)
            wide = Samples(0, int.from_bytes(file.read(8), "little"), start + 8, 8, "little")
        elif name == b"fmt ":
            file.seek(start)
            encoding = int.from_bytes(file.read(2), form.order)
        elif name in _SAMPLE_CHUNKS:
            n_edits = 4 * (form is _CAF)  # four bytes count edits
            n, extra = max(0, length - n_edits), n_edits + form.n_counted
            samples = Samples(start + n_edits, n, start - form.n_size, form.n_size, form.order, extra)
            if wide is not None and length == 0xFFFFFFFF:
                samples = wide._replace(start=start)
            is_mpeg = encoding in _MPEG_TAGS or mpeg.begins(file, mpeg.behind_id3(file, start))
            found = compared(file, samples, form, is_mpeg=is_mpeg)
            if wide is not None and not wide.announced and length != 0xFFFFFFFF and found == Container():
                found = _patched(file, wide.size_at, length.to_bytes(8, "little"))
            if not is_mpeg or found.problem:
                return found
            size = file.seek(0, 2)
            return mpeg.examine(file, start, size if found.content else min(size, start + length))
    return Container()


def _behind(file: BinaryIO, end: int, form: Form | None, *, is_mpeg: bool) -> str:
    """What follows the samples: a second "file", "chunks" or tags, "padding", or more "samples"."""
    size, found = file.seek(0, 2), "samples"
    n_head = form.n_name + form.n_size if form else 0
    for first in {end, end + end % 2}:
        if mpeg.begins_file(file, first, is_mpeg=is_mpeg):
            return "file"
        for name, start, length in _chunks(file, first, form) if form else ():
            if (name in _SAMPLE_CHUNKS and length > 0) or mpeg.begins_file(file, start - n_head, is_mpeg=is_mpeg):
                return "file"
            if not re.fullmatch(rb"[ -~]{4}", name) or (start + length > size + 1 and name not in _CUT_CHUNKS):
                break
        else:
            found = "chunks" if form else found
        file.seek(first)
        if file.read(8).startswith(_TAGS):
            found = "chunks"
    file.seek(end)
    is_padding = size - end < _FEW_BYTES or all(not any(block) for block in iter(lambda: file.read(_SCAN_BYTES), b""))
    return "padding" if found == "samples" and is_padding else found


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
