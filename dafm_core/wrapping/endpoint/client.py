"""JSON over HTTP to a server of models: retried with back-off, several requests at a time.

The standard library does it: a POST with a time limit is all that is needed, no plugin has to
install a client, and nothing follows a redirect with somebody's key.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final

from dafm_core.errors import OptionError, ProviderError

logger = logging.getLogger(__name__)

BUSY: Final = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""Answers after which the same request may succeed."""
LONGEST_WAIT: Final = 60.0
"""Seconds between two tries at most, whatever a server asks for."""
LARGEST_ANSWER: Final = 2**28
"""Bytes."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back: status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def exchange(request: urllib.request.Request, timeout: float) -> Reply:
    """Send one request and return the reply, whatever its status.

    Raises
    ------
    OSError
        If there is none in time. The only place that touches the network.
    """
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=timeout) as answer:
            body = answer.read(LARGEST_ANSWER + 1)
            return Reply(status=answer.status, headers=_lowered(answer.headers), body=body)
    except urllib.error.HTTPError as error:
        with error:
            return Reply(
                status=error.code, headers=_lowered(error.headers), body=error.read(LARGEST_ANSWER)
            )
    except http.client.HTTPException as error:
        raise OSError(f"broken answer ({type(error).__name__})") from error


class Client:
    """One server, asked through JSON.

    Parameters
    ----------
    url : str
        ``http://HOST[:PORT]``, with or without ``/v1`` and what stands before it.
    key_env : str or None
        Variable of the environment that holds a key; without it none is sent.
    timeout : float
        Seconds to wait for an answer.
    retries : int
        Further tries after a request that failed but may succeed.
    concurrency : int
        Requests in flight at a time.
    where : str
        Start of error messages: the provider.

    Raises
    ------
    OptionError
        If one of them cannot be used; a key in the address would end in passports.
    """

    def __init__(
        self,
        url: str,
        *,
        key_env: str | None,
        timeout: float,
        retries: int,
        concurrency: int,
        where: str,
    ) -> None:
        self.url, self.where = _checked_url(url, where), where
        for name, value, least in (
            ("timeout", timeout, 0.001),
            ("retries", retries, 0),
            ("concurrency", concurrency, 1),
        ):
            if not value >= least:
                raise OptionError(
                    f"{where}: option {name!r}: expected {least} or more, got {value}."
                )
        if key_env is not None and not os.environ.get(key_env):
            raise OptionError(
                f"{where}: option 'key_env': the environment has no {key_env}. Set it to the key."
            )
        self._key_env, self._timeout = key_env, timeout
        self._retries, self._concurrency = retries, concurrency

    def post_all(
        self,
        path: str,
        payloads: Sequence[dict[str, Any]],
        on_answer: Callable[[int, dict[str, Any]], None],
    ) -> None:
        """Send every payload; tell each answer with its number as soon as it is there.

        ``on_answer`` runs in this thread, in any order. After the first failure no request is
        started; answers that still arrive are told.

        Raises
        ------
        ProviderError
            As :meth:`post`, for the first request that failed.
        """
        with ThreadPoolExecutor(self._concurrency) as pool:
            numbers = {
                pool.submit(self.post, path, payload): n for n, payload in enumerate(payloads)
            }
            waiting, failed = set(numbers), None
            while waiting:
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
                for future in done:
                    if future.cancelled():
                        continue
                    if error := future.exception():
                        failed = failed or error
                        for other in waiting:
                            other.cancel()
                    else:
                        on_answer(numbers[future], future.result())
            if failed:
                raise failed

    def post(self, path: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON object that a server answers to ``url/path``.

        Raises
        ------
        ProviderError
            If it refuses, stays busy or silent through all retries, or answers something else.
        """
        request = self._request(path, payload)
        for attempt in range(self._retries + 1):
            try:
                reply = exchange(request, self._timeout)
            except OSError as error:
                problem, pause = f"no answer ({getattr(error, 'reason', error) or error})", None
            else:
                if reply.status < 300:
                    return self._content(reply)
                problem = f"answer {reply.status} ({_words(reply.body)})"
                pause = reply.headers.get("retry-after")
                if reply.status not in BUSY:
                    raise ProviderError(
                        f"{self.where}: {request.full_url}: expected an answer, got {problem}. "
                        "Check address, model and key."
                    )
            if attempt < self._retries:
                seconds = _pause(attempt, pause)
                logger.info("%s: %s; again in %.1f s", self.where, problem, seconds)
                time.sleep(seconds)
        raise ProviderError(
            f"{self.where}: {request.full_url}: expected an answer, got {problem} in "
            f"{self._retries + 1} tries. What was answered is kept: repeat the command later."
        )

    def _request(self, path: str, payload: dict[str, Any]) -> urllib.request.Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key_env is not None:
            headers["Authorization"] = f"Bearer {os.environ.get(self._key_env, '')}"
        body = json.dumps(payload, allow_nan=False).encode()
        return urllib.request.Request(  # noqa: S310  # http and https only, see _checked_url
            f"{self.url}/{path}", data=body, headers=headers, method="POST"
        )

    def _content(self, reply: Reply) -> dict[str, Any]:
        try:
            content = json.loads(reply.body)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise ProviderError(
                f"{self.where}: {self.url}: expected a JSON object, got {_words(reply.body)}. "
                "Is this the address of an OpenAI-compatible server?"
            )
        return content


def _checked_url(url: str, where: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OptionError(
            f"{where}: option 'endpoint': expected http://HOST or https://HOST, got {url!r}."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise OptionError(
            f"{where}: option 'endpoint': expected an address alone. Give a key in a variable of "
            "the environment, as --set key_env=NAME."
        )
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith('/v1') else path + '/v1'}"


def _pause(attempt: int, asked: str | None) -> float:
    """Return seconds until the next try: what the server asks for, else twice as long each time."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(asked or "")))
    except ValueError:  # no such header, or a date
        return float(min(LONGEST_WAIT, 2.0**attempt))


def _words(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return repr(text[:120]) if text else "nothing"


def _lowered(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
