"""Every wrong file or option is one line of the right error, and nothing in a file is executed."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dafm_plugin_blip4cir import pairing

from dafm_core.contract.items import ImageRef
from dafm_core.errors import DafmError, ImageError, OptionError, ProviderError
from dafm_core.testing import queries_of

State = dict[str, torch.Tensor]
ENTRIES = {"checkpoint": "model", "text_encoder": "BLIPTextEncoder", "combiner": "Combiner"}
LAYER = "text_encoder.encoder.layer.1."
Change = Callable[[State], object]


def refusal(load: Callable[..., object], error: type[DafmError], *args: Any, **options: Any) -> str:
    with pytest.raises(error) as caught:
        load(*args, **options)
    message = str(caught.value)
    assert message.startswith("blip4cir")
    assert "\n" not in message
    return message


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def changed(source: Path, entry: str, change: Change, target: Path) -> Path:
    content = torch.load(source, weights_only=True)
    change(content[entry])
    return saved(target, content)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop(f"{LAYER}crossattention.self.key.bias"), "1.crossattention.self.key.bias"),
        (lambda s: s.pop("visual_encoder.norm.weight"), "visual_encoder.norm.weight"),
        (lambda s: s.update({"text_proj.weight": torch.ones(5, 8)}), "width 12"),
        (lambda s: s.update({f"{LAYER}output.dense.weight": torch.ones(20, 8)}), "output.dense"),
        (lambda s: [s.pop(k) for k in list(s) if ".layer.1." in k], "without a gap"),
        (
            lambda s: s.update({"visual_encoder.pos_embed": torch.ones(1, 12, 24)}),
            "square grid",
        ),
        (
            lambda s: s.update(
                {"text_encoder.embeddings.word_embeddings.weight": torch.ones(30522, 8)}
            ),
            "30524 words",
        ),
    ],
)
def test_grounded_names_a_missing_or_reshaped_tensor(
    grounded, vocabulary: Path, tmp_path: Path, change: Change, named: str
) -> None:
    source = grounded.folder / "checkpoint.pt"
    path = changed(source, "BLIP_Retrieval", change, tmp_path / "blip.pt")
    assert named in refusal(grounded.load, ProviderError, vocabulary, checkpoint=path)


@pytest.mark.parametrize(
    ("option", "change", "named"),
    [
        ("checkpoint", lambda s: s.pop("vision_proj.bias"), "vision_proj.bias"),
        (
            "checkpoint",
            lambda s: [s.pop(k) for k in list(s) if k.startswith("visual_encoder.")],
            "visual_encoder.",
        ),
        ("text_encoder", lambda s: s.pop("text_proj.bias"), "text_proj.bias"),
        ("text_encoder", lambda s: s.update({"text_proj.weight": torch.ones(9, 16)}), "width 20"),
        ("combiner", lambda s: s.pop("dynamic_scalar.3.bias"), "dynamic_scalar.3.bias"),
        (
            "combiner",
            lambda s: s.update({"text_projection_layer.weight": torch.ones(28, 64)}),
            "width 20, as the image encoder's, got 64",
        ),
        (
            "combiner",
            lambda s: s.update({"output_layer.weight": torch.ones(3, 36)}),
            "output_layer",
        ),
    ],
)
def test_bi_names_the_file_and_the_tensor(
    bi, vocabulary: Path, tmp_path: Path, option: str, change: Change, named: str
) -> None:
    path = changed(bi.files()[option], ENTRIES[option], change, tmp_path / "changed.pt")
    message = refusal(bi.load_bi, ProviderError, vocabulary, **{option: path})
    assert message.startswith(f"blip4cir-bi: {option}: ")
    assert named in message


def test_unexpected_tensors_are_reported_and_known_leftovers_are_not(
    grounded, bi, vocabulary: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grounded.load(vocabulary)
    bi.load_bi(vocabulary)
    assert caplog.messages == []
    for option, entry in ENTRIES.items():
        add = {"extra.weight": torch.ones(1)}
        path = changed(bi.files()[option], entry, lambda s: s.update(add), tmp_path / "more.pt")  # noqa: B023
        bi.load_bi(vocabulary, **{option: path})
    assert caplog.messages == [
        f"blip4cir-bi: {option}: 1 tensors are not used: extra.weight" for option in ENTRIES
    ]


def test_files_given_for_one_another_are_refused(grounded, bi, vocabulary: Path) -> None:
    files = bi.files()
    for option in ENTRIES:
        for other in ENTRIES.keys() - {option}:
            options = {option: files[other]}
            assert ENTRIES[option] in refusal(bi.load_bi, ProviderError, vocabulary, **options)
        checkpoint = {"checkpoint": files[option]}
        refusal(grounded.load, ProviderError, vocabulary, **checkpoint)
    options = {"checkpoint": grounded.folder / "checkpoint.pt"}
    assert "'model'" in refusal(bi.load_bi, ProviderError, vocabulary, **options)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"Blip2QformerCirAlignPrompt": {"temp": torch.ones(())}}, "--provider sprc"),
        ({"state_dict": {"blip_model.temp": torch.ones(())}}, "--provider sprc-spn"),
        ({"state_dict": {"clip.weight": torch.ones(1)}}, "'clip.weight'"),
        ({"BLIPTextEncoder": {}}, "--provider blip4cir-bi"),
        ({"model": {"temp": torch.ones(())}}, "--provider blip4cir-bi"),
        ({"CLIP": {"visual.proj": torch.ones(1)}}, "CLIP"),
        ({"BLIP_Retrieval": {"temp": "text"}}, "temp"),
        ([1, 2], "list"),
    ],
)
def test_grounded_refuses_the_file_of_another_model(
    grounded, vocabulary: Path, tmp_path: Path, content: object, named: str
) -> None:
    path = saved(tmp_path / "other.pt", content)
    assert named in refusal(grounded.load, ProviderError, vocabulary, checkpoint=path)


def test_truncated_missing_and_foreign_files(
    grounded, bi, vocabulary: Path, tmp_path: Path
) -> None:
    cut, text = tmp_path / "cut.pt", tmp_path / "text.pt"
    cut.write_bytes((grounded.folder / "checkpoint.pt").read_bytes()[:100_000])
    text.write_text("not a checkpoint")
    for path in (cut, text, tmp_path / "absent.pt", tmp_path):
        assert str(path) in refusal(grounded.load, ProviderError, vocabulary, checkpoint=path)
        for option in ENTRIES:
            assert str(path) in refusal(bi.load_bi, ProviderError, vocabulary, **{option: path})


class Writes:
    """Writes a file when a pickle that holds it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "executed"))


@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_that_would_write_a_file_does_not(
    grounded, bi, vocabulary: Path, tmp_path: Path, archive: bool
) -> None:
    trace, path = tmp_path / "trace", tmp_path / "hostile.pt"
    content = {"epoch": Writes(trace), "BLIP_Retrieval": {}, **{e: {} for e in ENTRIES.values()}}
    if archive:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    refusal(grounded.load, ProviderError, vocabulary, checkpoint=path)
    for option in ENTRIES:
        refusal(bi.load_bi, ProviderError, vocabulary, **{option: path})
    assert not trace.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("vision_heads", 5),
        ("text_heads", 0),
        ("batch_size", 0),
        ("workers", -1),
        ("dtype", "int8"),
        ("device", "nowhere"),
        ("image_size", 100),
        ("image_size", 0),
    ],
)
def test_an_option_that_makes_no_sense_is_named(
    grounded, bi, vocabulary: Path, option: str, value: object
) -> None:
    assert repr(option) in refusal(bi.load_bi, OptionError, vocabulary, **{option: value})
    if option != "image_size":
        assert repr(option) in refusal(grounded.load, OptionError, vocabulary, **{option: value})


def test_a_combiner_of_the_other_dataset_is_refused(bi, vocabulary: Path, tmp_path: Path) -> None:
    encoder, combiner = tmp_path / "cirr_text.pt", tmp_path / "fiq_combiner.pt"
    encoder.symlink_to(bi.files()["text_encoder"].resolve())
    combiner.symlink_to(bi.files()["combiner"].resolve())
    files = {"text_encoder": encoder, "combiner": combiner}
    message = refusal(bi.load_bi, OptionError, vocabulary, **files)
    assert "cirr_text.pt (cirr) and fiq_combiner.pt (fashioniq)" in message
    bi.load_bi(vocabulary, combiner=combiner)  # nothing is known of the other


def test_published_files_are_known_by_their_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "combiner_mean.pt"
    path.write_bytes(b"abc")
    assert pairing.dataset_of(path) is None
    known = {"a9993e364706816aba3e25717850c26c9cd0d89d": "cirr"}  # sha1("abc")
    monkeypatch.setattr(pairing, "_SHA1", known)
    assert pairing.dataset_of(path) == "cirr"


def test_a_text_beyond_the_positions_is_named_and_not_cut(grounded, vocabulary: Path) -> None:
    provider, images = grounded.load(vocabulary), grounded.images()[:1]
    provider.encode_queries(queries_of(images, ["word200 " * 510]))
    with pytest.raises(ProviderError, match=r"at most 512 tokens, got 513 \(query text 'word200"):
        provider.encode_queries(queries_of(images, ["word200 " * 511]))


@pytest.mark.parametrize("text", ["one caption", "three\nof\nthem"])
def test_captions_by_lines_need_two(bi, vocabulary: Path, text: str) -> None:
    provider = bi.load_bi(vocabulary, captions="lines")
    with pytest.raises(ProviderError, match="expected two captions, one a line"):
        provider.encode_queries(queries_of(bi.images()[:1], [text]))


def test_a_vocabulary_of_the_wrong_size_is_named(grounded, bi, tmp_path: Path) -> None:
    short = tmp_path / "vocab.txt"
    short.write_text("[PAD]\n[UNK]\n")
    for load in (grounded.load, bi.load_bi):
        assert "expected 30522 tokens, got 2" in refusal(load, ProviderError, short)


def test_a_text_file_named_png_is_named(grounded, bi, vocabulary: Path, tmp_path: Path) -> None:
    path = tmp_path / "note.png"
    path.write_text("not a picture")
    for provider in (grounded.load(vocabulary), bi.load_bi(vocabulary)):
        for image in (ImageRef("note", path), ImageRef("absent", tmp_path / "absent.png")):
            with pytest.raises(ImageError, match=image.id):
                provider.encode_gallery([image])
            with pytest.raises(ImageError, match=image.id):
                provider.encode_queries(queries_of([image], ["word200"]))
