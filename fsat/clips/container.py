"""How to read a sound file, as its header says: by which decoder, which bytes, and whether it is whole."""

import io
import re
from dataclasses import dataclass
from typing import BinaryIO

# How a sound file begins; long enough that other bytes are not taken for it.
BEGINNING = re.compile(
    rb"(?:RIFF|RF64|RIFX|FORM).{4}(?:WAVE|AVI |AIF[FC]|8SVX)|fLaC[\x00\x80]\x00\x00\x22|OggS\x00\x02"
    rb"|\x00\x00.{2}ftyp[ -~]{4}|\x1a\x45\xdf\xa3[\x80-\xff\x01].{0,16}\x42[\x82\x86\xf7]"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11|caff\x00\x01|FLV\x01[\x01\x04\x05]\0\0\0\x09|TTA1[\x01\x02]\x00|wvpk.{4}[\x00-\x10]\x04",
    re.DOTALL,
)


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
