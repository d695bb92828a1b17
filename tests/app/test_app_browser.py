"""The page of `fsat app` in real headless Chromium: files are dropped, the microphone plays, names attack."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tiny_bundle import RATE, ROOT, project, tone

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
Check = Callable[[browser.Page], Awaitable[None]]


@dataclass(frozen=True)
class Server:
    address: str
    uploads: Path
    microphone: Path


@pytest.fixture(scope="module")
def server(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("app")
    shutil.copytree(project / "data" / "bundle", folder / "bundle")
    values = json.loads((folder / "bundle" / "bundle.json").read_text())
    values["dataset"]["name"] = LABELS[0]
    (folder / "bundle" / "bundle.json").write_text(json.dumps(values | {"labels": LABELS}))
    (folder / "tmp").mkdir()
    t = np.arange(10 * RATE) / RATE
    soundfile.write(folder / "microphone.wav", 0.5 * np.sin(2 * np.pi * 900 * t), RATE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["app", "--model", str(folder / "bundle"), "--port", str(port), "--tries", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", GUARDED, *words],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder / "tmp"), "GRADIO_SHARE": "True", "GRADIO_ANALYTICS_ENABLED": "True"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == f"fsat app: http://127.0.0.1:{port} (Ctrl+C ends it)\n", process.communicate()
    try:
        yield Server(f"http://127.0.0.1:{port}/", folder / "tmp", folder / "microphone.wav")
    finally:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (output, errors, process.returncode) == ("", "", 0)
    assert list((folder / "tmp").iterdir()) == []  # uploads are gone


@pytest.fixture
def check(server: Server, tmp_path: Path) -> Callable[[Check], None]:
    """Open the page in a fresh browser with a fake microphone and let a test look at it."""
    flags = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={server.microphone}",
    )

    def look(at: Check) -> None:
        async def session() -> None:
            async with browser.page(tmp_path / "profile", *flags) as page:
                await page.open(server.address)
                # The page has settled when the microphones are listed and nothing moves any more.
                await page.until(f"{n_of('.upload-container')} && document.body.innerText.includes('Fake Audio Input')")
                where = "JSON.stringify(document.querySelector('.upload-container').getBoundingClientRect())"
                places = [await page.run(where)]
                while len(places) < 6 or len(set(places[-6:])) > 1:
                    await asyncio.sleep(0.1)
                    places.append(await page.run(where))
                await at(page)
                # Gradio's own client warns of a method it lacks; errors and exceptions are ours.
                complaints = [text for text in page.complaints if json.loads(text).get("type") != "warning"]
                assert complaints == []
                others = [url for url in page.requests if not url.startswith(("data:", "blob:", server.address))]
                assert others == []
                assert await page.run("window.pwned") is None

        asyncio.run(session())

    return look


def n_of(selector: str) -> str:
    return f"document.querySelectorAll('{selector}').length"


def test_files_are_dropped_tagged_shown_and_played(check: Callable[[Check], None], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "two.wav", np.concatenate([tone(300, 2.0), tone(4000, 2.0)]), RATE)
    soundfile.write(tmp_path / "one.aiff", tone(900, 0.5), RATE)
    (tmp_path / "bad & <b>bold.wav").write_text("no sound")

    async def look(page: browser.Page) -> None:
        await page.drop(
            [tmp_path / "two.wav", tmp_path / "bad & <b>bold.wav", tmp_path / "one.aiff"], ".upload-container"
        )
        await page.until(f"{n_of('.fsat-card')} == 2 && {n_of('.fsat-problem')} == 1 && {n_of('.fsat-waiting')} == 0")
        problem: str = await page.run("document.querySelector('.fsat-problem').innerText")
        assert problem.startswith("bad") and "not audio that can be decoded" in problem and "\n" not in problem
        names = await page.run("[...document.querySelectorAll('.fsat-card h3')].map(h => h.innerText)")
        assert names == ["two.wav", "one.aiff"]
        shown = await page.run("[...document.querySelectorAll('.fsat-name')].map(e => e.innerText)")
        assert sorted(shown) == sorted(LABELS * 2)
        assert LABELS[0] in await page.run("document.body.innerText.slice(0, 200)")
        widths: Any = await page.run(
            "[...document.querySelectorAll('.fsat-bar i')].map(e => parseFloat(e.style.width))"
        )
        assert sum(widths[:3]) == pytest.approx(100, abs=0.2) and widths[:3] == sorted(widths[:3], reverse=True)
        # Pictures and sounds have been loaded; a click in the middle seeks, and the line follows.
        images = "[...document.querySelectorAll('.fsat-figure img')].every(i => i.complete && i.naturalWidth == 900)"
        await page.until(images)
        await page.until("[...document.querySelectorAll('audio')].every(a => a.readyState >= 1)")
        lengths: Any = await page.run("[...document.querySelectorAll('.fsat-card audio')].map(a => a.duration)")
        assert lengths == [pytest.approx(6.0, abs=0.05), pytest.approx(1.5, abs=0.05)]
        figure = "document.querySelector('.fsat-figure')"
        await page.run(
            f"(b => {figure}.dispatchEvent(new MouseEvent('click', {{bubbles: true, clientX: b.x + b.width / 2}})))"
            f"({figure}.getBoundingClientRect())"
        )
        share = "parseFloat(document.querySelector('.fsat-cursor').style.left)"
        await page.until(f"Math.abs({share} - 50) < 0.5")
        await page.run(f"{figure}.focus()")
        await page.press("ArrowRight")
        await page.until(f"Math.abs({share} - 52) < 0.5")

    check(look)


def test_events_are_drawn_where_they_are_and_settings_apply(check: Callable[[Check], None], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "two.wav", np.concatenate([tone(300, 2.0), tone(4000, 2.0)]), RATE)

    async def look(page: browser.Page) -> None:
        await page.drop([tmp_path / "two.wav"], ".upload-container")
        await page.until(f"{n_of('.fsat-card')} == 1")
        await page.run("[...document.querySelectorAll('button')].find(b => b.innerText.includes('Settings')).click()")
        await page.until("[...document.querySelectorAll('button')].some(b => b.innerText == 'Tag again')")
        await page.run(
            "(box => { box.value = 0.05; box.dispatchEvent(new Event('input')); })"
            "([...document.querySelectorAll('input[type=number]')].at(-1))"
        )
        await page.run("[...document.querySelectorAll('button')].find(b => b.innerText == 'Tag again').click()")
        await page.until(f"{n_of('.fsat-event')} >= 3")
        rows: Any = await page.run(
            "[...document.querySelectorAll('.fsat-card tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
        )
        boxes: Any = await page.run(
            "(figure => [...document.querySelectorAll('.fsat-event')].map(e => ["
            " (e.getBoundingClientRect().x - figure.x) / figure.width * 6, e.innerText"
            "]))(document.querySelector('.fsat-figure').getBoundingClientRect())"
        )
        listed = sorted((float(row[0][:-2]), f"{row[2]} {row[3]}") for row in rows)
        drawn = sorted(tuple(box) for box in boxes)
        assert len(listed) == len(drawn)
        for (start, words), (x, text) in zip(listed, drawn, strict=True):
            assert x == pytest.approx(start, abs=0.05) and text == words

    check(look)


def test_the_microphone_is_recorded_and_tagged(check: Callable[[Check], None], server: Server) -> None:
    async def look(page: browser.Page) -> None:
        await page.until("!!document.querySelector('.record-button')")
        await page.run("document.querySelector('.record-button').click()")
        await asyncio.sleep(3)
        await page.run("document.querySelector('.stop-button').click()")
        await page.until(f"{n_of('.fsat-card')} == 1")
        assert await page.run(n_of(".fsat-labels li")) == 3
        source: str = await page.run("document.querySelector('.fsat-card audio').src")
        recorded, rate = soundfile.read(source.partition("file=")[2], always_2d=True)
        assert 1 < len(recorded) / rate < 10
        loudest = np.abs(np.fft.rfft(recorded[:, 0])).argmax() * rate / len(recorded)
        assert loudest == pytest.approx(900, abs=10)

    check(look)


def test_a_narrow_screen(check: Callable[[Check], None], tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"{'long' * 20}.wav", tone(300, 2.0), RATE)

    async def look(page: browser.Page) -> None:
        await page.view(width=390, height=844, mobile=True)
        await page.drop([tmp_path / f"{'long' * 20}.wav"], ".upload-container")
        await page.until(f"{n_of('.fsat-card')} == 1")
        for width in (390, 320):
            await page.view(width=width, height=844, mobile=True)
            assert await page.run("document.documentElement.scrollWidth") <= width
            wide = (
                f"[...document.querySelectorAll('.fsat-card *')].filter(e => e.getBoundingClientRect().right > {width})"
            )
            assert await page.run(f"{wide}.map(e => e.className)") == []

    check(look)
