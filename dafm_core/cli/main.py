"""The command ``dafm``: finds the subcommand, imports only its module, and turns errors into one
line.

Exit codes: 0 done, 2 the user's input or the system's refusal (one line, what and what next), 1 a
bug (traceback), 130 Ctrl-C, 143 the system's request to stop.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Final, NoReturn

from dafm_core.cli.outputs import check_outputs
from dafm_core.cli.own_output import own_output
from dafm_core.cli.watching import ending, is_whole_process, watch_models
from dafm_core.errors import DafmError, OptionError, closest
from dafm_core.ground.printable import printable

logger = logging.getLogger(__name__)

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "run the whole pipeline on the embedded dataset, ending in a report"),
    "plugins": ("listing", "show what is installed, and what failed to load and why"),
    "providers": ("listing", "list frozen CIR models that can score"),
    "fusers": ("listing", "list ways to fuse"),
    "datasets": ("listing", "list datasets that can be opened"),
    "score": ("score", "score a dataset with one model into a store"),
    "import": ("importing", "put a matrix made elsewhere into a store"),
    "inspect": ("inspect", "show a store: passports, singles, headroom, ties, order audit"),
    "train": ("train", "fit a fuser and save it"),
    "compare": ("compare", "compare learned against static fusion, with intervals"),
    "incremental": ("incremental", "measure every subset and every order of providers"),
    "cases": ("cases", "show single queries: who was right, and why the fusion chose"),
    "fuse": ("fuse", "write fused scores of a store as parquet, npy or a TREC run"),
    "index": ("index", "encode a gallery for live queries; add and remove images"),
    "search": ("search", "answer a live query over an index with a fitted fusion"),
    "serve": ("serve", "the search as a service with a page, on this machine"),
    "export": ("export", "write a trained fusion for somebody else's engine"),
    "submit": ("submit", "write files for the official test servers, linted first"),
    "lint": ("server_files", "check a file for a test server, made here or elsewhere"),
    "score-file": ("server_files", "measure files for a test server on a split with targets"),
    "split": ("stores", "write a store of some queries of another"),
    "merge": ("stores", "write one store of the queries of several"),
    "upgrade": ("stores", "rewrite a store of format 1 as format 2, in place"),
    "new-plugin": ("new_plugin", "write the skeleton of a plugin"),
    "check": ("check", "run the conformance checks on a provider, fuser or dataset"),
    "completion": ("completion", "print what makes a shell complete commands and options"),
}
"""Command -> (module in this package, one-line help)."""


READERS: Final = frozenset(
    [
        *("compare", "inspect", "train", "incremental", "cases", "fuse", "export", "submit"),
        *("lint", "score-file", "split", "merge", "upgrade"),
    ]
)
"""Commands that run no model by name, and are watched for what reads their files."""
READERS_ADVICE: Final = "A file that it reads may be damaged, or there was too little memory."

LONGEST_LINE: Final = 2000
"""Characters of an error as it is printed."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the closest match."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the whole usage."""
        stop = "" if message.endswith("?") else "."
        raise OptionError(f"{message}{stop} See {self.prog} --help.")

    def check_options(self, argv: Sequence[str]) -> None:
        """Raise OptionError for an option that is not there, before what is missing is said."""
        known = [option for action in self._actions for option in action.option_strings]
        for word in argv:
            option = word.partition("=")[0]
            if re.fullmatch(r"--[a-z][\w-]*", option) and option not in known:
                self.error(f"unknown option {option}{closest(option, known)}")

    def without_dashes(self, argv: Sequence[str]) -> list[str]:
        """Return the words less a ``-`` after a ``--json`` that prints anyhow."""
        prints = any("--json" in a.option_strings and a.nargs == 0 for a in self._actions)
        pairs = zip(argv, ("", *argv), strict=False)
        return [
            word for word, before in pairs if not (prints and (before, word) == ("--json", "-"))
        ]


class _PrintableFormatter(logging.Formatter):
    """Warnings may name ids of other people's files: nothing hidden in them reaches a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


class _OncePerCommand(logging.Filter):
    """What every fold and every fuser finds again is said once."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in self._said
        self._said.add(message)
        return new


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, that of the process by default; return its exit code."""
    if argv is None:
        is_whole_process.set(True)
    os.environ.setdefault("RUST_BACKTRACE", "0")  # where polars ends the process, in fewer lines
    code = _code_of(list(sys.argv[1:] if argv is None else argv))
    ending.get()(code)
    return code


def _code_of(argv: Sequence[str]) -> int:
    """Run one command, and say in one line what is not a bug."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_OncePerCommand())
    handler.setFormatter(_PrintableFormatter("dafm: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    try:
        with _stopping_when_asked(), warnings.catch_warnings(), own_output():
            # A damaged image is an error of ours, in one line, or it is whole.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            code = _run(list(argv))
            sys.stdout.flush()  # a full disk behind it is said here, not after the end
        return code
    except DafmError as error:
        logger.debug("where it was noticed:", exc_info=error)
        return _say(str(error), code=2)
    except Terminated:
        return _say("asked to stop; repeat the command to resume.", code=143)
    except KeyboardInterrupt:
        return _say("interrupted; repeat the command to resume.", code=130)
    except BrokenPipeError:
        _drop_output()
        return 0
    except UnicodeEncodeError as error:
        text = error.object[error.start : error.end]
        return _say(f"{text!r} is half of a character, which no file can hold. Correct it.", code=2)
    except MemoryError as error:  # NumPy says how much it asked for
        asked = f" ({error})" if str(error) else ""
        advice = (
            "Use fewer processes (--workers 1), queries (--queries) or candidates to learn from"
        )
        return _say(f"memory: not enough for this step{asked}. {advice}.", code=2)
    except OSError as error:
        if error.errno is None:
            raise  # not from the system
        place = f"{error.filename}: " if error.filename else ""
        code = _say(f"{place}{error.strerror}. Nothing that was finished is lost.", code=2)
        _drop_output()
        return code
    finally:
        logging.getLogger("dafm_core").setLevel(logging.NOTSET)


class Terminated(KeyboardInterrupt):
    """The system asks the process to stop (SIGTERM): as Ctrl-C, so that everything is tidied up."""


@contextmanager
def _stopping_when_asked() -> Iterator[None]:
    """Turn SIGTERM into an exception, where this is the thread that signals reach."""

    def stop(number: int, frame: object) -> NoReturn:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(message: str, *, code: int) -> int:
    """Print one line for people; return the exit code."""
    line = printable(" ".join(message.split()))
    if len(line) > LONGEST_LINE:  # an id of megabytes: what to do next stands at the end
        line = f"{line[: LONGEST_LINE // 2]} [...] {line[-LONGEST_LINE // 2 :]}"
    with suppress(OSError):
        print(f"dafm: {line}", file=sys.stderr)
    return code


def _drop_output() -> None:
    """Let what Python still holds for standard output go nowhere, without another error."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in {"-h", "--help"}:
        print(_overview())
        return 0
    if argv[0] == "help":
        return _run([*argv[1:2], "--help"])
    if argv[0] in {"-V", "--version", "version"}:
        print(f"dafm-core {version('dafm-core')}")
        return 0
    if argv[0] in {"-v", "--verbose", "-q", "--quiet"} and len(argv) > 1:
        argv = [argv[1], argv[0], *argv[2:]]
    name = argv[0]
    if name not in COMMANDS:
        hint = closest(name, COMMANDS)
        raise OptionError(
            f"unknown command {name!r}{hint if hint.endswith('?') else '.'} See dafm --help."
        )
    parser = build_parser(name)
    parser.check_options(argv[1:])
    args = parser.parse_args(parser.without_dashes(argv[1:]))
    args.typed = argv
    logging.getLogger("dafm_core").setLevel(args.level)
    check_outputs(args)
    if name in READERS:
        watch_models(f"dafm {name}", advice=READERS_ADVICE)
    args.run(args)
    return 0


def build_parser(name: str) -> Parser:
    """Return the parser of one command, importing its module."""
    module, summary = COMMANDS[name]
    command = importlib.import_module(f"dafm_core.cli.{module}")
    parser = Parser(
        prog=f"dafm {name}",
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=command.EXAMPLES[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    _add_level(parser)
    parser.set_defaults(command=name, run=command.run)
    return parser


def _add_level(parser: argparse.ArgumentParser) -> None:
    """Add -v and -q: how much is said on standard error."""
    level = parser.add_mutually_exclusive_group()
    parser.set_defaults(level=logging.NOTSET)
    for flags, value, words in (
        (("-v", "--verbose"), logging.DEBUG, "say what is done, and where an error was noticed"),
        (("-q", "--quiet"), logging.ERROR, "no progress and no warnings; results and errors only"),
    ):
        level.add_argument(*flags, dest="level", action="store_const", const=value, help=words)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: dafm COMMAND ...",
            "",
            "Fuse frozen composed-image-retrieval models, and say honestly whether it helps.",
            "",
            *lines,
            "",
            "dafm COMMAND --help shows options and an example. Start with: dafm demo",
            "-q says less, -v more; NO_COLOR=1 leaves colours out.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
