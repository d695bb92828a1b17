"""The page: what Gradio shows, and what happens when a file is dropped or a recording ends."""

import contextlib
import fcntl
import ipaddress
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsat.app import cards
from fsat.app.guard import Guard
from fsat.app.sounds import Sound, examine
from fsat.core.errors import FsatError
from fsat.tagger.results import Failed
from fsat.tagger.tagger import MIN_SEGMENT_S, Tagger

if TYPE_CHECKING:
    import gradio as gr

FIRST_PORT, N_PORTS = 7860, 100
MAX_FILES = 100
MAX_FILE_BYTES = 1_100_000_000  # an hour at 48 kHz, 24 bits, two channels
_ENDED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FOLDERS = "fsat-app-"
_YOUNG_S = 60  # a folder younger than this may be about to be locked
_TOP = 5
_OLD_S = 3600  # uploads older than this are removed


def build(tagger: Tagger) -> "gr.Blocks":
    """The page of one bundle, not yet served; `FsatError` if Gradio is not installed."""
    gr = _gradio()
    labels, dataset = tagger.manifest.labels, tagger.manifest.dataset
    top = min(_TOP, len(labels))

    def tag(paths: str | Sequence[str] | None, *settings: float) -> Iterator[str]:
        options = dict(zip(("top", "segment_s", "hop_s", "threshold"), settings, strict=True))
        yield from tagged(tagger, [paths] if isinstance(paths, str) else paths or [], **options)  # type: ignore[arg-type]

    def tag_all(paths: Sequence[str] | None, recording: str | None, *settings: float) -> Iterator[str]:
        yield from tag([*(paths or []), *([recording] if recording else [])], *settings)

    with gr.Blocks(title="fsat", analytics_enabled=False, delete_cache=(_OLD_S, _OLD_S)) as page:
        gr.HTML(
            f"<h1>fsat</h1><p>{len(labels)} labels, learned from {cards.escaped(dataset.name)}"
            f"{' (synthetic sounds)' if dataset.synthetic else ''}. Sounds stay on this machine.</p>"
        )
        with gr.Row():
            dropped = gr.File(label="Sound files", file_count="multiple", type="filepath", height=160)
            recorded = gr.Audio(label="Microphone", sources=["microphone"], type="filepath", format="wav")
        with gr.Accordion("Settings", open=False), gr.Row():
            shown = gr.Slider(1, min(20, len(labels)), value=top, step=1, label="Labels shown")
            segment = gr.Number(2.0, label="Window, seconds", minimum=MIN_SEGMENT_S)
            hop = gr.Number(1.0, label="From window to window, seconds", minimum=MIN_SEGMENT_S)
            threshold = gr.Slider(0.05, 1, value=0.5, step=0.05, label="Least probability of an event")
            again = gr.Button("Tag again")
        found = gr.HTML(elem_id="fsat-found", js_on_load=None, apply_default_css=False)
        settings = [shown, segment, hop, threshold]
        how = {"outputs": found, "show_progress": "minimal", "api_visibility": "private"}
        dropped.upload(tag, [dropped, *settings], **how)
        recorded.stop_recording(tag, [recorded, *settings], **how)
        again.click(tag_all, [dropped, recorded, *settings], **how)
    return page


def tagged(
    tagger: Tagger, paths: Sequence[str], *, top: int, segment_s: float, hop_s: float, threshold: float
) -> Iterator[str]:
    """Yield the page of results, longer with every file; what is wrong is one line in it."""
    if not paths:
        yield cards.message("Nothing to tag: drop files or record something.")
        return
    if len(paths) > MAX_FILES:
        yield cards.message(f"{len(paths)} files are too many for a page ({MAX_FILES} at most): `fsat tag FOLDER`.")
        return
    found: list[Sound | Failed] = []
    for number, path in enumerate(paths, start=1):
        try:
            found.append(examine(tagger, path, segment_s=segment_s, hop_s=min(hop_s, segment_s), threshold=threshold))
        except (FsatError, TypeError) as error:  # TypeError: a field for a number was left empty
            yield cards.message(str(error) if isinstance(error, FsatError) else "Settings: a number is missing.")
            return
        yield cards.results(found, top=int(top), n_waiting=len(paths) - number)


def serve(tagger: Tagger, *, host: str, port: int | None) -> None:
    """Serve the page until the process is interrupted, terminated or loses its terminal; then uploads are deleted.

    From the main thread: it handles SIGINT, which a shell's background processes ignore, SIGTERM, and SIGHUP unless
    `nohup` had it ignored. `FsatError` if Gradio is not installed, the port is taken, or the host is none of this
    machine's.
    """
    chosen = _free_port(host, port)
    for ended_by in _ENDED_BY:
        if ended_by != signal.SIGHUP or signal.getsignal(ended_by) != signal.SIG_IGN:
            signal.signal(ended_by, signal.default_int_handler)
    with _uploads() as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        page = build(tagger)
        from starlette.middleware import Middleware  # Gradio's

        here = files("fsat.app")
        try:
            page.queue(api_open=False).launch(
                server_name=host,
                server_port=chosen,
                app_kwargs={"middleware": [Middleware(Guard)]},
                max_file_size=MAX_FILE_BYTES,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                footer_links=[],
                ssr_mode=False,
                mcp_server=False,
                enable_monitoring=False,
                run_history=False,
                pwa=False,
                css=here.joinpath("page.css").read_text(encoding="utf-8"),
                js=here.joinpath("page.js").read_text(encoding="utf-8"),
            )
            print(f"fsat app: http://{host}:{chosen} (Ctrl+C ends it)", flush=True)
            while page.is_running:
                time.sleep(0.1)
        except KeyboardInterrupt:
            pass  # the way to end it
        finally:
            for ended_by in _ENDED_BY:
                signal.signal(ended_by, signal.SIG_IGN)  # a second signal would leave the uploads
            page.close(verbose=False)


@contextlib.contextmanager
def _uploads() -> Iterator[str]:
    """A temporary folder, locked as long as this process lives; what dead processes left is removed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDERS}*"):
        with contextlib.suppress(OSError):  # somebody else's, or in use
            facts = left.lstat()
            if facts.st_uid == os.getuid() and time.time() - facts.st_mtime > _YOUNG_S:
                with _locked(left):
                    shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_FOLDERS, ignore_cleanup_errors=True) as folder, _locked(folder):
        yield folder


@contextlib.contextmanager
def _locked(folder: str | Path) -> Iterator[None]:
    """Lock a folder; `OSError` if another process has locked it. The system unlocks it when the process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _gradio() -> Any:
    """Gradio, told before it is imported that nothing is to be reported to anybody, and no proxy to be asked."""
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    os.environ |= {"no_proxy": "*", "NO_PROXY": "*"}  # the page is on this machine
    try:
        import gradio
    except ImportError as error:
        raise FsatError(f"fsat app needs {error.name}: `pip install '.[app]'`.") from error
    return gradio


def _free_port(host: str, port: int | None) -> int:
    """The port if nobody has it, or the first free one from `FIRST_PORT`."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError as error:
        raise FsatError(f"--host must be an address, such as 127.0.0.1. Got {host}.") from error
    reason = "all are taken"
    for number in [port] if port is not None else range(FIRST_PORT, FIRST_PORT + N_PORTS):
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((host, number))
            except OSError as error:
                reason = str(error.strerror)
                continue
            return number
    raise FsatError(f"--port: no page can be served at {host}, port {port or FIRST_PORT} ({reason}).")
