"""Who may talk to the page: nobody by a foreign name, and no other page."""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Guard:
    """ASGI middleware that answers 403 to requests which `is_own` refuses, before anything of them is read."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] == "lifespan" or is_own(dict(scope["headers"])):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"fsat app: only its own page may ask for this\n"})


def is_own(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request goes to this machine by a name of its own, and no other page made it.

    A name that a stranger's server resolves to this machine (DNS rebinding) is refused; an address is no name. Browsers
    say in ``Origin`` which page makes a request.
    """
    host, origin = (headers.get(name, b"").decode("latin-1").lower() for name in (b"host", b"origin"))
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if origin and urlsplit(origin).netloc != host:
            return False
    except ValueError:
        return False
    here = socket.gethostname().lower()
    return name in {"localhost", here, f"{here}.local"} or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
