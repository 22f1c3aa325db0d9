"""Judgements: whole after any crash, and a dataset to train on."""

import errno
import json
import os
import threading

import pytest

import dafm_core as dafm
from dafm_core.datasets.judgements import load, query_id
from dafm_core.errors import DatasetError
from dafm_core.serve.judging import Judgements
from dafm_core.serve.limits import Refused


def test_marks_are_kept_changed_and_taken_back(client, service, world):
    _, index, _ = world
    one, two, three = index.ids[:3]
    asked = {"references": [one], "text": "the same, but red"}
    assert client.judge(**asked, image=two, mark="meant").json["n_queries"] == 1
    client.judge(**asked, image=three, mark="not")
    assert client.judge(**asked, image=two, mark="none").json["n_queries"] == 0
    marks = client.get("/judgements", ("reference", one), ("text", asked["text"])).json["marks"]
    assert marks == {two: "none", three: "not"}
    again = Judgements(service.judgements.path, index)
    assert again.marks([one], asked["text"]) == marks


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"references": [], "text": "red", "image": "nobody", "mark": "meant"}, "no image of the"),
        ({"references": ["up.png"], "text": "", "image": None, "mark": "meant"}, "are not kept"),
        ({"references": [], "text": "red", "image": None, "mark": "best"}, "expected meant"),
        ({"text": "red"}, "expected JSON with references"),
        ({"references": [], "text": " ", "image": None, "mark": "meant"}, "expected a query with"),
        ({"references": [], "text": None, "image": None, "mark": "meant"}, "expected JSON with"),
        ({"references": "ab", "text": "x", "image": None, "mark": "meant"}, "(a list of ids)"),
        ({"references": ["a"] * 9, "text": "x", "image": None, "mark": "not"}, "at most 8 ref"),
    ],
)
def test_bad_judgements_are_refused(client, world, value, reason):
    if "image" in value and value["image"] is None:
        value = value | {"image": world[1].ids[0]}
    answered = client.judge(**value)
    assert answered.status == 400
    assert reason in answered.json["error"]


def test_a_full_disk_loses_nothing(client, service, world, monkeypatch):
    _, index, _ = world
    asked = {"references": [], "text": "red", "image": index.ids[0]}
    client.judge(**asked, mark="meant")
    before = service.judgements.path.read_bytes()

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answered = client.judge(**asked, mark="not")
    assert answered.status == 507
    assert "No space left" in answered.json["error"]
    assert service.judgements.path.read_bytes() == before
    assert service.judgements.marks([], "red") == {index.ids[0]: "meant"}


def test_a_file_that_may_grow_no_further_keeps_whole_lines(tmp_path, world):
    """As on a full disk, the system takes the beginning of a line and refuses the rest."""
    resource = pytest.importorskip("resource")
    _, index, _ = world
    kept = Judgements(tmp_path / "judged.jsonl", index)
    kept.add([], "red", index.ids[0], "meant")
    before = kept.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, limits[1]))
    try:
        with pytest.raises(Refused, match="could not be written") as refused:
            kept.add([], "blue", index.ids[1], "meant")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.status == 507
    assert kept.path.read_bytes() == before
    kept.add([], "blue", index.ids[1], "meant")
    assert load(kept.path).queries["text"].to_list() == ["red", "blue"]


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, world):
    (tmp_path / "taken").write_text("")
    with pytest.raises((DatasetError, OSError), match="taken"):
        Judgements(tmp_path / "taken" / "judged.jsonl", world[1])


def test_a_line_that_a_crash_cut_short_is_passed_over(tmp_path, world):
    _, index, _ = world
    kept = Judgements(tmp_path / "judged.jsonl", index)
    kept.add([], "red", index.ids[0], "meant")
    whole = kept.path.read_bytes()
    for cut in range(1, 40, 7):
        kept.path.write_bytes(whole + whole[-60 : -60 + cut])
        assert load(kept.path).n_queries == 1
    Judgements(kept.path, index).add([], "blue", index.ids[1], "meant")
    assert load(kept.path).queries["text"].to_list() == ["red", "blue"]


def test_judgements_are_a_dataset(tmp_path, world):
    _, index, _ = world
    kept = Judgements(tmp_path / "judged.jsonl", index)
    one, two, three = index.ids[:3]
    kept.add([one], "red", two, "meant")
    kept.add([one], "red", three, "meant")
    kept.add([], "blue", three, "not")
    dataset = dafm.load_dataset(f"judgements:{kept.path}")
    assert dataset.gallery_ids == index.ids
    assert list(dataset.query_ids) == [query_id([one], "red")]
    row = dataset.queries.row(0, named=True)
    assert (row["targets"], row["excluded"]) == ([two, three], [one])
    assert dataset.image(one).path.exists()


def test_files_that_are_no_judgements(tmp_path, world):
    _, index, _ = world
    path = tmp_path / "judged.jsonl"
    with pytest.raises(DatasetError, match="cannot be read"):
        load(path)
    path.write_text('{"a": 1}\n')
    with pytest.raises(DatasetError, match="expected judgements"):
        load(path)
    path.write_text(json.dumps({"index": str(tmp_path)}) + "\n")
    with pytest.raises(DatasetError, match="was judged on"):
        Judgements(path, index)
    with pytest.raises(DatasetError, match="expected the gallery index"):
        load(path)
    with pytest.raises(DatasetError, match="got none"):
        load(path, index=index.path)
    with pytest.raises(DatasetError, match="no splits"):
        load(path, split="val")


def test_a_text_that_no_file_can_hold_is_refused(client, world):
    image = world[1].ids[0]
    for text in ("\ud800", "x" * 10_001):
        answered = client.judge(references=[], text=text, image=image, mark="meant")
        assert (answered.status, "can be written" in answered.json["error"]) == (400, True)


def test_two_processes_may_judge_into_one_file(tmp_path, world):
    """One header, no line within another, and none lost: each waits until the other has written."""
    index, path = world[1], tmp_path / "judged.jsonl"
    services = [Judgements(path, index) for _ in range(3)]

    def judge(service, number):
        for i in range(20):
            service.add([], f"query {number} {i}", index.ids[0], "meant")

    threads = [threading.Thread(target=judge, args=(s, n)) for n, s in enumerate(services)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Judgements(path, index).n_queries == 60
    assert path.read_text().count('"format"') == 1


def test_a_line_torn_by_another_process_is_cut_before_the_next(tmp_path, world):
    index, path = world[1], tmp_path / "judged.jsonl"
    kept = Judgements(path, index)
    with path.open("a") as file:
        file.write('{"references": [], "te')
    kept.add([], "red", index.ids[0], "meant")
    assert Judgements(path, index).n_queries == 1
