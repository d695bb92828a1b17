"""A server on this machine that behaves, and misbehaves, like real ones."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Server:
    """What the server has, how it misbehaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    break_after: int | None = None  # bytes of a body, then the connection closes
    breaks: int = 0  # how often
    answers: list[int] = field(default_factory=list)  # statuses of the next requests, instead of a file
    redirect: str | None = None
    wrong_range: bool = False
    announces: bool = True  # how long a body is
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def asked_ranges(self) -> list[str | None]:
        return [requested for _, requested in self.requests]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, requested = self.path, self.headers.get("Range")
            state.requests.append((path, requested))
            if state.redirect:
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.end_headers()
                return
            if state.answers:
                self.send_error(state.answers.pop(0))
                return
            body = state.files.get(path)
            if body is None:
                self.send_error(404)
                return
            start = 0
            if requested and state.ranges:
                start = int(requested.removeprefix("bytes=").removesuffix("-"))
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.end_headers()
                    return
                self.send_response(206)
                said = start + 1 if state.wrong_range else start
                self.send_header("Content-Range", f"bytes {said}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            if state.announces:
                self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if state.breaks and state.break_after is not None and len(body) - start > state.break_after:
                state.breaks -= 1
                self.wfile.write(body[start : start + state.break_after])
                return
            self.wfile.write(body[start:])

        def log_message(self, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()
