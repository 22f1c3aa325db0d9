"""``dafm serve``: the search as a service with a page, on this machine."""

from __future__ import annotations

import argparse
import logging
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.cli.outliving import outlive_models
from dafm_core.cli.search import add_index, open_search
from dafm_core.errors import OptionError
from dafm_core.serve.guard import LOOPBACK

if TYPE_CHECKING:
    from dafm_core.search.search import Search
    from dafm_core.serve.known import KnownQueries

EXAMPLES = {
    "serve": "examples:\n"
    "  dafm serve index/ --model light/\n"
    "  dafm serve index/ --model light/ --queries scores/ --judgements judged.jsonl\n"
    "  dafm serve index/ --model light/ --host 0.0.0.0 --allow-host gallery.example.org",
}
DRAIN_SECONDS = 30
TIMEOUT = 30.0
"""Seconds that a model may take before a query is answered without it, half of what a client waits
for; see ``serve/limits.py``.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the index, the model, and where to listen."""
    add_index(parser, timeout=TIMEOUT)
    parser.add_argument("--port", type=int, default=8765, help="default 8765; 0 takes a free one")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; any but this machine's own "
        "asks for a token (default 127.0.0.1)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which it may be asked, besides localhost and --host; repeatable",
    )
    parser.add_argument(
        "--token-file", type=Path, help="file with the token; one is made up and printed otherwise"
    )
    parser.add_argument(
        "--queries",
        metavar="STORE|DATASET",
        help="known queries to look through, with their targets marked",
    )
    parser.add_argument(
        "--judgements", type=Path, metavar="FILE", help="keep judgements in this file"
    )
    parser.add_argument(
        "--waiting", type=int, default=64, help="queries that may wait; more get 503 (default 64)"
    )


def run(args: argparse.Namespace) -> None:
    """Answer until the system asks to stop; then finish what was begun."""
    if args.waiting < 1:
        raise OptionError(f"--waiting: expected 1 or more, got {args.waiting}.")
    with _listen(args.host, args.port) as listening:
        is_local = args.host in LOOPBACK or args.host == "::1"
        token = None if is_local else _token(args.token_file)
        _serve(args, listening, token, without=outlive_models())


def _serve(
    args: argparse.Namespace, listening: socket.socket, token: str | None, without: dict[str, str]
) -> None:
    """Answer at a port until the system asks to stop."""
    try:
        import uvicorn

        from dafm_core.serve.app import Service
    except ImportError as error:
        raise OptionError(
            f"dafm serve: needs {error.name}. pip install 'dafm-core[serve]'"
        ) from None
    from dafm_core.reporting.saying import say
    from dafm_core.serve.judging import Judgements
    from dafm_core.serve.limits import Limits

    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # what it says is answered
    search = open_search(args, without)
    service = Service(
        search,
        known=_known(args, search),
        judgements=Judgements(args.judgements, search.index) if args.judgements else None,
        limits=Limits(waiting=args.waiting),
    )
    hosts = {*LOOPBACK, *args.allow_host, args.host}
    config = uvicorn.Config(
        service.app(hosts=hosts, token=token),
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    port = listening.getsockname()[1]
    host = "127.0.0.1" if args.host in ("0.0.0.0", "::") else args.host  # noqa: S104
    listening.listen()  # who has read the address may ask at once
    say(f"{search.index.n_images} images, {', '.join(search.index.names)}, {search.fuser.name}")
    say(f"http://{host}:{port}/" + (f"?token={token}" if token else ""))
    say("Ctrl-C ends it.")
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        say("stopped; every query that was taken was answered.")


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything heavy is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise OptionError(
            f"--port: {host}:{port} cannot be listened on ({error}). Choose another --port, or 0 "
            "for any that is free."
        ) from None
    return listening


def _token(file: Path | None) -> str:
    if file is None:
        return secrets.token_urlsafe(24)
    token = file.read_text(encoding="utf-8").strip()
    if len(token) < 16 or not token.isascii() or not token.isprintable():
        raise OptionError(f"{file}: expected a token of at least 16 printable ASCII characters.")
    return token


def _known(args: argparse.Namespace, search: Search) -> KnownQueries | None:
    from dafm_core.catalog import load_dataset
    from dafm_core.serve.known import KnownQueries
    from dafm_core.store.store import SimilarityStore

    if args.queries is None:
        return None
    if (Path(args.queries) / "store.json").exists():
        dataset = SimilarityStore.open(args.queries).dataset
    else:
        dataset = load_dataset(args.queries)
    known = KnownQueries.of(dataset, search.index, search.fuser)
    if not known.rows:
        raise OptionError(f"--queries: no query of {args.queries} has its references in the index.")
    return known
