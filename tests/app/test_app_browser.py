"""The page of `fsat app` in real headless Chromium: files are dropped and played, the microphone records."""

import asyncio
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
from app_process import running
from tiny_bundle import RATE, copied, edit, project, put, tone

pytest.importorskip("gradio", reason="the extra `app` is not installed")
pytest.importorskip("aiohttp", reason="aiohttp, which comes with dvc, drives the browser")
import browser

__all__ = ["project"]

pytestmark = [
    pytest.mark.skipif(not browser.CHROMIUM, reason="no Chromium: `apt-get install chromium` runs these tests"),
    pytest.mark.slow,
]
LABELS = ["<img src=x onerror='window.pwned=1'>", "${window.pwned=2}", "{{window.pwned=3}}</script>"]
# The command, which notes whom it talks to: nobody but this machine.
GUARDED = """
import socket, sys
def guarded(name):
    plain = getattr(socket.socket, name)
    def connect(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            print("OUTSIDE", address, file=sys.stderr, flush=True)
        return plain(self, address)
    setattr(socket.socket, name, connect)
guarded("connect"), guarded("connect_ex")
from fsat.cli import main
main()
"""


@dataclass(frozen=True)
class Server:
    address: str
    uploads: Path
    microphone: Path


@pytest.fixture(scope="module")
def server(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("app")
    bundle = copied(project, folder / "bundle")
    networks = [path.relative_to(bundle).as_posix() for path in bundle.rglob("*.onnx")]
    for name in networks:
        network = onnx.load(str(bundle / name))
        del network.metadata_props[:]  # the labels of the run
        onnx.save(network, str(bundle / name))
    edit(bundle, put("dataset.name", LABELS[0]))
    edit(bundle, put("labels", LABELS), renewed=networks)
    (folder / "tmp").mkdir()
    t = np.arange(10 * RATE) / RATE
    soundfile.write(folder / "microphone.wav", 0.5 * np.sin(2 * np.pi * 900 * t), RATE)
    uploads, microphone = folder / "tmp", folder / "microphone.wav"
    environment = {"GRADIO_SHARE": "True", "GRADIO_ANALYTICS_ENABLED": "True"}
    with running(GUARDED, folder / "bundle", uploads, "--tries", "1", end=signal.SIGINT, **environment) as port:
        yield Server(f"http://127.0.0.1:{port}/", uploads, microphone)


def n_of(selector: str) -> str:
    return f"document.querySelectorAll('{selector}').length"


async def settled(page: browser.Page) -> None:
    """Wait until the microphones are listed and nothing moves any more."""
    await page.until(f"{n_of('.upload-container')} && document.body.innerText.includes('Fake Audio Input')")
    where = "JSON.stringify(document.querySelector('.upload-container').getBoundingClientRect())"
    places = [await page.run(where)]
    while len(places) < 6 or len(set(places[-6:])) > 1:
        await asyncio.sleep(0.1)
        places.append(await page.run(where))


async def drop_and_play(page: browser.Page, paths: list[Path]) -> None:
    """Two files are tagged, shown as text and played; the third, which is no sound, is named."""
    await page.drop(paths, ".upload-container")
    await page.until(f"{n_of('.fsat-card')} == 2 && {n_of('.fsat-problem')} == 1 && {n_of('.fsat-waiting')} == 0")
    problem: str = await page.run("document.querySelector('.fsat-problem').innerText")
    assert problem.startswith("bad") and "not audio that can be decoded" in problem and "\n" not in problem
    shown = await page.run("[...document.querySelectorAll('.fsat-name')].map(e => e.innerText)")
    assert sorted(shown) == sorted(LABELS * 2)
    await page.until(
        "[...document.querySelectorAll('.fsat-figure img')].every(i => i.complete && i.naturalWidth == 900)"
    )
    await page.until("[...document.querySelectorAll('audio')].every(a => a.readyState >= 1)")
    lengths: Any = await page.run("[...document.querySelectorAll('.fsat-card audio')].map(a => a.duration)")
    assert lengths == [pytest.approx(6.0, abs=0.05), pytest.approx(1.5, abs=0.05)]
    # A click in the middle seeks, and the line follows.
    figure = "document.querySelector('.fsat-figure')"
    await page.run(
        f"(b => {figure}.dispatchEvent(new MouseEvent('click', {{bubbles: true, clientX: b.x + b.width / 2}})))"
        f"({figure}.getBoundingClientRect())"
    )
    await page.until("Math.abs(parseFloat(document.querySelector('.fsat-cursor').style.left) - 50) < 0.5")


async def record(page: browser.Page) -> None:
    """The fake microphone plays 900 Hz."""
    await page.run("document.querySelector('.record-button').click()")
    await asyncio.sleep(3)
    await page.run("document.querySelector('.stop-button').click()")
    await page.until(f"{n_of('.fsat-card')} == 1")
    source: str = await page.run("document.querySelector('.fsat-card audio').src")
    recorded, rate = soundfile.read(source.partition("file=")[2], always_2d=True)
    assert 1 < len(recorded) / rate < 10
    loudest = np.abs(np.fft.rfft(recorded[:, 0])).argmax() * rate / len(recorded)
    assert loudest == pytest.approx(900, abs=10)


def test_files_are_dropped_and_the_microphone_records(server: Server, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "two.wav", np.concatenate([tone(300, 2.0), tone(4000, 2.0)]), RATE)
    soundfile.write(tmp_path / "one.aiff", tone(900, 0.5), RATE)
    (tmp_path / "bad & <b>bold.wav").write_text("no sound")
    paths = [tmp_path / name for name in ("two.wav", "bad & <b>bold.wav", "one.aiff")]
    flags = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
             f"--use-file-for-fake-audio-capture={server.microphone}")  # fmt: skip

    async def session() -> None:
        async with browser.page(tmp_path / "profile", *flags) as page:
            await page.open(server.address)
            await settled(page)
            await drop_and_play(page, paths)
            await page.open(server.address)
            await settled(page)
            await record(page)
            # Gradio's own client warns of a method it lacks; errors and exceptions are ours.
            assert [text for text in page.complaints if json.loads(text).get("type") != "warning"] == []
            assert all(url.startswith(("data:", "blob:", server.address)) for url in page.requests)
            assert await page.run("window.pwned") is None

    asyncio.run(session())
