"""The report in real headless Chromium: what a reader can click, hear, filter and decide."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import tiny_run

from fsat.clips import corrections
from fsat.report import page as report_page

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp, which comes with dvc, drives the browser")
import browser  # noqa: E402 - needs aiohttp

pytestmark = pytest.mark.skipif(not browser.CHROMIUM, reason="no Chromium: `apt-get install chromium` runs these tests")

CARDS = "document.querySelectorAll('#labels .clip')"
PRESSED = (
    "[...document.querySelectorAll('#labels .choice [aria-pressed=true]')]"
    ".map(button => [button.closest('.clip').dataset.key, button.dataset.action, button.dataset.label || ''])"
)


async def read(page: browser.Page) -> None:
    """Cells list their clips, players have sound and a picture, a search hides cards, a phone needs no scrolling."""
    cells: Any = await page.run(
        "[...document.querySelectorAll('.confusion:not([hidden]) .cell')].map(cell => {"
        " cell.dispatchEvent(new MouseEvent('click', {bubbles: true}));"
        " return [cell.getAttribute('aria-label'), document.querySelectorAll('.picked li').length]; })"
    )
    assert len(cells) > 4 and all(int(words.split(" of ")[0]) == n_listed for words, n_listed in cells)
    await page.run("document.querySelector('.confusion:not([hidden]) .cell[tabindex=\"0\"]').focus()")
    await page.press("ArrowRight")
    await page.press("Enter")
    chosen = await page.run("document.activeElement.getAttribute('aria-label')")
    assert await page.run("document.querySelectorAll('.picked li').length") == int(chosen.split(" of ")[0])
    players: Any = await page.run(
        "(async () => { const found = []; for (const button of document.querySelectorAll('.clip .play')) {"
        "  button.click(); const audio = button.querySelector('audio');"
        "  await new Promise((done, fail) => { if (audio.readyState >= 2) done();"
        "   audio.addEventListener('loadeddata', done);"
        "   audio.addEventListener('error', () => fail(audio.error.message)); });"
        "  await button.querySelector('img').decode();"
        "  found.push([audio.duration, button.closest('.clip').dataset.key]);"
        " } return found; })()"
    )
    media: Any = await page.run("JSON.parse(document.getElementById('data').textContent).media")
    assert len(players) > 8 and all(seconds == pytest.approx(media[key]["s"], abs=0.15) for seconds, key in players)
    search = "(text => { const box = document.querySelector('#labels .tools input[type=search]');"
    search += " box.value = text; box.dispatchEvent(new Event('input')); })"
    await page.run(f"{search}('DABEL')")
    n_all = await page.run(f"{CARDS}.length")
    assert 0 < await page.run("document.querySelectorAll('#labels .clip:not([hidden])').length") < n_all
    await page.run(f"{search}('')")
    await page.view(width=320, height=844, mobile=True)
    assert await page.run("document.documentElement.scrollWidth") <= 320


async def decide(page: browser.Page) -> list[list[str]]:
    """By mouse, the first clip is dropped; by keys, the second gets a label, the third is kept. Over a reload."""
    keys = await page.run(f"[...{CARDS}].map(card => card.dataset.key)")
    await page.run(f"{CARDS}[0].querySelectorAll('.choice button')[1].click()")
    await page.run("document.querySelector('#labels .clip .play').focus()")
    for key in ("n", "3", "n", "1"):
        await page.press(key)
    await page.run("document.querySelector('.deciding input').focus()")
    for letter in "n1":  # no keys of ours in a text field
        await page.call("Input.insertText", text=letter)
    before: list[list[str]] = await page.run(PRESSED)
    assert [row[:2] for row in before] == [[keys[0], "drop"], [keys[1], "relabel"], [keys[2], "verify"]]
    await page.call("Page.reload")
    await page.until(f"document.readyState == 'complete' && {PRESSED}.length == 3")
    assert await page.run(PRESSED) == before
    await page.run("document.querySelector('.deciding [data-do=save]').click()")
    return before


def test_a_reader_looks_listens_and_decides(tmp_path: Path) -> None:
    """On a run with hostile names; the saved file is read, checked and applied as `stages.folds` does it."""
    run = tiny_run.make_run(tmp_path / "run", labels=tiny_run.HOSTILE, n_per_label=18)
    (tmp_path / "index.html").write_text(report_page.build(run, listed=50).html, encoding="utf-8")
    saved = tmp_path / "saved" / "corrections.csv"

    async def session() -> list[list[str]]:
        async with browser.page(tmp_path / "profile") as page:
            await page.open(tmp_path / "index.html")
            await page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(saved.parent))
            await read(page)
            decisions = await decide(page)
            for _ in range(100):
                if saved.is_file():
                    break
                await asyncio.sleep(0.05)
            assert page.complaints == [] and await page.run("window.pwned") is None
            assert all(url.startswith(("data:", "file:", "blob:")) for url in page.requests)
            return decisions

    decisions = asyncio.run(session())
    rows = corrections.check(corrections.read(saved), run.index, path="saved")
    assert [(f"train/{row.fname}", row.action, row.label) for row in rows] == [tuple(row) for row in decisions]
    assert {row.by for row in rows} == {"n1"}
