"""The service: what each address answers. Limits, guards and fields stand in files of their own."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dafm_core.errors import AlignmentError, DafmError, ImageError, ProviderError
from dafm_core.search.requests import Request, filter_columns
from dafm_core.search.search import Search
from dafm_core.serve.batching import BUSY, MOST, Batcher
from dafm_core.serve.fields import count_of, judgement_of, one_of, text_of
from dafm_core.serve.guard import LOOPBACK, Guard
from dafm_core.serve.judging import Judgements
from dafm_core.serve.known import KnownQueries
from dafm_core.serve.limits import Limits, Refused
from dafm_core.serve.openapi import described
from dafm_core.serve.pictures import LARGEST, THUMBNAIL, save_upload, shown

logger = logging.getLogger(__name__)

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""How a system says that a disk has no room."""
PAGE: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
FORMS: Final = ("multipart/form-data", "application/x-www-form-urlencoded")
TEXT_FIELDS: Final = ("text", "k", "filter", "explain")
YES_OR_NO: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
SIZES: Final = {"thumbnail": THUMBNAIL, "full": LARGEST}


class Service:
    """A search behind HTTP.

    Parameters
    ----------
    search : Search
    known : KnownQueries, optional
    judgements : Judgements, optional
    limits : Limits
    """

    def __init__(
        self,
        search: Search,
        *,
        known: KnownQueries | None = None,
        judgements: Judgements | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.search = search
        self.known = known
        self.judgements = judgements
        self.limits = limits or Limits()
        self._batchers = {
            explain: Batcher(partial(search.batch, explain=explain), self.limits)
            for explain in (True, False)
        }
        self._n_asked = 0

    def app(self, *, hosts: Collection[str] = LOOPBACK, token: str | None = None) -> Guard:
        """Return the ASGI application, guarded."""
        routes = [Route(path, _file(*file)) for path, file in PAGE.items()]
        routes += [
            Route("/search", self._answered(self.ask), methods=["POST"]),
            Route("/images/{image_id:path}", self._answered(self.image)),
            Route("/gallery", self._answered(self.gallery)),
            Route("/queries", self._answered(self.queries)),
            Route("/judgements", self._answered(self.judged)),
            Route("/judgements", self._answered(self.judge), methods=["POST"]),
            Route("/health", self._answered(self.health)),
            Route("/openapi.json", self._answered(self.openapi)),
        ]
        app = Starlette(
            routes=routes, lifespan=self._alive, exception_handlers={HTTPException: _http_error}
        )
        return Guard(app, hosts=hosts, token=token, limits=self.limits)

    def stop(self) -> None:
        """Answer what waits, and end."""
        for batcher in self._batchers.values():
            batcher.stop()

    async def ask(self, http: HttpRequest) -> Response:
        """Rank the gallery for references and a text."""
        kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in FORMS:
            raise Refused(415, f"search: expected a form ({FORMS[0]}), got {kind or 'no type'}.")
        if self._n_asked >= self.limits.waiting + 2 * MOST:  # before anything of it is read
            raise Refused(503, BUSY)
        self._n_asked += 1
        try:
            return await self._ask(http)
        finally:
            self._n_asked -= 1

    async def _ask(self, http: HttpRequest) -> Response:
        try:
            form = await http.form(max_files=self.limits.references, max_fields=64)
        except HTTPException as error:
            raise Refused(400, f"form: {error.detail}") from None
        try:
            with TemporaryDirectory(prefix="dafm-serve-") as folder:
                request = await self._request(form, Path(folder))
                explain = one_of(text_of(form, "explain", "1"), YES_OR_NO, "explain")
                try:
                    answer = await self._batchers[explain].ask(request)
                except ImageError:  # uploads have been opened before
                    raise _gone("reference", self._broken(request)) from None
        finally:
            await form.close()
        return JSONResponse(answer.to_json())

    async def image(self, http: HttpRequest) -> Response:
        """Show an image of the gallery."""
        image_id = http.path_params["image_id"]
        if image_id not in self.search.index.ids:
            raise Refused(404, f"image {image_id!r}: not in this gallery.")
        side = one_of(http.query_params.get("size", "thumbnail"), SIZES, "size")
        try:
            data = await asyncio.to_thread(shown, self.search.index.image(image_id), side)
        except ImageError:
            raise _gone("image", image_id) from None
        return Response(
            data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"}
        )

    async def gallery(self, http: HttpRequest) -> Response:
        """Show ids of images, to begin a query from one of them."""
        start, n = (
            count_of(http.query_params.get(f, d), f) for f, d in (("start", "0"), ("n", "24"))
        )
        needle = http.query_params.get("find", "").casefold()
        ids = self.search.index.ids
        found = await asyncio.to_thread(_holding, needle, ids) if needle else ids
        return JSONResponse({"total": len(found), "images": found[start : start + min(n, 100)]})

    async def queries(self, http: HttpRequest) -> Response:
        """Show known queries."""
        if self.known is None:
            raise Refused(404, "queries: none are known. Start with --queries.")
        start, n = (
            count_of(http.query_params.get(f, d), f) for f, d in (("start", "0"), ("n", "20"))
        )
        find = http.query_params.get("find", "")
        if "id" in http.query_params:
            wanted = http.query_params["id"]
            return JSONResponse({"queries": [q for q in self.known.rows if q["id"] == wanted]})
        return JSONResponse(self.known.page(start, min(n, 100), find))

    async def judged(self, http: HttpRequest) -> Response:
        """Show what was judged of a query."""
        kept = self._kept()
        references = http.query_params.getlist("reference")
        marks = kept.marks(references, http.query_params.get("text", ""))
        return JSONResponse({"marks": marks, "n_queries": kept.n_queries})

    async def judge(self, http: HttpRequest) -> Response:
        """Keep a judgement."""
        kept = self._kept()
        references, text, image, mark = judgement_of(await http.body())
        if len(references) > self.limits.references:
            raise Refused(400, f"query: expected at most {self.limits.references} references.")
        await asyncio.to_thread(kept.add, references, text, image, mark)
        return JSONResponse({"marks": kept.marks(references, text), "n_queries": kept.n_queries})

    async def health(self, http: HttpRequest) -> Response:
        """Say what answers here."""
        index = self.search.index
        return JSONResponse(
            {
                "status": "ok",
                "late": list(self.search.late),
                "left_out": self.search.left_out,
                "index": index.path.name,
                "images": index.n_images,
                "providers": list(index.names),
                "fusion": self.search.fuser.name,
                "columns": filter_columns(index),
                "notes": list(self.search.notes),
                "known": 0 if self.known is None else len(self.known.rows),
                "judging": None if self.judgements is None else str(self.judgements.path.name),
                "limits": self.limits.to_json(),
            }
        )

    async def openapi(self, http: HttpRequest) -> Response:
        """Describe the service."""
        return JSONResponse(described())

    async def _request(self, form: FormData, folder: Path) -> Request:
        unknown = sorted(set(form) - {"image", "reference", *TEXT_FIELDS})
        if unknown:
            raise Refused(400, f"form: no field {unknown[0]!r}.")
        references: list[Any] = []
        for reference in form.getlist("reference"):
            if not isinstance(reference, str):
                raise Refused(400, "reference: expected an id, got a file. Send files as image.")
            if reference not in self.search.index.ids:
                raise Refused(404, f"reference {reference!r}: not in this gallery.")
            references.append(reference)
        uploads: list[UploadFile] = []
        for upload in form.getlist("image"):
            if not isinstance(upload, UploadFile):
                raise Refused(400, "image: expected a file, got a text. Send ids as reference.")
            uploads.append(upload)
        if len(references) + len(uploads) > self.limits.references:
            raise Refused(400, f"query: expected at most {self.limits.references} references.")
        for number, upload in enumerate(uploads):
            data = await upload.read()
            references.append(
                await asyncio.to_thread(save_upload, data, folder, number, self.limits)
            )
        k = count_of(text_of(form, "k", str(min(20, self.search.index.n_images))), "k")
        if k > self.limits.k:
            raise Refused(400, f"k: expected at most {self.limits.k}, got {k}.")
        return Request(
            references=references,
            text=text_of(form, "text", ""),
            k=k,
            filter=text_of(form, "filter", "").strip() or None,
        )

    def _broken(self, request: Request) -> str:
        """Return the id of the reference whose file cannot be opened."""
        for reference in request.references:
            try:
                if isinstance(reference, str):
                    self.search.index.image(reference).open()
            except ImageError:
                return str(reference)
        return "of the query"

    def _kept(self) -> Judgements:
        if self.judgements is None:
            raise Refused(404, "judgements: none are kept. Start with --judgements FILE.")
        return self.judgements

    def _answered(
        self, handler: Callable[[HttpRequest], Awaitable[Response]]
    ) -> Callable[[HttpRequest], Awaitable[Response]]:
        """Return a handler that answers errors of input with a status and one line."""

        async def answered(http: HttpRequest) -> Response:
            try:
                return await handler(http)
            except Refused as refused:
                return JSONResponse(
                    {"error": refused.reason}, status_code=refused.status, headers=refused.headers
                )
            except (AlignmentError, ProviderError) as error:
                return JSONResponse({"error": str(error)}, status_code=422)
            except DafmError as error:
                return JSONResponse({"error": str(error)}, status_code=400)
            except Exception as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    reason = f"upload: could not be kept for the query ({error.strerror})."
                    return JSONResponse({"error": reason}, status_code=507)
                logger.exception("an answer failed; this is a bug")
                reason = "internal error: the terminal of dafm serve has the reason."
                return JSONResponse({"error": reason}, status_code=500)

        return answered

    @asynccontextmanager
    async def _alive(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(self.stop)


def _file(name: str, media_type: str) -> Callable[[HttpRequest], Awaitable[Response]]:
    content = (Path(__file__).parent / "page" / name).read_bytes()

    async def page(http: HttpRequest) -> Response:
        return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    return page


async def _http_error(http: HttpRequest, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return JSONResponse({"error": "error"}, status_code=500)
    reason = str(error.detail)
    if error.status_code == 404:
        reason = "address: there is nothing here. GET /openapi.json lists what there is."
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another")
        reason = f"method: expected {allowed}, got {http.method}."
    return JSONResponse({"error": reason}, status_code=error.status_code, headers=error.headers)


def _holding(needle: str, ids: Sequence[str]) -> list[str]:
    """Return the ids that hold a text."""
    return [image_id for image_id in ids if needle in image_id.casefold()]


def _gone(what: str, image_id: str) -> Refused:
    return Refused(
        410, f"{what} {image_id!r}: its file is gone or broken. The index still knows it."
    )
