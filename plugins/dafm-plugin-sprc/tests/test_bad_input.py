"""Every wrong file or option is one line of the right error, and nothing in a file is executed."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dafm_core.contract.items import ImageRef
from dafm_core.errors import DafmError, ImageError, OptionError, ProviderError
from dafm_core.testing import queries_of

State = dict[str, torch.Tensor]
ENTRY = "Blip2QformerCirAlignPrompt"
KEY = "Qformer.bert.encoder.layer.1.output.dense.weight"


@pytest.fixture
def state(eva) -> State:
    content: State = torch.load(eva.checkpoint, weights_only=True)[ENTRY]
    return dict(content)


def refusal(case, error: type[DafmError], vocabulary: Path, **options: Any) -> str:
    with pytest.raises(error) as caught:
        case.load(vocabulary, **options)
    message = str(caught.value)
    assert message.startswith("sprc")
    assert "\n" not in message
    return message


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop(KEY), KEY),
        (lambda s: s.pop("ln_vision.weight"), "ln_vision.weight"),
        (lambda s: s.pop("visual_encoder.blocks.1.attn.q_bias"), "blocks.1.attn.q_bias"),
        (lambda s: s.update({KEY: s[KEY].T.contiguous()}), KEY),
        (lambda s: s.update({"text_proj.weight": s["text_proj.weight"][:3]}), "text_proj.weight"),
        (lambda s: s.update({KEY: s[KEY].long()}), "whole numbers"),
        (lambda s: [s.pop(k) for k in list(s) if "visual_encoder" in k], "visual_encoder"),
        (lambda s: [s.pop(k) for k in list(s) if "blocks.1." in k], "without a gap"),
        (lambda s: [s.pop(k) for k in list(s) if "0.crossattention" in k], "cross-attention"),
        (
            lambda s: s.update({"visual_encoder.pos_embed": s["visual_encoder.pos_embed"][:, :-1]}),
            "square grid",
        ),
        (
            lambda s: s.update(
                {k: v[:30000] for k, v in s.items() if k.endswith("word_embeddings.weight")}
            ),
            "30523 words",
        ),
    ],
)
def test_a_missing_or_reshaped_tensor_is_named(
    eva,
    vocabulary: Path,
    state: State,
    tmp_path: Path,
    change: Callable[[State], object],
    named: str,
) -> None:
    change(state)
    path = saved(tmp_path / "sprc.pt", {"epoch": 1, ENTRY: state})
    assert named in refusal(eva, ProviderError, vocabulary, checkpoint=path)


def test_unexpected_tensors_are_reported_and_known_leftovers_are_not(
    eva, vocabulary: Path, state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    eva.load(vocabulary)
    assert caplog.messages == []
    state["visual_encoder.norm.weight"] = torch.ones(36)
    path = saved(tmp_path / "sprc.pt", {"epoch": 1, ENTRY: state})
    eva.load(vocabulary, checkpoint=path)
    assert caplog.messages == [
        "sprc: checkpoint: 1 tensors are not used: visual_encoder.norm.weight"
    ]


def test_each_model_refuses_the_other_by_name(case, vocabulary: Path) -> None:
    other = case.folder.parent / ("eva" if case.name == "spn" else "spn") / "checkpoint.pt"
    message = refusal(case, ProviderError, vocabulary, checkpoint=other)
    assert f"Use --provider {'sprc' if case.name == 'spn' else 'sprc-spn'}." in message


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"epoch": 1, "BLIP_Retrieval": {"temp": torch.ones(())}}, "BLIP4CIR"),
        ({"epoch": 1, "state_dict": {"blip.temp": torch.ones(())}}, "BLIP4CIR"),
        ({"epoch": 1, "state_dict": {"clip.weight": torch.ones(1)}}, "epoch, state_dict"),
        ({"epoch": 1, "CLIP": {"visual.proj": torch.ones(1)}}, "CLIP"),
        ({"epoch": 1, ENTRY: [1, 2]}, "list"),
        ({"epoch": 1, ENTRY: {"query_tokens": "text"}}, "query_tokens"),
        ([1, 2], "list"),
        (torch.ones(3), "Tensor"),
    ],
)
def test_the_file_of_another_model_is_refused(
    eva, vocabulary: Path, tmp_path: Path, content: object, named: str
) -> None:
    path = saved(tmp_path / "other.pt", content)
    assert named in refusal(eva, ProviderError, vocabulary, checkpoint=path)


def test_truncated_missing_and_foreign_files(case, vocabulary: Path, tmp_path: Path) -> None:
    cut, text = tmp_path / "cut.pt", tmp_path / "text.pt"
    cut.write_bytes(case.checkpoint.read_bytes()[:100_000])
    text.write_text("not a checkpoint")
    for path in (cut, text, tmp_path / "absent.pt", tmp_path):
        assert str(path) in refusal(case, ProviderError, vocabulary, checkpoint=path)


class Writes:
    """Writes a file when a pickle that holds it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "executed"))


@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_that_would_write_a_file_does_not(
    case, vocabulary: Path, tmp_path: Path, archive: bool
) -> None:
    trace, path = tmp_path / "trace", tmp_path / "hostile.pt"
    content = {"epoch": Writes(trace), ENTRY: {}, "state_dict": {}}
    if archive:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    refusal(case, ProviderError, vocabulary, checkpoint=path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("vision_heads", 5),
        ("qformer_heads", 0),
        ("batch_size", 0),
        ("workers", -1),
        ("dtype", "int8"),
        ("device", "nowhere"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(
    eva, vocabulary: Path, option: str, value: object
) -> None:
    assert repr(option) in refusal(eva, OptionError, vocabulary, **{option: value})


def test_a_vocabulary_of_the_wrong_size_is_named(eva, tmp_path: Path) -> None:
    short = tmp_path / "vocab.txt"
    short.write_text("[PAD]\n[UNK]\n")
    assert "expected 30522 tokens, got 2" in refusal(eva, ProviderError, short)


def test_a_text_file_named_png_is_named(eva, vocabulary: Path, tmp_path: Path) -> None:
    path = tmp_path / "note.png"
    path.write_text("not a picture")
    provider = eva.load(vocabulary)
    for image in (ImageRef("note", path), ImageRef("absent", tmp_path / "absent.png")):
        with pytest.raises(ImageError, match=image.id):
            provider.encode_gallery([image])
        with pytest.raises(ImageError, match=image.id):
            provider.encode_queries(queries_of([image], ["word200"]))
