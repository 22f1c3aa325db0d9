"""Who may ask: the right host and origin, the token, a body within its limit; headers of answers.

A page of another site that is open in the same browser can send requests to 127.0.0.1, and a name
that it controls can be made to point there. So the name that was asked for is checked (Host), and
who asks (Origin and Sec-Fetch-Site).
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlencode

from dafm_core.serve.limits import Limits, Refused

Scope: TypeAlias = Any
Receive: TypeAlias = Any
Send: TypeAlias = Any

COOKIE: Final = "dafm-token"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """ASGI middleware in front of everything.

    Parameters
    ----------
    app : ASGI application
    hosts : collection of str
        Names under which the service may be asked, without port.
    token : str or None
        What a request must bring, as ``Authorization: Bearer``, as a cookie, or once in the address
        of the page.
    limits : Limits
    """

    def __init__(
        self, app: Any, *, hosts: Collection[str], token: str | None, limits: Limits
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._token = token
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        try:
            self._check_sender(scope, headers)
            if self._token is not None and not self._has_token(headers):
                if await self._welcomed(scope, send):
                    return
                raise Refused(401, "token: expected the one that dafm serve printed.")
            receive = self._counted(headers, receive)
            await self._app(scope, receive, _with_headers(send))
        except Refused as refused:
            await _answer(send, refused)

    def _check_sender(self, scope: Scope, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if _without_port(host) not in self._hosts:
            raise Refused(403, "host: this service is not asked for by that name (--allow-host).")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"{s}://{host.lower()}" for s in _SCHEMES}:
            raise Refused(403, "origin: pages of other sites may not ask this service.")
        navigates = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if foreign and not (navigates and scope["path"] == "/"):
            raise Refused(403, "origin: pages of other sites may not ask this service.")

    def _has_token(self, headers: dict[str, str]) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip() if kind.lower() == "bearer" else ""
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        return any(
            hmac.compare_digest(value.encode(), (self._token or "").encode())
            for value in (given, cookie.value if cookie else "")
            if value
        )

    async def _welcomed(self, scope: Scope, send: Send) -> bool:
        """Give the cookie to who opens the page with the token in its address."""
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(pairs).get("token", "")
        if scope["path"] != "/" or not hmac.compare_digest(
            given.encode(), (self._token or "").encode()
        ):
            return False
        rest = urlencode([(key, value) for key, value in pairs if key != "token"])
        cookie = f"{COOKIE}={given}; HttpOnly; SameSite=Strict; Path=/"
        headers = {"location": "/?" + rest if rest else "/", "set-cookie": cookie, **HEADERS}
        await _start(send, 303, headers, b"")
        return True

    def _counted(self, headers: dict[str, str], receive: Receive) -> Receive:
        """Return what gives the body, until it is too long."""
        limit, taken = self._limits.body_bytes, 0
        reason = f"request: expected at most {limit} bytes. Send fewer or smaller images."
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit:
            raise Refused(413, reason)

        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.seconds
        is_whole = False

        async def counted() -> Any:
            nonlocal taken, is_whole
            try:
                left = None if is_whole else max(0.0, end - loop.time())
                message = await asyncio.wait_for(receive(), left)
            except TimeoutError:
                late = f"request: not all of it came within {self._limits.seconds:g} seconds."
                raise Refused(408, late) from None
            taken += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if taken > limit:
                raise Refused(413, reason)
            return message

        return counted


_SCHEMES: Final = ("http", "https")


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()


def _with_headers(send: Send) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            present = {name for name, _ in message["headers"]}
            more = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
            message["headers"] = [
                *message["headers"],
                *((k, v) for k, v in more if k not in present),
            ]
        await send(message)

    return sending


async def _answer(send: Send, refused: Refused) -> None:
    import json

    body = json.dumps({"error": refused.reason}).encode()
    headers = {"content-type": "application/json", **refused.headers, **HEADERS}
    if refused.status == 408:
        headers["connection"] = "close"  # the rest of it may still come
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    await _start(send, refused.status, headers, body)


async def _start(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
