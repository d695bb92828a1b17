"""What the page shows of one file: labels of the whole, events of its windows, its spectrogram, a sound to play."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from fsat.app import spectrogram
from fsat.clips import audio
from fsat.tagger.events import Event, events_of
from fsat.tagger.results import Failed, Tagged
from fsat.tagger.tagger import Tagger

# Formats and encodings of samples that every browser plays; a file of another one is played from a copy.
_PLAYED = {
    "WAV": {"PCM_U8", "PCM_16", "PCM_24", "FLOAT"},
    "WAVEX": {"PCM_U8", "PCM_16", "PCM_24", "FLOAT"},
    "FLAC": {"PCM_S8", "PCM_16", "PCM_24"},
    "OGG": {"VORBIS", "OPUS"},
    "MP3": {"MPEG_LAYER_III"},
}
_COPY_RATE = 48_000  # Hz; the highest rate of a copy


@dataclass(frozen=True)
class Sound:
    """One file as the page shows it."""

    whole: Tagged  # the file as a whole
    events: Sequence[Event]  # of its windows, by start
    image: str  # spectrogram as data URI
    player: Path  # what a browser plays: the file itself, or a copy beside it


def examine(tagger: Tagger, path: str, *, segment_s: float, hop_s: float, threshold: float) -> Sound | Failed:
    """Tag a file as a whole and in windows, and make what is seen and heard of it.

    A file that is no longer than a window is one window. A file that cannot be read, or changes meanwhile, has failed.
    `FsatError` if a number is out of range.
    """
    [whole] = tagger.tag_files([path])
    if isinstance(whole, Failed):
        return whole
    is_one_window = whole.end_s <= segment_s
    windows = [whole] if is_one_window else tagger.tag_files([path], segment_s=segment_s, hop_s=hop_s)
    events: list[Event] = []
    for event in events_of(windows, threshold, hop_s=hop_s):
        if isinstance(event, Failed):
            return event
        if isinstance(event, Event):
            events.append(event)
    p, bank = tagger.manifest.preprocessing, tagger.filters.mel
    try:
        image = spectrogram.draw(path, whole.end_s, sample_rate=p.audio.sample_rate, settings=p.mel, bank=bank)
        player = _playable(path)
    except audio.AudioError as error:
        return Failed(path, error.reason)
    return Sound(whole, events, image, player)


def _playable(path: str) -> Path:
    """The file, or a FLAC copy beside it, in mono."""
    try:
        rate, form, encoding = audio.header(path)
    except audio.AudioError as error:
        raise audio.AudioError(path, "changed while it was read") from error
    if encoding in _PLAYED.get(form, ()):
        return Path(path)
    rate = min(rate, _COPY_RATE)
    copy = Path(path).with_name(Path(path).name + ".play.flac")
    part = copy.with_name(copy.name + ".part")
    with soundfile.SoundFile(part, "w", rate, 1, format="FLAC", subtype="PCM_16") as stream:
        for block in audio.stream(path, rate):
            stream.write(np.clip(block, -1, 1))
    part.replace(copy)
    return copy
