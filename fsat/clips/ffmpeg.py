"""Decode with FFmpeg, by PyAV, what libsndfile does not read: MP4, WebM, AAC, Windows Media, sound tracks of videos.

AAC, MP3, MP2, AC-3 and AMR are decoded in integers, so that the samples do not depend on the processor; Opus, Vorbis
and Windows Media in floats.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import av

INSTALL = "`pip install '.[formats]'`"
_FIXED = {"aac": "aac_fixed", "mp3": "mp3", "mp2": "mp2", "mp1": "mp1", "ac3": "ac3_fixed"}
_FIXED |= {"amr_nb": "libopencore_amrnb", "amr_wb": "libopencore_amrwb"}  # the others lack pauses (DTX)
_FIXED_PROFILES = (None, "LC", "HE-AAC", "HE-AACv2")  # of AAC; the fixed decoder lacks others
# Others would open files and addresses that a playlist names, or run decoders of pictures.
_FORMATS = (
    *("mov", "matroska", "asf", "avi", "aac", "mp3", "ogg", "flac", "wav", "w64", "aiff", "caf", "au", "amr"),
    *("wv", "ape", "tta", "mpegts", "flv", "voc"),
)
_CODECS = (
    *("aac", "aac_latm", "mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "ac3", "eac3", "opus", "vorbis"),
    *("flac", "alac", "wavpack", "ape", "tta", "wmav1", "wmav2", "wmapro", "wmalossless", "wmavoice", "amrnb", "amrwb"),
    *("speex", "gsm_ms", "g726", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_yamaha", "pcm_alaw"),
    *("pcm_mulaw", "pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"),
)
# Formats that announce a length, and the seconds that a codec's delay may take from it; FFmpeg guesses that of others.
_SLACK_S = {"mov": 0.1, "avi": 0.1, "caf": 0.1, "flac": 0.0, "wv": 0.0, "ape": 0.0, "tta": 0.0}
# Between a packet's time and what was decoded before it: what was there could not be read.
_GAP_S, _FLAC_GAP_S = 0.5, 0.001
_SCALES = {1: 2.0**-7, 2: 2.0**-15, 4: 2.0**-31}  # of integer samples, by their bytes


class DecodeError(Exception):
    """FFmpeg cannot read this, or cannot go on; the message says why."""


def is_installed() -> bool:
    """Whether PyAV is there."""
    return find_spec("av") is not None


@contextmanager
def opened(content: io.RawIOBase) -> Iterator["Track"]:
    """Open the sound track of a file that is open for reading; `DecodeError` if there is none that can be decoded."""
    import av

    content.seek(0)
    options = {"format_whitelist": ",".join(_FORMATS), "codec_whitelist": ",".join(_CODECS)}
    try:
        container = av.open(content, "r", options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError, OSError) as error:
        raise DecodeError(_reason(error)) from error
    with container:
        yield Track(container)


class Track:
    """A container's sound track, its first frame decoded: `sample_rate` in Hz, `channels`, about how many `seconds`."""

    def __init__(self, container: "av.container.InputContainer") -> None:
        import av

        self._container = container
        if not container.streams.audio:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise DecodeError(f"no sound track: it holds {kinds}")
        self._stream = container.streams.best("audio") or container.streams.audio[0]
        coded = self._stream.codec_context
        if coded is None or coded.name not in _CODECS:
            raise DecodeError(f"its sound is encoded as {coded.name if coded else 'unknown'}, which is not read")
        self._decoder: Any = coded
        fixed = _FIXED.get(coded.codec.canonical_name)
        if fixed and coded.profile in _FIXED_PROFILES:
            self._decoder = av.CodecContext.create(fixed, "r")
            self._decoder.extradata = coded.extradata
        self._decoder.thread_count = 1
        if coded.name == "flac":
            self._decoder.options = {"err_detect": "crccheck+explode"}
        self._format = container.format.name.split(",")[0]
        self.seconds = (container.duration or 0) / 1e6  # in formats that announce none a guess
        self._n_frames = self._place = 0
        self.sample_rate = self.channels = 0
        arrays = self._decoded()
        if (first := next(arrays, None)) is None:
            raise DecodeError("a header without samples")
        self._arrays = chain([first], arrays)

    def blocks(self, n_frames: int) -> Iterator[np.ndarray]:
        """Yield all samples, float32 (m, channels), about `n_frames` at a time; `DecodeError` where it is damaged."""
        held, n_held = list[np.ndarray](), 0
        damage = None
        try:
            for x in self._arrays:
                held.append(x)
                n_held += len(x)
                if n_held >= n_frames:
                    yield np.concatenate(held)
                    held, n_held = [], 0
        except DecodeError as error:
            damage = error
        if held:
            yield np.concatenate(held)
        if damage is not None:
            raise damage
        announced = self._announced()
        if self._n_frames + _SLACK_S.get(self._format, 0) * self.sample_rate < announced:
            raise DecodeError(f"truncated: {self._n_frames} of {announced} samples")

    def _decoded(self) -> Iterator[np.ndarray]:
        """Yield the samples of each frame, float32 (n, channels)."""
        import av

        packets, zero, before = self._container.demux(self._stream), 0.0, np.inf
        while True:
            try:
                if (packet := next(packets, None)) is None:
                    return
                self._place = self._place if packet.pos is None else packet.pos
                frames = self._decoder.decode(packet)
            except (av.FFmpegError, ValueError, OSError) as error:
                raise self._damaged(_reason(error)) from error
            if packet.is_corrupt:
                raise self._damaged("a packet is cut off")
            # These go on behind a damaged place: the times tell that something is missing.
            if self._format in ("matroska", "asf", "flac", "avi", "mpegts", "flv") and packet.pts is not None:
                at, decoded = float(packet.pts * packet.time_base), self._n_frames / max(1, self.sample_rate)
                if at <= before:  # the first packet, or that of a second stream
                    zero = (0.0 if self._format == "flac" and decoded else at) - decoded
                before, missing = at, at - zero - decoded
                delay = 2 * float((packet.duration or 0) * packet.time_base)
                if missing > (_FLAC_GAP_S if self._format == "flac" else _GAP_S + delay):
                    raise self._damaged(f"{missing:.2f} s are missing")
            for frame in frames:
                yield self._samples(frame)

    def _samples(self, frame: "av.AudioFrame") -> np.ndarray:
        x = frame.to_ndarray()
        n_channels, found = frame.layout.nb_channels, (frame.sample_rate, frame.layout.nb_channels)
        x = x.T if frame.format.is_planar else x.reshape(-1, n_channels)
        expected = (self.sample_rate, self.channels)
        if self._n_frames == 0:
            self.sample_rate, self.channels = found
        elif found != expected:
            what = "it changes from {} Hz, {} channels to {} Hz, {} channels".format(*expected, *found)
            raise self._damaged(what)
        self._n_frames += len(x)
        if x.dtype.kind == "f":
            return x.astype(np.float32)
        y = x.astype(np.float32) * np.float32(_SCALES[x.dtype.itemsize])
        return y - 1 if x.dtype == np.uint8 else y

    def _announced(self) -> int:
        """Samples that the container announces; 0 if it does not, or in a way that says little."""
        stream = self._stream
        if self._format not in _SLACK_S or stream.duration is None or stream.start_time or stream.time_base is None:
            return 0
        return round(stream.duration * stream.time_base * self.sample_rate)

    def _damaged(self, reason: str) -> DecodeError:
        announced = self._announced()
        place = f", at byte {self._place} of {self._container.size}"
        there = f" of {announced} samples" if announced else f" samples{place}"
        return DecodeError(f"damaged after {self._n_frames}{there} ({reason})")


def _reason(error: Exception) -> str:
    """The message of FFmpeg in one line, without the name of the file."""
    return str(getattr(error, "strerror", None) or error).splitlines()[0].strip().rstrip(".")
