"""The running app: who is served, how large an upload may be, what it leaves behind when its terminal closes."""

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from app_process import running
from tiny_bundle import project

from fsat.app import page
from fsat.app.guard import is_own

__all__ = ["project"]

SMALL = """
import signal
from fsat.app import page
from fsat.cli import main
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever pytest was started by
page.MAX_FILE_BYTES = 100_000
main()
"""
BOUNDARY = "x7"


@dataclass(frozen=True)
class Served:
    port: int
    folders: Path

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def upload(self, n_bytes: int, **headers: str) -> int:
        form = 'Content-Disposition: form-data; name="files"; filename="a.wav"\r\nContent-Type: audio/wav'
        body = f"--{BOUNDARY}\r\n{form}\r\n\r\n".encode() + bytes(n_bytes) + f"\r\n--{BOUNDARY}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.ask("POST", "/gradio_api/upload", body, **kind, **headers)[0]


@pytest.fixture(scope="module")
def served(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The command, behind proxies that do not exist; at the end its terminal closes."""
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    folders = tmp_path_factory.mktemp("tmp")
    left = folders / "fsat-app-left"
    left.mkdir()
    (left / "upload.wav").touch()
    os.utime(left, (0, 0))
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"), "socks5://127.0.0.1:9")
    environment = proxies | {"no_proxy": "", "NO_PROXY": ""}
    with running(SMALL, project / "data" / "bundle", folders, end=signal.SIGHUP, **environment) as port:
        assert not left.exists()
        yield Served(port, folders)


def test_other_pages_and_other_names_are_refused(served: Served) -> None:
    own = f"127.0.0.1:{served.port}"
    assert served.ask("GET", "/")[0] == served.ask("GET", "/", Host=f"localhost:{served.port}")[0] == 200
    assert served.ask("GET", "/", Host="evil.example")[0] == 403
    [folder] = served.folders.glob("fsat-app-*")
    assert served.upload(50_000, Origin="https://evil.example") == served.upload(50_000, Origin="null") == 403
    assert not [path for path in folder.rglob("*") if path.is_file()]
    assert served.upload(50_000, Origin=f"http://{own}") == 200
    assert served.upload(200_000) == 413


@pytest.mark.parametrize(
    ("host", "origin", "own"),
    [
        ("127.0.0.1:7860", "", True),
        ("[::1]:7860", "http://[::1]:7860", True),
        (f"{socket.gethostname().upper()}:7860", "", True),
        ("192.168.7.7:7860", "http://192.168.7.7:7860", True),
        ("localhost:7860", "http://localhost:8888", False),
        ("localhost.evil.example", "", False),
        ("", "", False),
        ("[::1", "", False),
        ("localhost:7860", "http://[", False),
    ],
)
def test_whose_request_it_is(host: str, origin: str, own: bool) -> None:
    assert is_own({b"host": host.encode()} | ({b"origin": origin.encode()} if origin else {})) == own


def test_folders_of_living_processes_and_links_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "fsat-app-link").symlink_to(tmp_path / "mine")
    with page._uploads() as living:
        for name in ("fsat-app-dead", Path(living).name):
            (tmp_path / name).mkdir(exist_ok=True)
            os.utime(tmp_path / name, (0, 0))
        with page._uploads():
            assert Path(living).is_dir() and not (tmp_path / "fsat-app-dead").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fsat-app-link", "mine"]
