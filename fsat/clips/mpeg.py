"""Frames of MPEG audio, AAC among them, counted by their headers, and what the tag in the first one announces."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from fsat.clips.container import BEGINNING, Container, Excerpt

# kbit/s by the index in a header, for versions 1 and 2 of the layers.
_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES[2, 3] = _RATES[2, 2]
_HZ = (44_100, 48_000, 32_000)
_AAC, _HEAD = 4, 7  # the layer of AAC in ADTS (ISO 13818-7), and the bytes of its headers
_SYNC_BUT_FLAC = re.compile(rb"\xff[\xe0-\xf7\xfa-\xff]")
_TAG_PLACES = (13, 21, 36)  # of "Xing" and "Info", by version and channels; of "VBRI" the last
_SEARCHED = 1 << 16
_MOST_IN_FRONT = 2  # frames, by their mean length: recordings of a stream begin inside one


def examine(file: BinaryIO, start: int, stop: int) -> Container:
    """MPEG audio between two bytes of a file: count its frames, and compare them with a tag in the first one.

    libsndfile guesses the length unless there is such a tag. What FFmpeg gets is the frames alone.
    """
    is_whole_file = start == 0 and stop == file.seek(0, 2)
    position = behind_tags(file, start, stop)
    behind_tag = behind_id3(file, start)
    file.seek(position)
    searched = file.read(min(_SEARCHED, max(0, stop - position)))
    first = next((k for k in range(len(searched)) if _begins(searched, k, whole=stop - position)), None)
    if first is None:  # none, or one with free bit rates
        return Container() if is_whole_file else Container("MP3 in a WAV", "", Excerpt(file, (start, stop)))
    head = searched[first : first + 200]
    announced = _announced(head)
    found = n_tags = gap = 0
    end = position + first
    runs: list[tuple[int, int]] = []  # of frames, without the tags between them
    problem = ""
    for what, begin, after, frame in _pieces(file, end, stop, head):
        if what == "frame" and gap:
            problem = f"damaged: {gap} bytes in no MPEG frame follow byte {end} of {stop}"
            break
        if what == "frame":
            if after > stop:
                problem = f"truncated: ends inside an MPEG frame, after {stop - begin} of {after - begin} bytes"
            is_tag = _tag_at(frame) > 0
            n_tags += is_tag + (frame[36:40] == b"VBRI")  # libsndfile guesses in spite of it
            found += not is_tag and not problem
            run = runs.pop()[0] if runs and end == begin else begin
            end = min(stop, after)
            runs.append((run, end))
        elif what == "neither":
            if runs and begins(file, begin):
                problem = f"two joined files: {found} MPEG frames, then {stop - begin} bytes of another kind"
                break
            gap += after - begin  # a tail of an unknown kind, unless frames follow
    else:
        file.seek(end)
        second = BEGINNING.search(file.read(_SEARCHED))
        n_bytes = sum(end - begin for begin, end in runs)
        if announced is not None and found + 1 < announced:  # some tags count themselves
            problem = f"truncated: {found} of {announced} MPEG frames"
        elif second and not problem:
            problem = f"two joined files: the first ends at byte {end + second.start()} of {stop}"
        # Behind a tag they may be the rest of it: some writers give a wrong size.
        elif behind_tag == start and first * found > _MOST_IN_FRONT * n_bytes and not problem:
            problem = f"damaged: the first {first} bytes are in no MPEG frame, {found} frames follow"
    is_plain = found == announced and n_tags == 1 and not problem and not gap and runs[0][0] == behind_tag
    name = "AAC" if head[1] & 6 == 0 else "MP3 without a right count of its frames"
    return Container("" if is_plain else name, problem, None if is_whole_file and is_plain else Excerpt(file, *runs))


def _pieces(file: BinaryIO, position: int, stop: int, first: bytes) -> Iterator[tuple[str, int, int, bytes]]:
    """What follows: a "frame" of the kind of the first one, a "tag" or "neither"; from where to where; its first bytes.

    The last frame may end behind `stop`.
    """
    kind = _kind(first)
    while position < stop:
        file.seek(position)
        head = file.read(64)
        if _kind(head) == kind:
            what, end = "frame", position + _frame_length(head)
        elif stop - position < _HEAD and head[:2] == first[:2]:
            what, end = "frame", position + _HEAD
        elif (end := _behind_tags(file, position, stop)) > position:
            what = "tag" if head[0] else "neither"
        else:
            file.seek(position)
            block = file.read(_SEARCHED)
            places = (k for k in range(1, len(block)) if _begins(block, k, whole=stop - position))
            what, end = "neither", position + next(places, len(block))
        yield what, position, end, head
        position = end


def occurs(data: bytes) -> bool:
    """Whether five frames of MPEG audio follow each other somewhere in the bytes of a FLAC.

    AAC whose frames begin as those of FLAC do, with FFF8 or FFF9, is not looked for.
    """
    return any(_begins(data, sync.start(), whole=0) for sync in _SYNC_BUT_FLAC.finditer(data, 1))


def begins(file: BinaryIO, start: int) -> bool:
    """Whether three frames of MPEG audio follow each other here."""
    file.seek(start)
    if file.read(1) != b"\xff":  # most do not: less is read
        return False
    data = b"\xff" + file.read(16_384)
    n = _frame_length(data)
    return 0 < n < len(data) and _begins(data, 0, whole=len(data) + 1) and _begins(data, n, whole=0)


def begins_file(file: BinaryIO, position: int, *, is_mpeg: bool = False) -> bool:
    """Whether a sound file begins here, or behind a tag here; `is_mpeg`: MPEG audio does not count as another one."""
    start = behind_id3(file, position)
    file.seek(start)
    return BEGINNING.match(file.read(64)) is not None or (not is_mpeg and begins(file, start))


def _kind(head: bytes) -> tuple[int, int, int] | None:
    """Version, layer and sample rate in the header of a frame; None if it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return (head[1] >> 3 & 1, _AAC, head[2] >> 2 & 15) if _frame_length(head) else None
    version, layer, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 2 & 3
    if version == 1 or layer == 4 or rate == 3 or head[2] >> 4 in (0, 15):
        return None
    return version, layer, _HZ[rate] // {3: 1, 2: 2, 0: 4}[version]


def _frame_length(head: bytes) -> int:
    """Bytes of a frame by its header (ISO 11172-3, 13818-3, 13818-7)."""
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        length = int.from_bytes(head[3:6], "big") >> 5 & 0x1FFF
        return length if length >= _HEAD and len(head) >= _HEAD else 0
    kind = _kind(head)
    if kind is None:
        return 0
    version, layer, hz = kind
    rate = _RATES[1 if version == 3 else 2, layer][(head[2] >> 4) - 1] * 1000
    padding = head[2] >> 1 & 1
    if layer == 1:
        return (12 * rate // hz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * rate // hz + padding


def _begins(data: bytes, k: int, *, whole: int) -> bool:
    """Whether a frame begins at byte k, and others of its kind, or nothing, follow it: more where k is not 0."""
    kind = _kind(data[k : k + _HEAD]) if data[k] == 0xFF else None
    if kind is None:
        return False
    if k == 0 and _frame_length(data) >= whole:
        return True
    for _ in range(4 if k else 1):
        k += _frame_length(data[k : k + _HEAD])
        if _kind(data[k : k + _HEAD]) != kind:
            return False
    return True


def _tag_at(frame: bytes) -> int:
    """Place of the tag in a frame; 0 if there is none."""
    places = [k for k in _TAG_PLACES if frame[k : k + 4] in (b"Xing", b"Info")]
    return places[0] if places else (36 if frame[36:40] == b"VBRI" else 0)


def _announced(frame: bytes) -> int | None:
    """Number of frames in the tag of the first one; None if there is none."""
    place = _tag_at(frame)
    if frame[place : place + 4] == b"VBRI":
        return int.from_bytes(frame[place + 14 : place + 18], "big")
    has_frames = place and len(frame) >= place + 12 and frame[place + 7] & 1
    return int.from_bytes(frame[place + 8 : place + 12], "big") if has_frames else None


def behind_id3(file: BinaryIO, position: int) -> int:
    """Position behind the ID3v2 tags that begin here."""
    while True:
        file.seek(position)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return position
        position += 10 + sum((byte & 127) << 7 * k for k, byte in enumerate(head[9:5:-1])) + 10 * (head[5] >> 4 & 1)


def behind_tags(file: BinaryIO, position: int, stop: int) -> int:
    """Position behind all tags and zeros that begin here."""
    while position < stop and (behind := _behind_tags(file, position, stop)) > position:
        position = behind
    return position


def _behind_tags(file: BinaryIO, position: int, stop: int) -> int:
    """Position behind the tag or the zeros that begin here."""
    file.seek(position)
    head = file.read(32)
    if head[:3] == b"ID3":
        return behind_id3(file, position)
    if head[:11] == b"LYRICSBEGIN":
        file.seek(position)
        sizes = re.search(rb"LYRICS(?:200|END)", block := file.read(_SEARCHED))
        return position + (sizes.end() if sizes else len(block))
    if head[:3] == b"TAG":
        return position + 128
    if head[:8] == b"APETAGEX":
        if len(head) < 32:  # cut
            return stop
        return position + 32 * (head[23] >> 7) + int.from_bytes(head[12:16], "little")
    if head[:1] == b"\0":
        file.seek(position)
        block = file.read(_SEARCHED)
        return min(stop, position + len(block) - len(block.lstrip(b"\0")))
    return position
