"""What each address answers, and what is refused with a reason."""

import asyncio
import errno
import io
import os
import threading
import time

import pytest
from PIL import Image

from dafm_core.cli.main import main
from dafm_core.search.search import Search
from dafm_core.serve.app import Service
from dafm_core.serve.batching import Batcher
from dafm_core.serve.guard import Guard
from dafm_core.serve.limits import Limits, Refused

from .conftest import Client, call, picture

ODD = "a/<b>'\u202e"


def test_a_query_by_id_is_answered_as_search_answers_it(client, service, world):
    dataset, _, _ = world
    query = dataset.iter_queries(0, 1)[0]
    answered = client.search(("reference", query.reference.id), ("text", query.text), ("k", 5))
    assert answered.status == 200
    expected = service.search.query([query.reference.id], query.text, 5)
    assert [hit["image_id"] for hit in answered.json["hits"]] == list(expected.image_ids)
    opinion = answered.json["hits"][0]["opinions"]["scenes-words"]
    assert opinion.keys() == {"score", "standardised", "rank", "contribution", "rank_without"}
    plain = client.search(("reference", query.reference.id), ("explain", "0"), ("text", query.text))
    assert plain.json["hits"][0]["opinions"]["scenes-words"]["rank_without"] is None


def test_an_upload_is_answered_and_not_kept(client, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    answered = client.search(("text", "add a red ball"), files=[("image", picture())])
    assert answered.status == 200
    assert len(answered.json["hits"]) == 20
    assert not [path for path in tmp_path.rglob("*") if "upload" in path.name]
    assert not list(tmp_path.glob("dafm-serve-*"))


MOVING = io.BytesIO()
frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
frames[0].save(MOVING, "GIF", save_all=True, append_images=frames[1:])
BAD_UPLOADS = {
    "no image": (b"hello", 415, "expected one of"),
    "cut short": (picture(size=(300, 300))[:120], 415, "damaged or cut short"),
    "too many bytes": (b"x" * 200_001, 413, "at most 200000 bytes"),
    "too many pixels": (picture(size=(400, 300)), 413, "at most 100000 pixels"),
    "a bomb": (picture(size=(20_000, 10_000)), 413, "at most"),
    "moving": (MOVING.getvalue(), 415, "expected a still image, got 2 frames"),
}


def test_a_photograph_with_a_preview_beside_it_is_a_still_image(client):
    """As telephones write them: a JPEG that holds two (MPO)."""
    photograph = io.BytesIO()
    frames[0].save(photograph, "MPO", save_all=True, append_images=frames[1:])
    answered = client.search(("text", "red"), files=[("image", photograph.getvalue())])
    assert answered.status == 200


@pytest.mark.parametrize("kind", BAD_UPLOADS)
def test_bad_uploads_are_refused_with_a_reason(client, kind):
    data, status, reason = BAD_UPLOADS[kind]
    answered = client.search(("text", "red"), files=[("image", data)])
    assert answered.status == status
    assert reason in answered.json["error"]


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ([], 400, "expected a text or a reference"),
        ([("text", "red"), ("k", "0")], 400, "expected 1 to 25"),
        ([("text", "red"), ("k", "26")], 400, "at most 20"),
        ([("text", "red"), ("k", "many")], 400, "expected a number"),
        ([("reference", "nobody")], 404, "not in this gallery"),
        ([("reference", "../../etc/passwd")], 404, "not in this gallery"),
        ([("text", "red"), ("filter", "colour = 1")], 400, "no column 'colour'"),
        ([("text", "red"), ("filter", " OR ".join(["1=1"] * 3000))], 400, "as a list: column IN"),
        ([("text", "red"), ("filter", "(" * 400)], 400, "at most 300 words and signs"),
        ([("text", "red"), ("text", "blue")], 400, "text: expected once, got 2 times"),
        ([("text", "red"), ("explain", "maybe")], 400, "expected 1, true, yes, 0, false, no, got"),
        ([("text", "red"), ("image", "dress.jpg")], 400, "expected a file, got a text"),
        ([("text", "red"), ("sort", "up")], 400, "no field 'sort'"),
        ([("text", "red")], 422, "needs exactly one reference image"),
    ],
)
def test_bad_queries_are_refused_with_a_reason(client, fields, status, reason):
    answered = client.search(*fields)
    assert answered.status == status
    assert reason in answered.json["error"]


def test_a_file_is_no_id(client):
    answered = client.search(("text", "red"), files=[("reference", picture())])
    assert (answered.status, answered.json["error"][:38]) == (
        400,
        "reference: expected an id, got a file.",
    )


def test_a_long_list_of_values_is_a_filter(service):
    ids = service.search.index.ids
    chosen = ", ".join(f"'{i}'" for i in [ids[3], *("x" * n for n in range(200))])
    answer = service.search.query([ids[0]], "red", 5, filter=f"image_id IN ({chosen})")
    assert answer.image_ids == (ids[3],)


def test_an_upload_that_the_disk_has_no_room_for(client, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dafm_core.serve.app.save_upload", full)
    answered = client.search(("text", "red"), files=[("image", picture())])
    assert (answered.status, "No space left" in answered.json["error"]) == (507, True)


def test_a_request_that_does_not_come_to_its_end(service):
    service.limits = Limits(seconds=0.05)
    app = service.app()

    async def ask():
        messages = []

        async def receive():
            await asyncio.sleep(30)

        async def send(message):
            messages.append(message)

        scope = {"type": "http", "method": "POST", "path": "/judgements", "query_string": b""}
        scope |= {"headers": [(b"host", b"127.0.0.1")]}
        await asyncio.wait_for(app(scope, receive, send), 10)
        return messages

    start, body = asyncio.run(ask())
    assert start["status"] == 408
    assert b"not all of it came within 0.05 seconds" in body["body"]


def test_more_queries_than_can_be_read_are_turned_away(service):
    service._n_asked = service.limits.waiting + 32
    answered = Client(service.app()).search(("text", "red"))
    assert (answered.status, answered.headers["retry-after"]) == (503, "2")


def test_addresses_and_methods_that_are_not_there(client):
    assert client.get("/nowhere").json["error"].startswith("address: there is nothing here")
    answered = client.get("/search")
    assert (answered.status, answered.headers["allow"]) == (405, "POST")
    assert answered.json["error"] == "method: expected POST, got GET."


def test_a_body_that_is_too_long_is_refused_before_it_is_read(client):
    answered = client.post("/search", b"x" * 10, **{"content-length": str(2 << 20)})
    assert answered.status == 413
    answered = client.search(("text", "x" * (2 << 20)))
    assert answered.status in (400, 413)


def test_images_are_shown_upright_and_ids_stay_text(client, world, tmp_path):
    _, index, _ = world
    answered = client.get(f"/images/{ODD}", ("size", "full"))
    assert answered.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answered.body)).size == (30, 60)
    assert client.get("/images/nobody").status == 404
    assert client.get("/images/../../etc/passwd").status == 404
    path = index.image(ODD).path
    moved = path.rename(tmp_path / "gone.png")
    asked = client.search(("reference", ODD), ("text", "red"))
    answered = client.get(f"/images/{ODD}")
    moved.rename(path)
    assert asked.status == answered.status == 410
    for said in (asked.json["error"], answered.json["error"]):
        assert repr(ODD) in said
        assert "gone or broken" in said
        assert str(tmp_path) not in said
    assert client.get(f"/images/{ODD}", ("size", "huge")).status == 400


def test_a_bug_is_said_without_its_insides(client, service, monkeypatch, caplog):
    def broken(requests, *, explain):
        raise KeyError("secret")

    for batcher in service._batchers.values():
        monkeypatch.setattr(batcher, "_answer", lambda requests: broken(requests, explain=True))
    answered = client.search(("text", "red"))
    assert answered.status == 500
    assert "secret" not in answered.body.decode()
    assert "this is a bug" in caplog.text


def test_health_and_description(client):
    health = client.get("/health").json
    assert health["status"] == "ok"
    assert (health["images"], health["providers"]) == (25, ["scenes-color", "scenes-words"])
    paths = client.get("/openapi.json").json["paths"]
    assert {"/search", "/images/{id}", "/health"} <= paths.keys()
    assert client.get("/nowhere").status == 404


def test_known_queries(client, world):
    dataset, _, _ = world
    page = client.get("/queries", ("n", "3")).json
    assert page["total"] == dataset.n_queries
    assert page["queries"][0]["targets"] == dataset.queries["targets"][0].to_list()
    assert page["queries"][0]["seen"]
    one = client.get("/queries", ("id", dataset.query_ids[2])).json["queries"]
    assert [row["id"] for row in one] == [dataset.query_ids[2]]
    assert client.get("/queries", ("find", "no such text")).json["total"] == 0
    assert client.get("/queries", ("n", "-1")).status == 400


def test_the_page_runs_its_own_code_only(client):
    page = client.get("/")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    text = page.body.decode()
    assert "<script>" not in text
    assert "http://" not in text
    assert "style=" not in text
    for file in ("/page.js", "/page.css", "/icon.svg"):
        assert client.get(file).status == 200
    script = client.get("/page.js").body.decode()
    assert "innerHTML" not in script


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8765"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"host": ""},
    ],
)
def test_foreign_pages_are_refused(client, headers):
    answered = client.get("/health", **headers)
    assert answered.status == 403
    assert b"images" not in answered.body


def test_what_belongs_here_is_let_in(client):
    own = {"host": "localhost:8765", "origin": "http://localhost:8765"}
    assert client.get("/health", **own, **{"sec-fetch-site": "same-origin"}).status == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", **link).status == 200
    assert client.get("/health", **link).status == 403


def test_another_address_asks_for_a_token(service):
    client = Client(service.app(hosts={"gallery.lan"}, token="a-long-enough-token"))
    host = {"host": "gallery.lan:80"}
    assert client.get("/health", **host).status == 401
    assert client.get("/", ("token", "wrong"), **host).status == 401
    bearer = {"authorization": "Bearer a-long-enough-token"}
    assert client.get("/health", **host, **bearer).status == 200
    assert client.get("/health", **host, authorization="bearer a-long-enough-token").status == 200
    assert client.get("/health", **host, authorization="Basic a-long-enough-token").status == 401
    entered = client.get("/", ("token", "a-long-enough-token"), ("text", "red"), **host)
    assert (entered.status, entered.headers["location"]) == (303, "/?text=red")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get("/health", **host, cookie=cookie.split(";")[0]).status == 200


def test_queries_of_many_clients_are_answered_together():
    sizes, gate = [], threading.Event()

    def answer(requests):
        gate.wait(5)
        sizes.append(len(requests))
        return requests

    async def ask_all():
        batcher = Batcher(answer, Limits(waiting=8))
        asked = [asyncio.ensure_future(batcher.ask(i)) for i in range(12)]
        await asyncio.sleep(0.05)
        gate.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        await asyncio.to_thread(batcher.stop)
        return found

    found = asyncio.run(ask_all())
    refused = [f for f in found if isinstance(f, Refused)]
    assert len(refused) in (3, 4)  # one more is taken where the thread has begun already
    assert {f.status for f in refused} == {503}
    answered = [i for i, f in enumerate(found) if not isinstance(f, Refused)]
    assert [found[i] for i in answered] == answered
    assert max(sizes) > 1


def test_a_query_that_fails_costs_only_itself():
    def answer(requests):
        if 3 in requests:
            raise ValueError("three")
        return requests

    async def ask_all():
        batcher = Batcher(answer, Limits())
        asked = (batcher.ask(i) for i in range(6))
        found = await asyncio.gather(*asked, return_exceptions=True)
        await asyncio.to_thread(batcher.stop)
        return found

    found = asyncio.run(ask_all())
    assert [f for i, f in enumerate(found) if i != 3] == [0, 1, 2, 4, 5]
    assert isinstance(found[3], ValueError)


def test_what_waits_too_long_is_told_so():
    async def ask():
        batcher = Batcher(lambda requests: release.wait(5) and requests, Limits(seconds=0.05))
        with pytest.raises(Refused, match="no answer within"):
            await batcher.ask(1)
        release.set()
        await asyncio.to_thread(batcher.stop)

    release = threading.Event()
    asyncio.run(ask())


def test_other_protocols_pass_the_guard():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    guard = Guard(app, hosts=(), token=None, limits=Limits())
    asyncio.run(guard({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
    assert asyncio.run(call(guard, "GET", "/")).status == 403


def test_a_port_in_use_is_one_line(world, capsys):
    import socket

    _, index, _ = world
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["serve", str(index.path), "--model", "nowhere", "--port", port]) == 2
    assert f"127.0.0.1:{port} cannot be listened on" in capsys.readouterr().err


def test_a_query_that_is_no_form_is_told_what_is_expected(client):
    answer = client.post("/search", b'{"text": "red"}', **{"content-type": "application/json"})
    assert answer.status == 415
    assert answer.json["error"].startswith("search: expected a form (multipart/form-data), got app")


def test_what_a_judgement_is_made_of_is_described(client):
    described = client.get("/openapi.json").json["paths"]["/judgements"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["references", "text", "image", "mark"]


def test_a_model_that_ends_threads_or_hangs_does_not_end_the_service(world):
    _, index, fuser = world
    search = Search(index, fuser, timeout=0.3)
    live = search._live["scenes-color"]
    encode, gate = live._provider.encode_queries, threading.Event()
    service = Service(search)
    client, fields = Client(service.app()), (("reference", index.ids[0]), ("text", "red"))
    try:
        for failing in (lambda queries: exec("raise KeyboardInterrupt"), lambda q: gate.wait(60)):
            live._provider.encode_queries = failing
            for _ in range(2):
                answer = client.search(*fields)
                assert answer.status == 200, answer.body
                assert set(answer.json["left_out"]) == {"scenes-color"}
        assert client.get("/health").json["late"] == ["scenes-color"]
        live._provider.encode_queries = encode
        gate.set()
        while search.late:
            time.sleep(0.01)
        assert client.search(*fields).json["left_out"] == {}
    finally:
        gate.set()
        service.stop()


def test_a_search_that_raises_anything_leaves_the_next_query_an_answer(service):
    index_ids = service.search.index.ids
    search, odd = service.search, [GeneratorExit("odd")]

    def batch(requests, explain=False):
        if odd:
            raise odd.pop()
        return search.batch(requests, explain=explain)

    other = Service(search)
    other.stop()
    other._batchers = {True: Batcher(batch, other.limits)}
    asking = Client(other.app())
    assert asking.search(("reference", index_ids[0])).status == 500
    assert asking.search(("reference", index_ids[0])).status == 200
    other.stop()


def test_images_of_the_gallery_can_be_looked_through(client, world):
    _, index, _ = world
    first = client.get("/gallery", ("n", "5")).json
    assert first == {"total": len(index.ids), "images": list(index.ids[:5])}
    rest = client.get("/gallery", ("start", "5"), ("n", "100")).json["images"]
    assert rest == list(index.ids[5:105])
    odd = next(i for i in index.ids if "<" in i)
    assert client.get("/gallery", ("find", odd[-6:].upper())).json["images"] == [odd]
    assert client.get("/gallery", ("start", "-1")).status == 400
