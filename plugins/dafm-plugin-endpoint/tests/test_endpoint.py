"""Embeddings from a local server: order, batches, cache, bill; and all that a server does wrong."""

import json
import logging
import subprocess
import sys
import time

import numpy as np
import pytest
from dafm_plugin_endpoint.provider import load

from dafm_core.contract.items import ImageRef, Query
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import ImageError, OptionError, ProviderError
from dafm_core.ground.ids import Ids
from dafm_core.scoring.score import score_provider
from dafm_core.wrapping.endpoint import client


def unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def provider(server, tmp_path):
    def _provider(**settings):
        settings = {"send": True, "cache": tmp_path / "answers.sqlite", "retries": 2} | settings
        return load(endpoint=server.url, model="tiny", **settings)

    return _provider


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Seconds that were slept, without sleeping."""
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def test_answers_are_put_in_order_by_their_index(provider, queries, server, tiny):
    features = provider(compose="text", batch_size=2).encode_queries(queries)
    np.testing.assert_allclose(
        features, unit([tiny.vector(query.text) for query in queries]), atol=1e-6
    )
    assert [payload["input"] for payload in server.asked] == [["red not blue", "a dog"]]
    assert server.headers[0][0] == "/v1/embeddings"
    assert "Authorization" not in server.headers[0][1]


def test_images_go_as_vllm_takes_them(provider, images, queries, server):
    model = provider(prompt="Find: ", gallery_prompt="An image")
    gallery = model.encode_gallery(images)
    joint = model.encode_queries(queries)
    assert gallery.shape == (5, 8)
    assert np.isfinite(joint).all()
    first = server.asked[0]["messages"][0]
    assert first["role"] == "user"
    assert [part["type"] for part in first["content"]] == ["image_url", "text"]
    assert first["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    texts = {payload["messages"][0]["content"][1]["text"] for payload in server.asked}
    assert texts == {"An image", "Find: red not blue", "Find: a dog"}


def test_several_references_and_none(provider, images, tiny):
    several = Query(id="s", references=tuple(images[:2]), text="a dog")
    none = Query(id="n", references=(), text="a dog")
    features = provider().encode_queries([several, none])
    np.testing.assert_allclose(features[1], unit([tiny.vector("a dog")])[0], atol=1e-6)
    assert not np.allclose(features[0], features[1])


def test_captions_are_sent_in_the_place_of_images(provider, images, tiny, tmp_path, server):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"image-0": ["a red car", "parked"], "image-1": "a dog"}))
    model = provider(captions=path)
    assert model.fingerprint["compose"] == "text"
    features = model.encode_gallery(images[:3])
    expected = unit([tiny.vector("a red car parked"), tiny.vector("a dog")])
    np.testing.assert_allclose(features[:2], expected, atol=1e-6)
    assert not features[2].any()
    assert all("input" in payload for payload in server.asked)


def test_answers_are_kept_by_content(provider, images, queries, server, tmp_path):
    first = provider().encode_gallery(images)
    n_asked = len(server.asked)
    again = provider(send=False).encode_gallery(images[::-1])
    np.testing.assert_array_equal(again, first[::-1])
    assert len(server.asked) == n_asked
    copy = tmp_path / "copy.png"
    copy.write_bytes(images[1].path.read_bytes())
    same = provider(send=False).encode_gallery([ImageRef("other name", copy)])
    np.testing.assert_array_equal(same[0], first[1])


def test_nothing_is_sent_unless_asked_for(provider, images, queries, server):
    model = provider(send=False)
    with pytest.raises(OptionError, match=r"7 requests \(2 texts of about 4 tokens and 7 images\)"):
        model.prepare(queries[:2], images)
    with pytest.raises(OptionError, match=r"nothing was sent.*--set send=yes"):
        model.encode_gallery(images)
    assert not server.asked
    provider().encode_gallery(images)
    with pytest.raises(OptionError, match=r"2 requests .*; 5 questions are answered already"):
        model.prepare(queries[:2], images)


def test_the_bill_comes_before_the_first_request(
    provider, images, queries, server, caplog, tmp_path
):
    rows = [
        {"query_id": q.id, "reference": q.reference.id, "text": q.text, "targets": ["image-0"]}
        for q in queries
    ]
    dataset = Dataset(
        protocol="shop",
        gallery_ids=Ids(image.id for image in images),
        queries=query_frame(rows, where="shop"),
        images={image.id: image.path for image in images},
    )
    asked_before = []
    original = server.answer
    server.answer = lambda payload: (asked_before.append(len(caplog.records)), original(payload))[1]
    with caplog.at_level(logging.WARNING):
        score_provider(dataset, "endpoint", provider(), store=tmp_path / "store")
    (bill,) = [r.getMessage() for r in caplog.records if "requests" in r.getMessage()]
    assert "8 requests (3 texts of about 7 tokens and 8 images)" in bill
    assert min(asked_before) >= 1
    with pytest.raises(OptionError, match="nothing was sent"):
        score_provider(dataset, "other", provider(send=False, prompt="x"), store=tmp_path / "store")


@pytest.mark.parametrize(
    ("first", "slept"),
    [
        ([(429, {"Retry-After": "7"}, "{}")], [7.0]),
        ([(503, {}, "busy"), (500, {}, "<html>")], [1.0, 2.0]),
        ([(429, {"Retry-After": "9999"}, "{}")], [60.0]),
    ],
)
def test_a_busy_server_is_asked_again(first, slept, provider, queries, server, pauses):
    server.first = list(first)
    model = provider(compose="text", concurrency=1)
    assert np.isfinite(model.encode_queries(queries)).all()
    assert pauses == slept


BAD = [
    ((500, {}, "<html>no</html>"), 3, r"answer 500 \('<html>no</html>'\) in 3 tries"),
    ((401, {}, '{"error": "no key"}'), 1, "answer 401 .*no key"),
    ((404, {}, "not here"), 1, "answer 404"),
    ((302, {"Location": "http://127.0.0.1:1/"}, ""), 1, "answer 302"),
    ((200, {}, "<html>hello</html>"), 1, "expected a JSON object, got '<html>hello</html>'"),
    ((200, {}, "[1]"), 1, "expected a JSON object"),
    ((200, {}, '{"data": []}'), 1, "expected 1 embeddings numbered from 0"),
    ((200, {}, '{"data": [{"index": 1, "embedding": [1]}]}'), 1, "numbered from 0"),
    ((200, {}, '{"data": [{"index": 0, "embedding": [1, NaN]}]}'), 1, "finite numbers"),
    ((200, {}, '{"data": [{"index": 0, "embedding": []}]}'), 1, "finite numbers"),
    ((200, {}, '{"data": [{"index": 0, "embedding": "x"}]}'), 1, "finite numbers"),
    ((200, {}, '{"data": [{"index": 0, "embedding": ["1"]}]}'), 1, "finite numbers"),
    ((200, {}, '{"data": [{"index": 0, "embedding": [true]}]}'), 1, "finite numbers"),
    ((200, {}, '{"data": [{"index": 0, "embedding": [0, 0.0]}]}'), 1, "finite numbers"),
    ((200, {}, '{"data": [{"index": 0, "embedding": [1e300]}]}'), 1, "finite numbers"),
    ((200, {}, '{"data": [{"index": 0, "embedding": [1%s]}]}' % ("0" * 400)), 1, "finite numbers"),
    ((200, {}, '{"data": [{"index": [0], "embedding": [1]}]}'), 1, "numbered from 0"),
]


@pytest.mark.parametrize(("reply", "n_times", "message"), BAD)
def test_what_a_server_does_wrong_is_one_line(reply, n_times, message, provider, queries, server):
    server.first = [reply] * 3
    with pytest.raises(ProviderError, match=message) as raised:
        provider(compose="text").encode_queries(queries[:1])
    assert "\n" not in str(raised.value)
    assert len(server.asked) == n_times


def test_vectors_of_another_length_are_refused(provider, queries, server, tmp_path):
    model = provider(compose="text")
    model.encode_queries(queries[:1])
    server.first = [(200, {}, '{"data": [{"index": 0, "embedding": [1, 2]}]}')]
    with pytest.raises(ProviderError, match="embeddings of 8 numbers, as before, got 2"):
        model.encode_queries(queries[1:2])
    longer = {"data": [{"index": i, "embedding": [1.0] * (8 + i)} for i in range(2)]}
    server.first = [(200, {}, json.dumps(longer))]
    first_answer = provider(compose="text", cache=tmp_path / "answers")
    with pytest.raises(ProviderError, match="of one length, got 8 to 9 numbers in one answer"):
        first_answer.encode_queries(queries[:2])


def test_what_was_answered_before_a_failure_is_kept(provider, queries, server):
    words = [Query(id=str(i), references=(), text=f"text {i}") for i in range(4)]
    server.first = [(200, {}, None), (200, {}, None), (404, {}, "gone"), (404, {}, "gone")]
    with pytest.raises(ProviderError, match="404"):
        provider(compose="text", batch_size=1, concurrency=1).encode_queries(words)
    bill = provider(compose="text").embedder.server.bill(
        [provider().embedder.text(query.text) for query in words]
    )
    assert bill.n_cached == 2


def test_a_silent_server_is_one_line(provider, queries, server, monkeypatch):
    def exchange(request, timeout):
        raise TimeoutError("timed out")

    monkeypatch.setattr(client, "exchange", exchange)
    with pytest.raises(ProviderError, match=r"no answer \(timed out\) in 3 tries"):
        provider(compose="text").encode_queries(queries)


def test_a_cache_of_another_model_is_refused(provider, server, tmp_path):
    provider()
    with pytest.raises(ProviderError, match="model 'tiny' instead of 'other'"):
        load(endpoint=server.url, model="other", cache=tmp_path / "answers.sqlite")
    (tmp_path / "text.sqlite").write_text("no database, but long enough to look like one" * 50)
    with pytest.raises(ProviderError, match="cannot be used"):
        load(endpoint=server.url, model="tiny", cache=tmp_path / "text.sqlite")


def test_a_key_comes_from_the_environment_and_goes_nowhere_else(
    provider, queries, server, monkeypatch
):
    monkeypatch.setenv("THE_KEY", "secret-key")
    model = provider(compose="text", key_env="THE_KEY")
    model.encode_queries(queries[:1])
    assert server.headers[0][1]["Authorization"] == "Bearer secret-key"
    assert "secret" not in json.dumps(model.fingerprint)
    with pytest.raises(OptionError, match="environment has no NO_KEY"):
        provider(key_env="NO_KEY")


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("ftp://host", "expected http"),
        ("file:///etc/passwd", "expected http"),
        ("http://user:word@host", "Give a key in a variable"),
        ("http://host/v1?key=1", "Give a key in a variable"),
    ],
)
def test_an_address_that_cannot_be_used(endpoint, message):
    with pytest.raises(OptionError, match=message):
        load(endpoint=endpoint, model="tiny")


def test_options_out_of_range(provider):
    for name in ("batch_size", "concurrency", "image_side", "timeout"):
        with pytest.raises(OptionError, match=f"option '{name}'"):
            provider(**{name: 0})


def test_a_missing_image_is_one_line(provider, tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        provider().encode_gallery([ImageRef("lost", tmp_path / "lost.png")])


def test_listing_opens_nothing():
    code = (
        "import sys, dafm_plugin_endpoint.plugin as p; p.dafm_similarity_providers();"
        "print(sorted({'numpy', 'PIL', 'urllib.request', 'sqlite3'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
