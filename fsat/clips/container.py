"""How to read a sound file, as its header says: by which decoder, which bytes, and whether it is whole."""

import io
import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

# How a sound file begins; long enough that other bytes are not taken for it.
BEGINNING = re.compile(
    rb"(?:RIFF|RF64|RIFX|FORM).{4}(?:WAVE|AVI |AIF[FC]|8SVX)|fLaC[\x00\x80]\x00\x00\x22|OggS\x00\x02"
    rb"|\x00\x00.{2}ftyp[ -~]{4}|\x1a\x45\xdf\xa3[\x80-\xff\x01].{0,16}\x42[\x82\x86\xf7]"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11|caff\x00\x01|FLV\x01[\x01\x04\x05]\0\0\0\x09|TTA1[\x01\x02]\x00|wvpk.{4}[\x00-\x10]\x04",
    re.DOTALL,
)
# Each beginning holds one of these; looking for them first is several times as fast.
_MARKS = (
    *(b"RIFF", b"RF64", b"RIFX", b"FORM", b"fLaC", b"OggS", b"ftyp", b"caff", b"FLV\x01", b"TTA1", b"wvpk"),
    *(b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75"),
)


def beginning_in(block: bytes) -> int:
    """Where a sound file begins in a block of bytes; -1 if none does."""
    found = BEGINNING.search(block) if any(mark in block for mark in _MARKS) else None
    return found.start() if found else -1


@dataclass(frozen=True)
class Container:
    """How to read a file."""

    kind: str = ""  # name of a format that libsndfile does not read, or does not read rightly
    problem: str = ""  # what the header announces and the file lacks; what is there may still be decoded
    content: io.RawIOBase | None = None  # to decode in place of the file: a part of it, or it with a right header


class Excerpt(io.RawIOBase):
    """Pieces of a file, each from one byte to another, and bytes of ours as one file, by the file's own handle."""

    def __init__(self, file: BinaryIO, *pieces: tuple[int, int] | bytes) -> None:
        self._file, self._pieces, self._position = file, pieces, 0
        lengths = (len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
        self._starts = list(accumulate(lengths, initial=0))

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """As files do."""
        self._position = max(0, offset + (0, self._position, self._starts[-1])[whence])
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer, which decoders expect, from as many pieces as it takes."""
        n = 0
        while n < len(buffer) and self._position < self._starts[-1]:
            k = bisect_right(self._starts, self._position) - 1
            piece, offset, n_wanted = self._pieces[k], self._position - self._starts[k], len(buffer) - n
            if isinstance(piece, bytes):
                data = piece[offset : offset + n_wanted]
            else:
                self._file.seek(piece[0] + offset)
                data = self._file.read(min(n_wanted, piece[1] - piece[0] - offset))
            if not data:
                break
            buffer[n : n + len(data)] = data
            n += len(data)
            self._position += len(data)
        return n
