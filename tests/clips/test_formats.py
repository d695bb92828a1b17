"""Untidy headers, crashed recorders, joined and cut files, and formats that libsndfile does not read."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("av", reason="the extra `formats` is not installed")

import av

from encoded import FORMATS, encoded
from fsat.clips import audio, ffmpeg
from fsat.clips.chunks import Order

RATE = 44_100


def tone(rate: int = RATE) -> np.ndarray:
    """One second, with noise."""
    noise = np.random.default_rng(0).normal(size=rate)
    return 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate) + 0.05 * noise


def sound(kind: str, subtype: str = "PCM_16", rate: int = RATE) -> bytes:
    """One second."""
    content = io.BytesIO()
    soundfile.write(content, tone(rate), rate, format=kind, subtype=subtype)
    return content.getvalue()


WAV, AIFF, CAF, AU, W64, FLAC = (sound(kind) for kind in ("WAV", "AIFF", "CAF", "AU", "W64", "FLAC"))
OGG, TAGGED_MP3, MP3 = sound("OGG", "VORBIS"), sound("MP3", "MPEG_LAYER_III"), encoded("mp3")
N_BYTES = 2 * RATE
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
LONG = sound("FLAC", rate=300_000)
BWF = WAV[:4] + (len(WAV) + 602).to_bytes(4, "little") + WAV[8:36]
BWF += b"bext" + (602).to_bytes(4, "little") + bytes(602) + WAV[36:]
NOISE = np.random.default_rng(5).bytes(5000)
LYRICS = b"LYRICSBEGININD0000200" + b"LYR05000" + b"[00:01]words and words\r\n" * 210 + b"005030LYRICS200"
APE = b"APETAGEX" + (2000).to_bytes(4, "little") + (40).to_bytes(4, "little") + bytes(24)
ID3V1, ID3V2 = b"TAG" + b"x" * 125, b"ID3\3\0\0\0\0\0\x0a" + bytes(10)
COVER = b"ID3\3\0\0\0\0\x7d\0" + 32 * (MP3[:4] + NOISE[:496])  # holds what looks like frames
LISTED = WAV + b"LIST\4\0\0\0INFO"
PAUSE = b"\x44" + bytes(5) + b"\x7c"  # of AMR: comfort noise, nothing
ULAW = sound("WAV", "ULAW", 8_000)


def sized(content: bytes, size: int, *, order: Order = "little", name: bytes = b"data", width: int = 4) -> bytes:
    """Another size for a chunk."""
    at = content.index(name) + len(name)
    return content[:at] + (size % 256**width).to_bytes(width, order) + content[at + width :]


def flac_total(content: bytes, total: int) -> bytes:
    """Another number of samples in STREAMINFO."""
    word = int.from_bytes(content[18:26], "big") >> 36 << 36 | total
    return content[:18] + word.to_bytes(8, "big") + content[26:]


def voc(block: int = 1 << 20) -> bytes:
    """Creative Voice in blocks: one with a header, others that go on."""
    pcm = WAV[44:]
    form = RATE.to_bytes(4, "little") + b"\x10\1\4\0" + bytes(4)
    parts = [
        b"\x09",
        form + pcm[:block],
        *(p for k in range(block, len(pcm), block) for p in (b"\2", pcm[k : k + block])),
    ]
    sizes = [len(part).to_bytes(3, "little") for part in parts[1::2]]
    blocks = b"".join(kind + size + part for kind, size, part in zip(parts[::2], sizes, parts[1::2], strict=True))
    return b"Creative Voice File\x1a\x1a\0\x14\x01\x1f\x11" + blocks + b"\0"


def rf64(announced: int) -> bytes:
    """An RF64 whose ds64 holds zeros."""
    ds64 = b"ds64" + (28).to_bytes(4, "little") + bytes(28)
    return b"RF64" + b"\xff" * 4 + b"WAVE" + ds64 + sized(WAV, announced)[12:]


def riff_with(inner: bytes) -> bytes:
    """An MP3 in a RIFF container, with a chunk behind it."""
    form = b"\x55\0\1\0" + RATE.to_bytes(4, "little") + b"\0" * 8 + b"\x0c\0" + b"\0" * 12
    chunks = b"fmt " + len(form).to_bytes(4, "little") + form + b"data" + len(inner).to_bytes(4, "little") + inner
    chunks += b"\0" * (len(inner) % 2) + b"fact" + b"\4\0\0\0" + b"\0\1\0\0"
    return b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WAVE" + chunks


def without_end_flag(content: bytes) -> bytes:
    """An Ogg file whose last page is no end of stream, with the checksum of Ogg: reversed bits for zlib."""
    at = content.rindex(b"OggS")
    page = bytearray(content[at:])
    page[5] &= ~4
    page[22:26] = bytes(4)
    crc = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    page[22:26] = crc.to_bytes(4, "big").translate(REVERSED)
    return content[:at] + bytes(page)


def with_gaps(webm: bytes) -> bytes:
    """Without ten packets in a row, five times."""
    content = io.BytesIO()
    with av.open(io.BytesIO(webm), "r") as given, av.open(content, "w", format="webm") as file:
        track = file.add_stream_from_template(given.streams.audio[0])
        for number, packet in enumerate(given.demux(given.streams.audio[0])):
            if packet.dts is not None and number % 80 < 70:
                packet.stream = track
                file.mux(packet)
    return content.getvalue()


def without_second_page(content: bytes) -> bytes:
    at = [k for k in range(len(content)) if content[k : k + 4] == b"OggS"]
    return content[: at[2]] + content[at[3] :]


READ: dict[str, tuple[bytes, float]] = {
    **{name: (encoded(name), 1) for name in FORMATS},
    "video.m4a": (encoded("m4a", video=True), 1),
    **{f"size {size:x}.wav": (sized(WAV, size), 1) for size in (
        *(0, 0x7FFFEFD4, 0x7FFFF000, 0x7FFFF024, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF - 44, 0xFFFFFFFF),
        *(N_BYTES + 36, N_BYTES + 44, 44, N_BYTES // 2),
    )},
    "size 0, 24 bit.wav": (sized(sound("WAV", "PCM_24"), 0), 1),
    "list behind.wav": (LISTED, 1),
    "a tenth more.wav": (sized(ULAW, 7_100), 1),
    "of sox.aiff": (sized(AIFF, 0x7F000008, name=b"SSND", order="big"), 1),
    "pause.amr": (encoded("amr") + PAUSE, 1),
    "cover between.mp3": (MP3 + COVER + MP3, 2),
    "cover between, tagged.mp3": (TAGGED_MP3 + COVER + TAGGED_MP3, 2),
    "text behind.m4a": (encoded("m4a") + b"words " * 900, 1),
    "tag with a small size.mp3": (ID3V2 + NOISE + MP3, 1),
    "called pcm.wav": (riff_with(MP3).replace(b"\x55\0\1\0", b"\1\0\1\0", 1), 1),
    "cut list behind.wav": (WAV + b"LIST\0\1\0\0INFO" + b"x" * 100, 1),
    "tag behind.wav": (WAV + ID3V1, 1),
    "zeros behind.wav": (WAV + bytes(5000), 1),
    "size 0.aiff": (sized(AIFF, 0, name=b"SSND"), 1),
    "half.aiff": (sized(AIFF, RATE, name=b"SSND", order="big"), 1),
    "form 0.aiff": (sized(AIFF, 0, name=b"FORM"), 1),
    "open.caf": (sized(CAF, -1, width=8), 1),
    "half.caf": (sized(CAF, RATE, width=8, order="big"), 1),
    "open.au": (AU[:8] + b"\xff" * 4 + AU[12:], 1),
    "zero.au": (AU[:8] + b"\0" * 4 + AU[12:], 1),
    "in a wav.wav": (riff_with(MP3), 1),
    "tagged in a wav.wav": (riff_with(TAGGED_MP3), 1),
    **{f"head of a frame behind.{name}": (content + bytes.fromhex("fffb90640000"), 1)
       for name, content in {"wav": WAV, "ogg": OGG, "m4a": encoded("m4a")}.items()},
    **{f"cut ape behind.{name}": (content + b"APETAGEX\xd0\x07\0\0", 1)
       for name, content in {"mp3": MP3, "m4a": encoded("m4a"), "voc": voc()}.items()},
    "wrong suffix.wav": (encoded("m4a"), 1),
    "wav.raw": (WAV, 1),
    "wav.mp3": (WAV, 1),
    "tagged and id3v1.mp3": (TAGGED_MP3 + ID3V1, 1),
    "id3v1.mp3": (MP3 + ID3V1, 1),
    "zeros behind.mp3": (MP3 + bytes(3000), 1),
    "both without a tag.mp3": (MP3 + MP3, 2),
    "both with a tag.mp3": (TAGGED_MP3 + TAGGED_MP3, 2),
    "with and without.mp3": (TAGGED_MP3 + MP3, 2),
    "without and with.mp3": (MP3 + TAGGED_MP3, 2),
    "joined.aac": (encoded("aac") * 2, 2),
    **{f"id3v1.{name}": (encoded(name) + ID3V1, 1) for name in ("m4a", "wma", "avi", "ts")},
    "no end.ogg": (without_end_flag(OGG), 1),
    "no end.opus": (without_end_flag(sound("OGG", "OPUS", 48_000)), 1),
    "vbri.mp3": (MP3[:4] + bytes(32) + b"VBRI" + bytes(MP3.index(MP3[:2], 4) - 40) + MP3, 1),
    "size with a long header.wav": (sized(BWF, len(BWF)), 1),
    "chained.ogg": (OGG * 3, 3),
    "unknown.flac": (flac_total(FLAC, 0), 1),
    "unknown and tag.flac": (flac_total(FLAC, 0) + ID3V1, 1),
    "half.flac": (flac_total(FLAC, RATE // 2), 1),
    "joined.flac": (FLAC + FLAC, 2),
    **{f"{tail} behind.{name}": (content + behind, 1)
       for tail, behind in {"byte": b"A", "ape": APE + ID3V1, "lyrics": LYRICS + ID3V1, "text": b"words " * 900,
                            "noise": NOISE, "zeros": bytes(5000)}.items()
       for name, content in {"aac": encoded("aac"), "mp3": MP3, "tagged.mp3": TAGGED_MP3,
                             "unknown.flac": flac_total(FLAC, 0)}.items()},
    "short total.flac": (flac_total(FLAC, RATE - 1), 1),
    "size unknown.rf64": (rf64(0xFFFFFFFF), 1),
    "size in 32 bits.rf64": (rf64(N_BYTES), 1),
    "a.voc": (voc(), 1),
    "blocks.voc": (voc(4096), 1),
    **{f"id3 in front.{name}": (ID3V2 + content, 1) for name, content in
       {"flac": FLAC, "wav": sized(WAV, 0), "aac": encoded("aac"), "mp3": TAGGED_MP3, "tagless.mp3": MP3}.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_is_there_is_read_to_its_end(name: str, tmp_path: Path) -> None:
    content, seconds = READ[name]
    path = tmp_path / name
    path.write_bytes(content)
    info = audio.probe(path)
    assert info.problem == ""
    assert info.seconds == pytest.approx(seconds, abs=0.05 * (1 + seconds))
    x = audio.load(path, RATE)
    n_streamed = sum(map(len, audio.stream(path, RATE)))
    assert len(x) == n_streamed == pytest.approx(info.seconds * RATE, abs=1)
    middle = x[RATE // 4 :][: RATE // 2]
    assert np.abs(np.fft.rfft(middle)).argmax() / len(middle) * RATE == pytest.approx(440, abs=4)


A_FILE = {
    "wav": WAV,
    "flac": FLAC,
    "ogg": OGG,
    "mp3": TAGGED_MP3,
    "m4a": encoded("m4a"),
    "webm": encoded("webm"),
    "aac": encoded("aac"),
}
CUT = r"(truncated|damaged).*\d+ (of \d+|samples)"
REFUSED: dict[str, tuple[bytes, str]] = {
    **{f"cut.{name}": ((whole := encoded(name))[: -min(700, len(whole) // 3)], CUT) for name in FORMATS},
    "fragment.mp3": (MP3[:-100], r"truncated: ends inside an MPEG frame, after \d+ of \d+ bytes"),
    "cut and tagged.mp3": (TAGGED_MP3[: len(TAGGED_MP3) // 2], r"truncated: \d+ of \d+ MPEG frames"),
    "hole.mp3": (MP3[:4000] + b"\1" * 9000 + MP3[4000:], r"damaged: \d+ bytes in no MPEG frame follow byte \d+"),
    "cut in a wav.wav": (riff_with(MP3)[:5000], r"truncated: \d+ of \d+ bytes of samples"),
    "last byte.wav": (WAV[:-1], rf"truncated: {N_BYTES - 1} of {N_BYTES} bytes of samples"),
    "half.wav": (WAV[: len(WAV) // 2], rf"truncated: {len(WAV) // 2 - 44} of {N_BYTES} bytes of samples"),
    "id3 in front.wav": (ID3V2 + WAV[: len(WAV) // 2], rf"truncated: {len(WAV) // 2 - 44} of {N_BYTES} bytes"),
    "cut in a header.aac": (encoded("aac") + encoded("aac")[:3], r"truncated: .* after 3 of 7 bytes"),
    "cut a little.aac": (encoded("aac")[:-5], r"truncated: ends inside an MPEG frame, after \d+ of \d+ bytes"),
    "hole.aac": (
        encoded("aac")[:4000] + NOISE + encoded("aac")[4000:],
        r"damaged: \d+ bytes in no MPEG frame follow byte \d+",
    ),
    "cut.rf64": (rf64(N_BYTES)[:-1000], rf"truncated: {N_BYTES - 1000} of {N_BYTES} bytes of samples"),
    "cut blocks.voc": (voc(4096)[:-1000], r"truncated: \d+ of \d+ bytes of the last element"),
    "packets less.ts": ((ts := encoded("ts", 4.0))[: 188 * 100] + ts[188 * 300 :], r"damaged after \d+ samples"),
    "total and one.flac": (flac_total(LONG, 300_001), r"damaged after \d+ of 300001 samples"),
    "half.caf": (CAF[: len(CAF) // 2], CUT),
    "half.au": (AU[: len(AU) // 2], CUT),
    "half.w64": (W64[: len(W64) // 2], CUT),
    "half.voc": (voc()[: N_BYTES // 2], CUT),
    "half.avr": ((avr := sound("AVR"))[: len(avr) // 2], CUT),
    "half.nist": ((nist := sound("NIST"))[: len(nist) // 2], CUT),
    "half of unknown.flac": (flac_total(FLAC, 0)[: len(FLAC) // 2], r"damaged after 20480 samples, at byte \d+ of \d+"),
    "half.flac": (FLAC[: len(FLAC) // 2], rf"damaged after \d+ of {RATE} samples"),
    "double.flac": (flac_total(FLAC, 2 * RATE), rf"truncated: {RATE} of {2 * RATE} samples"),
    "in a page.ogg": (OGG[:-50], r"truncated: \d+ of \d+ bytes of the last Ogg page"),
    "without a page.ogg": (without_second_page(OGG), r"damaged: Ogg page 2, at byte \d+ of \d+, is lost"),
    "spoilt.ogg": (OGG[:-900] + b"12345" + OGG[-895:], r"damaged: Ogg page \d, at byte \d+ of \d+, is .*spoilt"),
    "other rate behind.ogg": (OGG + sound("OGG", "VORBIS", 16_000), r"damaged after \d+ samples"),
    "joined.wav": (WAV + WAV, "two joined files"),
    "other rate behind.mp3": (TAGGED_MP3 + sound("MP3", "MPEG_LAYER_III", 22_050), "two joined files"),
    "gaps.webm": (
        with_gaps(encoded("webm", 8.0)),
        r"damaged after \d+ samples, at byte \d+ of \d+ \(0\.\d+ s",
    ),
    "cut in its header.au": (
        AU[:4] + b"\0\0\2\0" + b"\xff" * 4 + AU[12:40],
        r"truncated: 40 of 512 bytes of the header",
    ),
    "spoilt.webm": (
        (webm := encoded("webm", 4.0))[:9_000] + bytes(500) + webm[9_500:],
        r"damaged: .* at byte \d+ of \d+",
    ),
    "hole of zeros.mp3": (MP3[:4000] + bytes(9000) + MP3[4000:], r"damaged: 9\d+ bytes in no MPEG frame"),
    "noise first.mp3": (NOISE + MP3, r"damaged: the first 5000 bytes are in no MPEG frame"),
    "spoilt unknown.flac": (
        (unknown := flac_total(FLAC, 0))[:30_000] + bytes(99) + unknown[30_099:],
        r"damaged after \d+ samples, at byte \d+ of \d+ \(0\.\d+ s are missing",
    ),
    "joined and cut.flac": (FLAC + FLAC[: len(FLAC) // 2], r"damaged after \d+ "),
    "joined behind a list.wav": (LISTED + LISTED, "two joined files"),
    "mp3 behind a list.wav": (LISTED + MP3, "two joined files"),
    "mp3 behind.au": (AU + MP3, "two joined files"),
    "mp3 behind.mp4": (encoded("m4a", video=True) + MP3, "two joined files"),
    "joined.aiff": (AIFF + AIFF, "two joined files"),
    **{
        f"{first} and {second}": (A_FILE[first] + A_FILE[second], "two joined files")
        for first in ("wav", "flac", "ogg", "mp3")
        for second in A_FILE
        if first != second
    },
    **{
        f"aac and {name}": (encoded("aac") + content, "two joined files")
        for name, content in A_FILE.items()
        if name != "aac"
    },
    "two data chunks.wav": (WAV + b"data" + (2000).to_bytes(4, "little") + bytes(2000), "two joined files"),
    **{f"joined.{name}": (encoded(name) * 2, "two joined files") for name in ("m4a", "webm", "wma", "tta", "flv")},
    "no sound.m4a": (encoded("m4a", video=True, sound=False), "no sound track: it holds video"),
    "playlist.m3u8": (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "not audio"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_part_is_refused_with_what_is_there(name: str, tmp_path: Path) -> None:
    content, reason = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content)
    for read in (audio.load, lambda *args: list(audio.stream(*args))):
        with pytest.raises(audio.AudioError, match=reason) as raised:
            read(path, RATE)
        assert raised.value.reason == audio.probe(path).problem


def test_windows_get_what_is_before_the_damage(tmp_path: Path) -> None:
    for name, content in {"a.wav": WAV, "b.flac": LONG, "c.aac": encoded("aac"), "d.mp3": MP3, "e.caf": CAF}.items():
        (tmp_path / name).write_bytes(content[: len(content) * 3 // 4 + 60])
        n = 0
        with pytest.raises(audio.AudioError):
            for block in audio.stream(tmp_path / name, RATE):
                n += len(block)
        assert 0.55 * RATE < n < 0.85 * RATE


@pytest.mark.parametrize("n_silent", [0, 1, 4_000, 83_790])
def test_a_whole_flac_is_whole_whatever_its_last_frames_hold(tmp_path: Path, n_silent: int) -> None:
    x = np.random.default_rng(3).normal(0, 0.1, 83_790)
    x[len(x) - n_silent :] = 0
    for total in (83_790, 0):
        stream = io.BytesIO()
        soundfile.write(stream, x, RATE, format="FLAC")
        (tmp_path / "a.flac").write_bytes(flac_total(stream.getvalue(), total))
        info = audio.probe(tmp_path / "a.flac")
        assert (info.problem, round(info.seconds * RATE)) == ("", 83_790)


def test_fixed_point_decoders_are_used(tmp_path: Path) -> None:
    """Samples that are whole numbers of steps: they do not depend on the processor."""
    for name, step in {"m4a": 2.0**-31, "mp3": 2.0**-15}.items():
        (tmp_path / name).write_bytes(encoded(name))
        x = audio.load(tmp_path / name, RATE).astype(np.float64)
        assert np.array_equal(x / step, np.rint(x / step))


@pytest.mark.parametrize(("name", "message"), [("m4a", "MP4"), ("mp3", "MP3 without"), ("webm", "WebM")])
def test_without_pyav_the_message_names_the_extra(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg, "is_installed", lambda: False)
    (tmp_path / name).write_bytes(encoded(name))
    problem = audio.probe(tmp_path / name).problem
    assert message in problem and "pip install '.[formats]'" in problem


def test_a_long_file_without_a_length_is_told_of_windows(tmp_path: Path) -> None:
    (tmp_path / "a.aac").write_bytes(encoded("aac"))
    with pytest.raises(audio.AudioError, match=r"longer than 0\.5 s; `fsat tag --segments` takes any"):
        list(audio.stream(tmp_path / "a.aac", RATE, max_seconds=0.5))
    assert sum(map(len, audio.stream(tmp_path / "a.aac", RATE))) > 0.9 * RATE


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (lambda x: np.zeros_like(x), audio.SILENT),
        (lambda x: np.stack([x, x], 1) * 0, audio.SILENT),
        (lambda x: np.stack([x, -x], 1), audio.CANCELLING),
        (lambda x: np.stack([x, -0.985 * x], 1), audio.CANCELLING),
        (lambda x: np.stack([x, -0.9 * x], 1), ""),
        (lambda x: np.stack([x, 0 * x], 1), ""),
        (lambda x: 1e-4 * x, ""),
    ],
)
def test_silent_and_cancelling_clips_are_noted(
    make: Callable[[np.ndarray], np.ndarray], note: str, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "clip.wav", make(tone()), RATE, subtype="FLOAT")
    assert audio.probe(tmp_path / "clip.wav").note == note
