"""A page in headless Chromium, driven over the DevTools protocol: enough of it to click, type and look."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--mute-audio"),
    *("--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0", "about:blank"),
)
_PATIENCE_S = 20.0


class Page:
    """One tab. `complaints` collects console errors, exceptions and requests beyond the page itself."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()

    async def listen(self) -> None:
        """Sort what the browser says until it hangs up."""
        async for message in self.socket:
            event = json.loads(message.data)
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
            elif event["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif event["method"] == "Network.requestWillBeSent":
                self.requests.append(event["params"]["request"]["url"])
            elif event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                self.complaints.append(json.dumps(event["params"]))

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": self._number, "method": method, "params": parameters})
        event = await asyncio.wait_for(answer, _PATIENCE_S)
        assert "error" not in event, f"{method}: {event['error']}"
        result: dict[str, Any] = event["result"]
        return result

    async def open(self, page: Path | str) -> None:
        """Open a file or an address and wait until it is loaded."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        self._loaded.clear()
        await self.call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        await asyncio.wait_for(self._loaded.wait(), _PATIENCE_S)

    async def run(self, script: str) -> Any:
        """Value of an expression of JavaScript; promises are awaited."""
        result = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in result, f"{script}: {result['exceptionDetails']}"
        return result["result"].get("value")

    async def until(self, script: str, *, patience_s: float = 3 * _PATIENCE_S) -> Any:
        """Value of an expression as soon as it is true."""
        for _ in range(int(patience_s * 10)):
            if value := await self.run(script):
                return value
            await asyncio.sleep(0.1)
        raise AssertionError(f"never true: {script}; the page says: {await self.run('document.body.innerText')}")

    async def drop(self, paths: Sequence[Path], selector: str) -> None:
        """Drag files over an element and let them go."""
        centre = "(e => { const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })"
        x, y = await self.run(f"{centre}(document.querySelector({json.dumps(selector)}))")
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    async def press(self, key: str) -> None:
        """Press and release a key, as a person at the keyboard would."""
        code = {"Enter": 13, " ": 32, "Tab": 9, "ArrowRight": 39, "ArrowDown": 40, "ArrowLeft": 37}.get(key, 0)
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **extra)

    async def view(self, *, width: int, height: int, mobile: bool) -> None:
        """Set the size of the window."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )


@asynccontextmanager
async def page(profile: Path, *flags: str) -> AsyncIterator[Page]:
    """A tab of a fresh browser that keeps its files in `profile`, started with further flags."""
    profile.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [CHROMIUM, *_FLAGS[:-1], *flags, f"--user-data-dir={profile}", _FLAGS[-1]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = profile / "DevToolsActivePort"
        for _ in range(int(_PATIENCE_S * 20)):
            if port_file.is_file() and len(port_file.read_text().splitlines()) == 2:
                break
            await asyncio.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                tabs = await answer.json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                tab = Page(socket)
                listener = asyncio.create_task(tab.listen())
                yield tab
                listener.cancel()
    finally:
        process.terminate()
        process.wait(timeout=_PATIENCE_S)
