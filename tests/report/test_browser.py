"""The report in real headless Chromium: what a reader can click, type, hear and see."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_run

from fsat.clips import corrections
from fsat.report import page as report_page

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp, which comes with dvc, drives the browser")
import browser  # noqa: E402 - needs aiohttp

pytestmark = pytest.mark.skipif(not browser.CHROMIUM, reason="no Chromium: `apt-get install chromium` runs these tests")

Check = Callable[[browser.Page], Awaitable[None]]


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Check], None]:
    """Open the report of a run with hostile names in a fresh browser and let a test look at it."""
    folder = tmp_path_factory.mktemp("browser")
    run = tiny_run.make_run(folder / "run", labels=tiny_run.HOSTILE, n_per_label=18)
    (folder / "index.html").write_text(report_page.build(run, listed=50).html, encoding="utf-8")
    count = iter(range(99))

    def look(at: Check) -> None:
        async def session() -> None:
            async with browser.page(folder / f"profile{next(count)}") as page:
                await page.open(folder / "index.html")
                await at(page)
                assert page.complaints == []
                others = [url for url in page.requests if not url.startswith(("data:", "file:"))]
                assert others == [] and sum(url.startswith("file:") for url in page.requests) == 1
                assert await page.run("window.pwned") is None

        asyncio.run(session())

    return look


def test_cells_list_their_clips_by_mouse_and_keyboard(check: Callable[[Check], None]) -> None:
    async def look(page: browser.Page) -> None:
        cells: Any = await page.run(
            "[...document.querySelectorAll('.confusion:not([hidden]) .cell')].map(cell => {"
            " cell.dispatchEvent(new MouseEvent('click', {bubbles: true}));"
            " return [cell.getAttribute('aria-label'), document.querySelectorAll('.picked li').length,"
            "  document.querySelector('.picked h3').textContent];"
            "})"
        )
        assert len(cells) > 4
        for words, n_listed, title in cells:
            assert int(words.split(" of ")[0]) == n_listed
            assert f"{n_listed} clip" in title
        # By keyboard: one cell is reached by Tab, arrows go on to others, Enter lists.
        await page.run("document.querySelector('.confusion:not([hidden]) .cell[tabindex=\"0\"]').focus()")
        first = await page.run("document.activeElement.getAttribute('aria-label')")
        await page.press("ArrowRight")
        second = await page.run("document.activeElement.getAttribute('aria-label')")
        assert second != first
        assert await page.run("document.getElementById('tip').textContent") == second
        assert await page.run("document.querySelectorAll('.confusion:not([hidden]) .cell[tabindex=\"0\"]').length") == 1
        await page.press("Enter")
        assert await page.run("document.activeElement.getAttribute('aria-pressed')") == "true"
        assert await page.run("document.querySelectorAll('.picked li').length") == int(second.split(" of ")[0])
        # The other clips.
        await page.run("document.querySelector('input[name=confusion-set][value=heldout]').click()")
        shown = await page.run("document.querySelector('.confusion:not([hidden])').dataset.split")
        assert shown == "heldout"

    check(look)


def test_names_of_the_matrix_end_where_its_cells_begin(check: Callable[[Check], None]) -> None:
    async def look(page: browser.Page) -> None:
        sides: Any = await page.run(
            "[...document.querySelectorAll('.confusion:not([hidden]) .name[data-row]')].map(name => {"
            " const cells = name.closest('svg').querySelector('.field');"
            " return [name.getBoundingClientRect().right, cells.getBoundingClientRect().left];"
            "})"
        )
        assert len(sides) == len(tiny_run.HOSTILE)
        assert all(0 <= left - right < 12 for right, left in sides)

    check(look)


def test_every_player_has_sound_and_one_plays_at_a_time(check: Callable[[Check], None]) -> None:
    async def look(page: browser.Page) -> None:
        players: Any = await page.run(
            "(async () => { const found = [];"
            " const sounds = () => [...document.querySelectorAll('audio')].filter(audio => !audio.paused).length;"
            " for (const button of document.querySelectorAll('.clip .play')) {"
            "  button.click(); const audio = button.querySelector('audio');"
            "  await new Promise((done, fail) => { if (audio.readyState >= 2) done();"
            "   audio.addEventListener('loadeddata', done);"
            "   audio.addEventListener('error', () => fail(audio.error.message)); });"
            "  const picture = button.querySelector('img'); await picture.decode();"
            "  found.push([audio.duration, audio.readyState, picture.naturalWidth,"
            "   button.closest('.clip').dataset.key, sounds()]);"
            " } return found; })()"
        )
        media: Any = await page.run("JSON.parse(document.getElementById('data').textContent).media")
        assert len(players) > 8
        for duration, ready, width, key, n_playing in players:
            assert duration == pytest.approx(media[key]["s"], abs=0.15)
            assert ready >= 2 and width > 1 and n_playing <= 1

    check(look)


def test_filters_sorting_and_switches(check: Callable[[Check], None]) -> None:
    async def look(page: browser.Page) -> None:
        async def shown(section: str) -> int:
            return int(await page.run(f"document.querySelectorAll('#{section} .clip:not([hidden])').length"))

        n_all = await page.run("document.querySelectorAll('#labels .clip').length")
        assert await shown("labels") == 8 < n_all
        await page.run("document.querySelector('#labels .more button').click()")
        assert await shown("labels") == n_all
        await page.run(
            "(() => { const box = document.querySelector('#labels .tools input[type=search]');"
            " box.value = 'DABEL'; box.dispatchEvent(new Event('input')); })()"
        )
        assert 0 < await shown("labels") < n_all
        assert f"of {n_all} clips" in await page.run("document.querySelector('#labels .found').textContent")
        await page.run("document.querySelector('#labels .tools input[type=checkbox]').click()")
        verified = "document.querySelectorAll('#labels .clip:not([hidden])[data-verified=yes]').length"
        assert await page.run(verified) == 0

        column = (
            "[...document.querySelectorAll('[data-value=test] [data-sortable] tbody tr')]"
            ".map(row => Number(row.cells[1].dataset.sort))"
        )
        head = "document.querySelectorAll('[data-value=test] [data-sortable] thead th')[1]"
        await page.run(f"{head}.querySelector('button').click()")
        up = await page.run(column)
        assert up == sorted(up) and await page.run(f"{head}.getAttribute('aria-sort')") == "ascending"
        await page.run(f"{head}.querySelector('button').click()")
        assert await page.run(column) == sorted(up, reverse=True)
        await page.run(
            "(() => { const box = document.querySelector('[data-filter=classes]');"
            " box.value = 'onerror'; box.dispatchEvent(new Event('input')); })()"
        )
        assert (
            await page.run("document.querySelectorAll('[data-value=test] .classes tbody tr:not([hidden])').length") == 1
        )

        await page.run("document.querySelector('input[name=metric][value=map3]').click()")
        assert await page.run("document.querySelector('.pair:not([hidden])').dataset.value") == "map3"
        await page.run("document.querySelector('.pair:not([hidden]) .curves').focus()")
        await page.press("ArrowRight")
        await page.press("ArrowRight")
        words = await page.run("document.activeElement.querySelector('.readout').innerText")
        assert "epoch 2" in words and "fold 0" in words and "fold 2" in words

    check(look)


def test_decisions_are_kept_and_saved_as_corrections_that_fit(tmp_path: Path) -> None:
    """By mouse and by keyboard, over a reload; the file is read, checked and applied as `stages.folds` does it."""
    run = tiny_run.make_run(tmp_path / "run", labels=tiny_run.HOSTILE, n_per_label=18)
    (tmp_path / "index.html").write_text(report_page.build(run, listed=50).html, encoding="utf-8")
    found = "document.querySelector('.deciding output').textContent"
    pressed = (
        "[...document.querySelectorAll('#labels .choice [aria-pressed=true]')]"
        ".map(button => [button.closest('.clip').dataset.key, button.dataset.action, button.dataset.label || ''])"
    )
    focused = "document.activeElement.closest('.clip').dataset.key"

    async def session() -> None:
        async with browser.page(tmp_path / "profile") as page:
            await page.open(tmp_path / "index.html")
            await page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
            assert await page.run("document.querySelector('.deciding [data-do=save]').disabled")
            assert "0 of" in await page.run(found)
            # By mouse: the first clip is dropped, kept, dropped again.
            first = "document.querySelectorAll('#labels .clip')[0].querySelectorAll('.choice button')"
            for button in (1, 0, 1):
                await page.run(f"{first}[{button}].click()")
            # By keyboard: next, a label; next, keep; next, drop and undo;
            # then past the eighth clip, where the short list ends.
            keys = await page.run("[...document.querySelectorAll('#labels .clip')].map(card => card.dataset.key)")
            await page.run("document.querySelector('#labels .clip .play').focus()")
            for key in ("n", "3", "n", "1", "n", "2", "2"):
                await page.press(key)
            assert await page.run(focused) == keys[3]
            await page.press("b")
            assert await page.run(focused) == keys[2]
            for _ in range(6):
                await page.press("n")
            assert await page.run(focused) == keys[8] and not await page.run(
                "document.querySelectorAll('#labels .clip')[8].hidden"
            )
            await page.press("p")
            await page.run("new Promise(done => setTimeout(done, 200))")
            assert await page.run("document.querySelectorAll('#labels .clip')[8].querySelector('audio') !== null")
            await page.run("document.querySelector('.deciding input').focus()")
            for letter in "n1":  # no keys of ours in a text field
                await page.call("Input.insertText", text=letter)
            before = await page.run(pressed)
            assert [row[:2] for row in before] == [[keys[0], "drop"], [keys[1], "relabel"], [keys[2], "verify"]]
            assert "3 of" in await page.run(found)
            await page.call("Page.reload")
            await page.run("new Promise(done => setTimeout(done, 1000))")
            assert await page.run(pressed) == before
            assert await page.run("document.querySelector('.deciding input').value") == "n1"
            await page.run("document.querySelector('.deciding [data-do=save]').click()")
            for _ in range(100):
                if (tmp_path / "saved" / "corrections.csv").is_file():
                    break
                await asyncio.sleep(0.05)
            await page.run("document.querySelector('.deciding [data-do=clear]').click()")
            assert await page.run(pressed) == [] and "0 of" in await page.run(found)
            assert page.complaints == [] and await page.run("window.pwned") is None

        saved = corrections.read(tmp_path / "saved" / "corrections.csv")
        assert {row.by for row in saved} == {"n1"}
        checked = corrections.check(saved, run.index, path="saved")
        assert [(f"train/{row.fname}", row.action, row.label) for row in checked] == [tuple(row) for row in before]

    asyncio.run(session())


def test_dark_light_and_phone(check: Callable[[Check], None], tmp_path: Path) -> None:
    async def look(page: browser.Page) -> None:
        backgrounds = []
        for dark in (False, True):
            await page.view(width=1280, height=900, dark=dark)
            backgrounds.append(await page.run("getComputedStyle(document.body).backgroundColor"))
        assert backgrounds == ["rgb(252, 252, 250)", "rgb(21, 24, 28)"]
        for width in (390, 320):
            await page.view(width=width, height=844, mobile=True)
            assert await page.run("document.documentElement.scrollWidth") <= width
            sizes = (
                "[...document.querySelectorAll('main p, td, h2')].map(e => parseFloat(getComputedStyle(e).fontSize))"
            )
            assert min(await page.run(sizes)) >= 12
        await page.picture(tmp_path / "phone.png")
        assert (tmp_path / "phone.png").stat().st_size > 10_000

    check(look)
