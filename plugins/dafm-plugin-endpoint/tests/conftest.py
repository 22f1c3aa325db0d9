import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dafm_core.contract.items import ImageRef, Query


@pytest.fixture(scope="session")
def tiny():
    spec = importlib.util.spec_from_file_location(
        "tiny_endpoint", Path(__file__).with_name("conformance.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Server(ThreadingHTTPServer):
    """Answers as the tiny model does, after what ``first`` says to answer before that."""

    daemon_threads = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.first, self.asked, self.headers = answer, [], [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(payload)
        self.server.headers.append((self.path, dict(self.headers)))
        status, headers, body = 200, {}, None
        if self.server.first:
            status, headers, body = self.server.first.pop(0)
        body = json.dumps(self.server.answer(payload)) if body is None else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tiny):
    with Server(tiny.answer) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    refs = []
    for number, mode in enumerate(("RGB", "L", "RGBA", "P", "CMYK")):
        path = folder / f"image-{number}.{'tif' if mode == 'CMYK' else 'png'}"
        pixels = rng.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
        refs.append(ImageRef(f"image-{number}", path))
    return refs


@pytest.fixture(scope="session")
def queries(images):
    texts = ("red not blue", "a dog", "red not blue")
    return [Query(id=str(i), references=(images[i],), text=t) for i, t in enumerate(texts)]
