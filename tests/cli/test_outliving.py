"""A model that ends the process of a live query: one line names it, and a service goes on."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from urllib.parse import urlencode

import pytest

from dafm_core.cli.main import main
from dafm_core.search.index import GalleryIndex
from tests.faults.test_plugins import write_plugin

pytest.importorskip("uvicorn", reason="uvicorn is of the extra dafm-core[serve]")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="watching needs fork")

FRAGILE = """
import os, signal
import numpy as np
from dafm_core.contract.descriptions import ProviderInfo
from dafm_core.contract.hookspecs import hookimpl

class Model:
    def similarity(self, queries, gallery):
        if queries[0].text == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if queries[0].text == "leave":
            os._exit(0)
        return np.arange(len(gallery), dtype=np.float32)[None].repeat(len(queries), axis=0)

@hookimpl
def dafm_similarity_providers():
    return [ProviderInfo(name="fragile", summary="s", factory=Model)]
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """An index of a few scenes under a model that holds and one that does not."""
    folder = tmp_path_factory.mktemp("fragile")
    write_plugin(folder, "fragile", FRAGILE)
    models = ["--provider", "scenes-color", "--provider", "fragile"]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        few = ["scenes", "--dataset-set", "families=2", *models]
        assert main(["index", *few, "--out", str(folder / "index")]) == 0
    return folder / "index"


@pytest.fixture(scope="module")
def images(index):
    """Ids of the images."""
    return GalleryIndex.open(index).ids


def start(index, command, *words):
    path = f"{index.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return subprocess.Popen(
        [sys.executable, "-m", "dafm_core", command, str(index), "--model", "mean", *words],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_search_names_the_model_that_ended_it(index, images):
    process = start(index, "search", "--text", "crash", "--image", images[0])
    out, err = process.communicate(timeout=120)
    assert (out, process.returncode) == ("", 2), err
    assert err == (
        "dafm: provider 'fragile' at a query: ended the process (SIGSEGV). Repair it, or do "
        "without it (--without NAME).\n"
    )


class Client:
    """Asks a service at a port."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, **fields):
        form = {"content-type": "application/x-www-form-urlencoded"}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            connection.request(method, path, urlencode(fields), form if fields else {})
            answered = connection.getresponse()
            return answered.status, json.loads(answered.read())


def test_a_service_goes_on_without_the_model_that_ended_it(index, images):
    with start(index, "serve", "--port", "0") as process:
        try:
            check_that_it_goes_on(process, images)
        finally:
            process.kill()


def check_that_it_goes_on(process, images):
    port = int(re.search(r":(\d+)/", "".join(process.stdout.readline() for _ in range(2)))[1])
    client, query = Client(port), {"reference": images[0], "text": "red"}
    status, answer = client.ask("POST", "/search", **query)
    assert (status, answer["left_out"], len(answer["singles"])) == (200, {}, 2)
    with pytest.raises((http.client.HTTPException, OSError)):
        client.ask("POST", "/search", **query | {"text": "leave"})
    status, answer = client.ask("POST", "/search", **query)  # waits until it answers again
    assert (status, list(answer["singles"])) == (200, ["scenes-color"])
    why = (
        "ended the process (exit code 0) at an earlier query; left out until dafm serve is "
        "started again"
    )
    assert answer["left_out"] == client.ask("GET", "/health")[1]["left_out"] == {"fragile": why}
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.endswith("stopped; every query that was taken was answered.\n")
    assert re.fullmatch(
        r"dafm: provider 'fragile' at a query: ended the process \(exit code 0\), and with it .*"
        r"Answering again without fragile: .*\n",
        err,
    )


def test_models_are_left_out_by_name(index, images, capsys):
    words = ["search", str(index), "--model", "mean", "--image", images[0]]
    assert main([*words, "--without", "fragile", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["left_out"] == {"fragile": "left out (--without)"}
    for names, said in {
        ("nobody",): "got 'nobody'",
        ("fragile", "scenes-color"): "expected a model to be left of fragile, scenes-color",
    }.items():
        assert main([*words, *(w for name in names for w in ("--without", name))]) == 2
        assert said in capsys.readouterr().err
