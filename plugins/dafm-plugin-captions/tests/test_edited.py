"""Edited captions: every published form, their scores by hand, and a language model's answers."""

import json
import logging

import numpy as np
import pytest
from dafm_plugin_captions.edited import load_bm25, load_sentence
from dafm_plugin_captions.edits import Edits, ids_in
from dafm_plugin_captions.lexical import Bm25Captions

from dafm_core.contract.items import ImageRef, Query
from dafm_core.errors import DatasetError, OptionError, ProviderError
from dafm_core.wrapping.endpoint import client

TEXTS = {"7": ["a dog plays", "a cat"], "8": ["a blue car"]}


def query(query_id, text="is another one", *references):
    return Query(id=query_id, references=tuple(map(ImageRef, references)), text=text)


@pytest.fixture
def write(tmp_path):
    def _write(content, name="edits.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return _write


LDRE = [
    {"id": 7, "relative_caption": "is another one", "multi_caption_opt": ["x"] * 2},
    {"id": 8, "relative_caption": "is another one", "multi_caption_opt": ["y"]},
]


@pytest.mark.parametrize(
    "content",
    [
        TEXTS,
        [row | {"multi_gpt-3.5_opt": TEXTS[str(row["id"])]} for row in LDRE],
        [{"pairid": int(i), "multi_gpt-4o_opt": texts} for i, texts in TEXTS.items()],
    ],
    ids=["by id", "LDRE and SEIZE on CIRCO", "on CIRR"],
)
def test_every_form_with_ids_reads_the_same(content, write):
    edits = Edits.read(write(content))
    assert edits.texts == {i: tuple(texts) for i, texts in TEXTS.items()}
    assert edits.sha256 == Edits.read(write(TEXTS)).sha256


def test_a_single_text_of_a_record(write):
    rows = [{"id": 0, "blip2_caption": "a", "gpt-3.5-turbo": "b", "gpt-3.5-turbo_t5": "c"}]
    assert Edits.read(write(rows)).texts == {"0": ("b",)}
    assert Edits.read(write(rows), field="gpt-3.5-turbo_t5").texts == {"0": ("c",)}
    with pytest.raises(OptionError, match=r"no 'gpt-3.5-turbo_t6'; did you mean"):
        Edits.read(write(rows), field="gpt-3.5-turbo_t6")


CIREVL = {
    "base_caption": ["a boat", "a cat"],
    "instruction": ["make it a canoe", "show two"],
    "modified_captions": ["a canoe", "two cats"],
}


@pytest.mark.parametrize(
    ("name", "order", "ids"),
    [
        ("cap.rc2.val.json", [{"pairid": 3}, {"pairid": 1}], ["3", "1"]),
        ("val.json", [{"id": 0}, {"id": 1}], ["0", "1"]),
        ("cap.dress.val.json", [{"candidate": "a"}] * 2, ["dress-val-0", "dress-val-1"]),
        ("order.txt", "x\ny\n", ["x", "y"]),
    ],
)
def test_lists_without_ids_follow_a_file_that_has_the_order(name, order, ids, write):
    path = write(order, name)
    assert ids_in(path) == ids
    edits = Edits.read(write(CIREVL), order=path)
    assert edits.texts == {ids[0]: ("a canoe",), ids[1]: ("two cats",)}
    assert edits.of([query(ids[1], "Show two.")]) == [("two cats",)]
    with pytest.raises(DatasetError, match="Is this the file, or the order, of another split"):
        edits.of([query(ids[0], "show two")])


def test_lists_of_another_length_or_without_an_order_are_one_line(write):
    with pytest.raises(OptionError, match="--set order=FILE"):
        Edits.read(write(CIREVL))
    with pytest.raises(DatasetError, match=r"expected 3 texts, as .* has queries, got 2"):
        Edits.read(write(CIREVL), order=write("a\nb\nc\n", "order.txt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{no", "expected JSON"),
        ("3", "got a JSON int"),
        ({"7": 3}, "query '7': expected a text or a list of texts, got 3"),
        ({"7": [""]}, "at least one text"),
        ([{"caption": "a"}], "query 0: expected an object with pairid or id"),
        ([{"id": 1, "multi_x_opt": ["a"]}] * 2, "query '1' stands twice"),
        ([{"id": 1, "caption": "a"}], "Name the key of the texts"),
    ],
)
def test_a_file_of_no_known_form_is_one_line(content, message, write):
    with pytest.raises((DatasetError, OptionError), match=message) as raised:
        Edits.read(write(content))
    assert "\n" not in str(raised.value)


def test_queries_without_an_edit_keep_their_own_text(write, caplog):
    edits = Edits.read(write(TEXTS))
    with caplog.at_level(logging.WARNING):
        assert edits.of([query("9", "own")] * 2) == [("own",)] * 2
        edits.of([query("9", "own")])
    assert [r.getMessage().split(": ", 1)[1] for r in caplog.records] == [
        "1 queries keep their own text: 9"
    ]
    with pytest.raises(DatasetError, match="another dataset or split"):
        edits.of([query(f"x{i}") for i in range(32)])


@pytest.mark.parametrize("combine", ["max", "mean"])
def test_bm25_of_several_texts(combine, captions, gallery, write):
    provider = load_bm25(captions=captions, edits=write(TEXTS), combine=combine)
    scores = provider.similarity([query("8"), query("7"), query("9", "sofa")], gallery)
    alone = Bm25Captions(captions=captions).similarity(
        [query("", text) for text in (*TEXTS["7"], *TEXTS["8"], "sofa")], gallery
    )
    both = alone[:2].max(axis=0) if combine == "max" else alone[:2].mean(axis=0)
    np.testing.assert_allclose(scores, [alone[2], both, alone[3]], rtol=1e-6)
    assert provider.similarity([], gallery).shape == (0, 5)


@pytest.mark.parametrize("combine", ["max", "mean"])
def test_sentences_of_several_texts(combine, bag_of_words, captions, gallery, write):
    provider = load_sentence(captions=captions, edits=write(TEXTS), combine=combine)
    features = provider.encode_gallery(gallery)
    asked = [query("8"), query("7", "is another one", "dog")]
    scores = provider.similarity(provider.encode_queries(asked), features)
    own = bag_of_words([*TEXTS["7"], *TEXTS["8"]]) @ features.T
    both = own[:2].max(axis=0) if combine == "max" else own[:2].mean(axis=0)
    np.testing.assert_allclose(scores, [own[2], both], atol=1e-6)
    assert provider.fingerprint["combine"] == combine


@pytest.fixture
def model(monkeypatch, captions, tmp_path):
    """A language model that answers with what it is told, and the requests that it got."""
    asked, answers = [], {}

    def exchange(request, timeout):
        payload = json.loads(request.data)
        asked.append((request.full_url, payload))
        prompt = payload["messages"][0]["content"]
        text = answers.get(prompt, f"{prompt} {payload['seed']}")
        body = {"choices": [{"message": {"content": text}}]} if text != "bad" else {"error": 1}
        return client.Reply(status=200, headers={}, body=json.dumps(body).encode())

    monkeypatch.setattr(client, "exchange", exchange)

    def _model(**settings):
        fixed = {"endpoint": "http://localhost:1/", "model": "tiny", "captions": captions}
        fixed |= {"cache": tmp_path / "answers.sqlite", "prompt": "{caption} | {text}"}
        return load_bm25(**{**fixed, "send": True, **settings})

    return _model, asked, answers


def test_a_language_model_writes_the_texts(model, captions, gallery):
    load, asked, answers = model
    answers["A cat sleeps on a sofa. | is {caption} a dog"] = ' "A brown dog"\n'
    provider = load()
    asking = query("1", "is {caption} a dog", "cat")
    scores = provider.similarity([asking], gallery)
    expected = Bm25Captions(captions=captions).similarity([query("", "A brown dog")], gallery)
    np.testing.assert_allclose(scores, expected)
    (url, payload) = asked[0]
    assert url == "http://localhost:1/v1/chat/completions"
    assert (payload["model"], payload["temperature"], payload["seed"]) == ("tiny", 0.0, 0)
    assert provider.fingerprint["prompt"] == "{caption} | {text}"
    load(send=False).similarity([asking], gallery)
    assert len(asked) == 1, "the answer was kept"


def test_several_texts_are_asked_for_with_different_seeds(model, gallery):
    load, asked, answers = model
    answers["A cat sleeps on a sofa. | red"] = None
    rows = load(n_texts=2)._source.of([query("1", "red", "cat"), query("2", "blue", "dog")])
    assert rows[0] == ("red", "red"), "an empty answer leaves the query's own text"
    assert [text[-1] for text in rows[1]] == ["0", "1"]
    assert sorted(payload["seed"] for _, payload in asked) == [0, 0, 1, 1]


def test_the_bill_of_a_language_model(model, gallery, caplog):
    load, asked, _ = model
    with pytest.raises(OptionError, match=r"nothing was sent.* would get 1 requests \(1 texts"):
        load(send=False).prepare([query("1", "red", "cat"), query("2", "red", "cat")], gallery)
    assert not asked
    with caplog.at_level(logging.WARNING):
        load().prepare([query("1", "red", "cat")], gallery)
    assert "gets 1 requests" in caplog.records[-1].getMessage()


def test_what_a_language_model_does_wrong_is_one_line(model, gallery):
    load, _, answers = model
    answers["A cat sleeps on a sofa. | red"] = "bad"
    with pytest.raises(ProviderError, match="expected a text of a language model, got"):
        load().similarity([query("1", "red", "cat")], gallery)
    load()
    with pytest.raises(ProviderError, match="model 'tiny' instead of 'other'"):
        load(model="other")


def test_where_texts_come_from_has_to_be_said_once(captions, write):
    for settings, message in [
        ({}, "from one place, got none"),
        ({"edits": write(TEXTS), "endpoint": "http://x"}, "from one place, got two"),
        ({"endpoint": "http://x"}, "'model' is required with an endpoint"),
        ({"endpoint": "http://x", "model": "m", "prompt": "no"}, "'prompt': expected {text}"),
        ({"endpoint": "http://x", "model": "m", "n_texts": 0}, "1 or more"),
        ({"edits": write(TEXTS), "combine": "sum"}, "'combine': expected max or mean"),
    ]:
        with pytest.raises(OptionError, match=message):
            load_bm25(captions=captions, **settings)
