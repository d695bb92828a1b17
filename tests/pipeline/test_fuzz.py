"""Mutated clips, tables and parameter files: each is read or refused with a message, without a traceback or a hang.

`FSAT_FUZZ=4 pytest tests/pipeline/test_fuzz.py` for four times as many, `FSAT_FUZZ_SEED` for others.
"""

import contextlib
import io
import os
import random
import shutil
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fsat.clips import audio
from fsat.clips.index import scan
from fsat.core import files, params
from fsat.core.errors import FsatError

ROOT = Path(__file__).parents[2]
TIMES = int(os.environ.get("FSAT_FUZZ", "1"))
SEED = int(os.environ.get("FSAT_FUZZ_SEED", "20180629"))
N_CLIPS, N_TABLES, N_PARAMS, N_FFMPEG = 650 * TIMES, 100 * TIMES, 300 * TIMES, 50 * TIMES


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSAT_JOBS", "1")


@contextmanager
def no_hang(seconds: int, what: str) -> Iterator[None]:
    """Fail if the body takes longer; a signal interrupts Python code and system calls."""

    def stop(*_: object) -> None:
        raise TimeoutError(what)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# Bytes and numbers that parsers stumble over.
SPECIAL_BYTES = b"\x00|\xff|\x7f|\x80|RIFF|WAVE|fmt |data|LIST|\xff\xfe|\xef\xbb\xbf".split(b"|")
TAILS = (b"APETAGEX\xd0\x07\0\0", b"ID3\x03\0\0", b"\xff\xfb\x90\x64\0\0", b"\xff\xf1\x50\x80", b"OggS\0\x02", b"TAG")
SPECIAL_SIZES = [0, 1, 2, 3, 7, 8, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]


def mutate(data: bytes, rng: random.Random, *, head: int) -> bytes:
    """Spoil one to four places, most of them among the first `head` bytes."""
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        limit = head if rng.random() < 0.7 else len(spoilt)
        place = rng.randrange(max(1, min(limit, len(spoilt))))
        match rng.randrange(8):
            case 0:
                spoilt[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del spoilt[place : place + rng.choice([1, 2, 4, 50])]
            case 2:
                spoilt[place:place] = rng.choice(SPECIAL_BYTES)
            case 3:
                size, n_bytes = rng.choice(SPECIAL_SIZES), rng.choice([2, 4])
                spoilt[place : place + n_bytes] = size.to_bytes(4, rng.choice(["little", "big"]))[:n_bytes]
            case 4:
                del spoilt[place:]
            case 5:
                spoilt[place:place] = spoilt[place : place + rng.choice([4, 8, 30])] * rng.choice([1, 3])
            case 6:
                spoilt += rng.choice(TAILS)
            case 7:
                del spoilt[-rng.randint(1, 700) :]
    return bytes(spoilt)


def clip_bytes() -> list[bytes]:
    """A short clip in each of the formats that matter."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 600)
    clips = []
    for container, subtype, channels, rate in [
        *(("WAV", "PCM_16", 1, 44100), ("WAV", "PCM_16", 2, 48000), ("WAV", "PCM_24", 1, 44100)),
        *(("WAV", "FLOAT", 1, 22050), ("WAV", "ULAW", 1, 8000), ("WAV", "MS_ADPCM", 1, 44100)),
        *(("WAVEX", "PCM_16", 6, 44100), ("RF64", "PCM_16", 1, 44100), ("W64", "PCM_16", 1, 44100)),
        *(("AIFF", "PCM_16", 1, 44100), ("FLAC", "PCM_16", 1, 44100)),
        *(("OGG", "VORBIS", 1, 44100), ("MP3", "MPEG_LAYER_III", 1, 44100)),
    ]:
        stream = io.BytesIO()
        samples = np.repeat(noise[:, None], channels, axis=1)
        soundfile.write(stream, samples, rate, format=container, subtype=subtype)
        clips.append(stream.getvalue())
    return clips


def test_mutated_clips(tmp_path: Path) -> None:
    """Four in five are WAV. A clip is either good, with sane numbers, or has a problem; the scan names the bad ones."""
    rng = random.Random(SEED)
    originals = clip_bytes()
    wavs, others = originals[:8], originals[8:]
    folder = tmp_path / "sounds"
    for place, label in enumerate(("Cello", "Oboe")):
        (folder / label).mkdir(parents=True)
        for number in range(N_CLIPS // 2):
            data = rng.choice(wavs if rng.random() < 0.8 else others)
            (folder / label / f"{number:04d}.wav").write_bytes(mutate(data, rng, head=64))
        (folder / label / "good.wav").write_bytes(originals[place])
    with no_hang(60, "index scan of mutated clips"):
        index = scan(folder, bad_clips="skip")
    bad, good = index.facts["train"]["bad"], len(index.table)
    assert bad + good == N_CLIPS + 2
    assert bad > N_CLIPS / 4  # the mutations bite ...
    assert good > N_CLIPS / 50  # ... and do not kill everything
    assert index.table["sample_rate"].between(audio.MIN_RATE, audio.MAX_RATE).all()
    assert index.table["channels"].between(1, 1024).all()
    assert index.table["seconds"].between(0, audio.MAX_SECONDS, inclusive="right").all()
    for path in index.table["path"]:
        assert np.isfinite(audio.load(folder / path, 44_100)).all()
    files.write_csv(tmp_path / "index.csv", index.table)
    assert len(files.read_csv(tmp_path / "index.csv")) == good
    repeated = sum("same bytes and different labels" in note for note in index.notes)
    with pytest.raises(FsatError, match=f"{bad + repeated} problems"):
        scan(folder)


def test_mutated_files_that_ffmpeg_decodes(tmp_path: Path) -> None:
    """Read in whole and in blocks with one result, or refused with one line."""
    encoded = pytest.importorskip("encoded", reason="the extra `formats` is not installed").encoded
    rng = random.Random(SEED)
    originals = [encoded(name, 0.3) for name in ("m4a", "webm", "mp3", "wma", "aac")]
    path, n_read = tmp_path / "clip", 0
    for number in range(N_FFMPEG):
        path.write_bytes(mutate(rng.choice(originals), rng, head=rng.choice([64, 600, 4000])))
        with no_hang(20, f"file {number}"):
            info = audio.probe(path)
            assert "\n" not in info.problem
            n_read += not info.problem
            with contextlib.suppress(audio.AudioError):
                assert sum(map(len, audio.stream(path, 44_100))) > 0 and not info.problem
    assert 0 < n_read < N_FFMPEG


TABLE = "fname,label,manually_verified,freesound_id,license,fold,group\n" + "".join(
    f"{name}.wav,{label},1,{number},CC0,{number % 2},g{number}\n"
    for number, (name, label) in enumerate([("a", "Cello"), ("b", "Cello"), ("c", "Oboe"), ("d", "Oboe")])
)
TABLE_WORDS = [
    *(",", ";", "\t", '"', "\n", "\r", "\r\n", "\0", "\\", "'", " ", "../", "/", "C:\\", "~", "%s", "{}", "=1+1"),
    *("None", "nan", "NaN", "-1", "1e400", "\u202e", "\u0301", "\ufeff", "\U0001f3bb", "\x85", "\u2028", "a.wav"),
    *("fname", "label", "x" * 300, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")),
]


def mutate_text(text: str, words: list[str], rng: random.Random) -> bytes:
    """Insert words, and drop, double, swap or cut lines; now and then spoil bytes as well."""
    for _ in range(rng.randint(1, 4)):
        lines = text.splitlines(keepends=True) or [""]
        line = rng.randrange(len(lines))
        place = rng.randrange(len(text) + 1)
        match rng.randrange(6):
            case 0 | 1:
                text = text[:place] + rng.choice(words) + text[place:]
            case 2:
                text = text[:place] + rng.choice(words) + text[place + rng.choice([1, 3, 10]) :]
            case 3:
                del lines[line]
                text = "".join(lines)
            case 4:
                lines.insert(rng.randrange(len(lines) + 1), lines[line])
                text = "".join(lines)
            case 5:
                text = text[:place]
    data = text.encode("utf-8")
    return mutate(data, rng, head=len(data)) if data and rng.random() < 0.2 else data


def test_mutated_tables(tmp_path: Path) -> None:
    """The scan gives an index that can be written and read, or an FsatError."""
    rng = random.Random(SEED)
    folder = tmp_path / "sounds"
    (folder / "audio_train").mkdir(parents=True)
    for name, data in zip("abcd", clip_bytes(), strict=False):
        (folder / "audio_train" / f"{name}.wav").write_bytes(data)
    shutil.copytree(folder / "audio_train", folder / "audio_test")
    refused = 0
    for number in range(N_TABLES):
        train = mutate_text(TABLE, TABLE_WORDS, rng)
        (folder / "train.csv").write_bytes(train)
        (folder / "test.csv").write_bytes(mutate_text(TABLE, TABLE_WORDS, rng) if number % 2 else TABLE.encode())
        with no_hang(10, f"table {train!r}"):
            try:
                index = scan(folder, bad_clips=rng.choice(["fail", "skip"]))
            except FsatError as error:
                str(error).encode()  # can be printed
                refused += 1
                continue
        "\n".join(index.notes).encode()
        files.write_json(tmp_path / "data.json", index.facts)
        files.write_csv(tmp_path / "index.csv", index.table)
        again = files.read_csv(tmp_path / "index.csv")
        assert again["fname"].tolist() == index.table["fname"].tolist(), train
        assert again["label"].fillna("").tolist() == index.table["label"].tolist(), train
        assert all((folder / path).resolve().is_relative_to(folder) for path in index.table["path"]), train
    assert N_TABLES / 3 < refused < N_TABLES


PARAMS_WORDS = [
    *(": ", "- ", "\n", "  ", "\t", "#", "&a ", "*a", "!!", "!!python/object/apply:os.system ", "{", "}", "[", "]"),
    *("null", "true", "on", "-1", "0", "1e400", ".nan", ".inf", "1e-05", "0x" + "f" * 4000, "9" * 5000, "2001-99-99"),
    *("'", '"', "<<: ", "? ", "---\n", "...\n", "%YAML 9.9\n", "\0", "\ufeff", "\u2028", "mel:\n", "seed: 1\n"),
    *("|\n", "x" * 300),
]


def test_mutated_parameter_files(tmp_path: Path) -> None:
    """The file gives parameters, or an FsatError."""
    rng = random.Random(SEED)
    text = (ROOT / "params.yaml").read_text()
    # Comments hide a mutation.
    text = "".join(f"{line.split('#')[0].rstrip()}\n" for line in text.splitlines() if line.split("#")[0].strip())
    path = tmp_path / "params.yaml"
    path.write_text(text)
    params.read(path)
    refused = 0
    for _ in range(N_PARAMS):
        data = mutate_text(text, PARAMS_WORDS, rng)
        path.write_bytes(data)
        with no_hang(10, f"parameters {data!r}"), warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                params.read(path)
            except FsatError as error:
                str(error).encode()
                refused += 1
    assert refused > N_PARAMS / 2
