"""SCFT: fresh views, the gradient of the whole batch in chunks of any size, measurement, and going on after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.contracts import Loss, Tokens
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.entries import find
from llmemb_bench.registry.kinds import EncoderChoice, LossChoice
from llmemb_bench.settings.scft import HeldOutConfig, ScftConfig
from llmemb_bench.testing.case import small_items
from llmemb_bench.text.adapter import LOG, tune_and_save
from llmemb_bench.text.chunks import ChunkSize
from llmemb_bench.text.encoding import encode_items
from llmemb_bench.text.gradients import _Batch, backward_in_chunks
from llmemb_bench.text.held_out import hold_out
from llmemb_bench.text.scft import tune
from llmemb_bench.text.views import duplicates, two_views
from llmemb_bench.values.recdata import Items, Prompt
from tests.helpers.small_models import SCFT, augmentation, encoder, loss


def changed(**settings) -> ScftConfig:
    return ScftConfig.model_validate(SCFT.model_dump() | settings)


def weights_of(made) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in made.named_parameters() if weight.requires_grad}


def adapted(folder, **settings):
    """An encoder whose LoRA does something already: a fresh B is zero, and so is A's gradient."""
    made = encoder("causal_lm", folder, **settings)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2, generator=draw)
    return made


# --- the gradient ---


def gradient_of(made, chunk: int, name: str = "info_nce", graphs: int = 1) -> dict[str, torch.Tensor]:
    items = small_items(12)
    views = two_views(items, range(12), [augmentation()], np.random.default_rng(0))
    tokens, objective = made.tokenize([items.text(view) for view in views]), loss(name)
    made.train()
    backward_in_chunks(made, tokens, range(24), lambda vectors: objective(*vectors.chunk(2)), ChunkSize(chunk, graphs))
    found = {name: weight.grad.clone() for name, weight in made.named_parameters() if weight.requires_grad}
    return found | {f"loss.{name}": weight.grad.clone() for name, weight in objective.named_parameters()}


@pytest.mark.parametrize("name", ["info_nce", "soft_clip", "supcon"])
@pytest.mark.parametrize(("chunk", "graphs"), [(1, 1), (40, 1), (40, 3), (150, 2)])
@pytest.mark.parametrize("settings", [{}, {"gradient_checkpointing": True}, {"lora": None, "full": True}])
def test_the_size_of_a_chunk_changes_no_gradient_dropout_included(name, chunk, graphs, settings, tmp_path):
    lora = {"lora": {"rank": 4, "dropout": 0.3}} | settings
    whole = gradient_of(adapted(tmp_path, **lora), 100_000, name)
    chunked = gradient_of(adapted(tmp_path, **lora), chunk, name, graphs)
    assert whole.keys() == chunked.keys()
    assert any(gradient.abs().max() > 1e-4 for gradient in whole.values())
    for name, gradient in whole.items():
        assert is_close(chunked[name], gradient), name


@pytest.mark.parametrize("name", ["sigmoid", "decoupled", "barlow_twins", "vicreg"])
def test_a_loss_over_features_or_pairs_has_one_gradient_in_chunks_of_any_size(name, tmp_path):
    whole = gradient_of(adapted(tmp_path, lora={"rank": 4, "dropout": 0.3}), 100_000, name)
    chunked = gradient_of(adapted(tmp_path, lora={"rank": 4, "dropout": 0.3}), 40, name, 2)
    assert any(gradient.abs().max() > 1e-4 for gradient in whole.values())
    for weight, gradient in whole.items():
        assert is_close(chunked[weight], gradient), weight


def is_close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Up to the rounding of sums in another order."""
    return bool((found - expected).norm() <= 2e-4 * expected.norm() + 1e-6)


def test_the_gradient_is_that_of_a_plain_backward_pass(tmp_path):
    made, items = adapted(tmp_path, lora={"rank": 4, "dropout": 0.0}), small_items(12)
    views = two_views(items, range(12), [augmentation()], np.random.default_rng(0))
    vectors = made(*made.tokenize([items.text(view) for view in views]).batch(range(24)))
    cosines = functional.normalize(vectors[:12]) @ functional.normalize(vectors[12:]).T
    functional.cross_entropy(cosines / 0.07, torch.arange(12)).backward()
    plain = {name: weight.grad for name, weight in made.named_parameters() if weight.requires_grad}
    for name, gradient in gradient_of(adapted(tmp_path, lora={"rank": 4, "dropout": 0.0}), 60).items():
        assert is_close(gradient, plain[name]), name


def test_dropout_is_drawn_anew_for_other_seeds_at_its_share(tmp_path):
    made = encoder("causal_lm", tmp_path, lora={"rank": 4, "dropout": 0.3})
    [dropout, *_] = [module for module in made.modules() if type(module).__name__ == "TextDropout"]
    x = torch.ones(2, 400, 32)
    real = torch.ones(2, 400, dtype=torch.bool)
    made._draws.set([1, 2], real)
    first, again = dropout(x), dropout(x)
    made._draws.set([3, 2], real)
    other = dropout(x)
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(first[1], other[1])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])
    assert (first == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert first.mean().item() == pytest.approx(1, abs=0.02)


def test_out_of_memory_between_kept_graphs_changes_no_gradient(tmp_path, monkeypatch, capsys):
    whole = gradient_of(adapted(tmp_path, lora={"rank": 4}), 100_000)
    made, left = adapted(tmp_path, lora={"rank": 4}), [2]
    pull = _Batch.pull

    def once_too_much(graph, gradient):
        left[0] -= 1
        if left[0] == 0:
            raise torch.OutOfMemoryError("no room")
        pull(graph, gradient)

    monkeypatch.setattr(_Batch, "pull", staticmethod(once_too_much))
    for name, gradient in gradient_of(made, 40, graphs=4).items():
        assert is_close(gradient, whole[name]), name
    assert "chunks of 40 tokens, 2 at once from now on" in capsys.readouterr().err


def test_out_of_memory_in_either_pass_halves_the_chunk_and_changes_no_gradient(tmp_path, monkeypatch, capsys):
    whole = gradient_of(adapted(tmp_path, lora={"rank": 4}), 100_000)
    for grad in (False, True):  # the first pass runs without a graph but for one chunk
        made = adapted(tmp_path, lora={"rank": 4})
        forward = made.forward

        def small_only(ids, *rest, forward=forward, grad=grad):
            if ids.numel() > 100 and torch.is_grad_enabled() == grad:
                raise torch.OutOfMemoryError("no room")
            return forward(ids, *rest)

        monkeypatch.setattr(made, "forward", small_only)
        for name, gradient in gradient_of(made, 200).items():
            assert is_close(gradient, whole[name]), name
        assert "out of memory: chunks of 100 tokens from now on" in capsys.readouterr().err


# --- what is tuned on ---


def test_views_are_fresh_and_differ():
    items, rng = small_items(), np.random.default_rng(0)
    first = two_views(items, range(10), [augmentation()], rng)
    again = two_views(items, range(10), [augmentation()], rng)
    assert all(one != other for one, other in zip(first[:10], first[10:], strict=True))
    assert first != again
    single = Items.of(["a"], [(("title", "alone"),)], Prompt("The item: "))
    assert two_views(single, [0], [augmentation()], rng) == [single.attributes[0]] * 2


def test_the_second_view_is_made_in_its_own_way_after_the_augmentations_before_it():
    items, rng = small_items(10), np.random.default_rng(0)
    made = two_views(items, range(10), [augmentation("title_against_rest"), augmentation("shuffle_attributes")], rng)
    for row in range(10):
        title, *rest = items.attributes[row]
        assert made[row] == (title,)
        assert sorted(made[10 + row]) == sorted(rest)


def test_the_same_text_twice_needs_dropout_to_be_tuned_on(tmp_path):
    items, twice = small_items(), [augmentation("dropout_only")]
    still = encoder("causal_lm", tmp_path, lora={"rank": 2, "dropout": 0.0})
    with pytest.raises(SpecError, match=r"both views of an item are one text.*dropout: 0.1"):
        tune(still, items, twice, loss(), SCFT)
    tune(still, items, [augmentation("title_against_rest")], loss(), changed(steps=1))
    made = encoder("causal_lm", tmp_path, lora={"rank": 2, "dropout": 0.1})
    log = tune(made, items, twice, loss(), changed(steps=30))
    assert log[-1]["loss"] < log[1]["loss"]


def test_dropping_leaves_out_the_papers_share():
    attributes = tuple((f"name{place}", f"value{place}") for place in range(10))
    view = augmentation().view(attributes, np.random.default_rng(0))
    assert len(view) == 6
    assert set(view) < set(attributes)


def test_items_of_one_text_and_views_in_common_are_alike():
    title, brand, other = ("title", "Soap"), ("brand", "X"), ("brand", "Y")
    items = Items.of("abcd", [(title, brand), (title, other), (title, brand), (("title", "Film"),)])
    views = Tokens(((1,), (1,), (2, 1), (4,), (2,), (3,), (1, 2), (5,)), pad=0)
    found = duplicates(items, [0, 1, 2, 3], views)
    expected = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert torch.equal(found, expected)


def test_items_of_a_held_out_text_are_not_tuned_on_either(tmp_path, monkeypatch):
    items, drawn = Items.of([f"i{place}" for place in range(40)], [*small_items(20).attributes] * 2), set()
    held = hold_out(items, [augmentation()], SCFT)
    assert held is not None
    monkeypatch.setattr(
        "llmemb_bench.text.scft.two_views",
        lambda items, rows, *rest: (drawn.update(rows), two_views(items, rows, *rest))[1],
    )
    tune(encoder("causal_lm", tmp_path), items, [augmentation()], loss(), SCFT)
    assert {items.attributes[row] for row in drawn}.isdisjoint(items.attributes[row] for row in held.rows)
    two = Items.of(["a", "b"] * 10, [(("title", "x"),), (("title", "y"),)] * 10)
    with pytest.raises(DataError, match="there are not two items to tune on"):
        tune(encoder("causal_lm", tmp_path), two, [augmentation()], loss(), SCFT)


def test_a_base_with_dropout_of_its_own_kind_is_silenced_or_refused(tmp_path):
    from transformers import OPTConfig, OPTModel

    encoder("causal_lm", tmp_path)  # for its tokenizer
    sizes = {
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "word_embed_proj_dim": 32,
    }
    OPTModel(OPTConfig(vocab_size=17, max_position_embeddings=256, dropout=0.5, **sizes)).save_pretrained(tmp_path)
    made = encoder("causal_lm", None, checkpoint=str(tmp_path), lora={"rank": 2})
    tune(made, small_items(), [augmentation()], loss(), SCFT)
    decoder = made.model.base_model.model.decoder.layers[0]
    assert decoder.dropout == 0
    decoder.dropout = 0.5
    with pytest.raises(SpecError, match="gives one text with one seed two vectors"):
        tune(made, small_items(), [augmentation()], loss(), SCFT)


def test_false_negatives_are_masked_unless_the_published_code_is_wanted(tmp_path):
    items = Items.of(
        [f"i{place}" for place in range(24)], [(("title", "one"), ("kind", "red"))] * 23 + [(("title", "two"),)]
    )
    config = {"held_out": HeldOutConfig(items=0), "steps": 1, "batch_size": 24}
    losses = [
        tune(encoder("causal_lm", tmp_path), items, [augmentation()], loss(), changed(**config, false_negatives=how))
        for how in ("mask", "keep")
    ]
    masked, kept = (log[-1]["loss"] for log in losses)
    assert masked < 0.5 < 2 < kept


def test_items_that_are_all_alike_cannot_be_tuned_on(tmp_path):
    items = Items.of(["a", "b", "c"], [(("title", "same"),)] * 3)
    with pytest.raises(DataError, match="needs two items with different texts"):
        tune(encoder("causal_lm", tmp_path), items, [augmentation()], loss(), SCFT)
    with pytest.raises(DataError, match="there are 1 items"):
        tune(encoder("causal_lm", tmp_path), small_items(1), [augmentation()], loss(), SCFT)


def test_texts_longer_than_the_model_are_tuned_on(tmp_path):
    made = encoder("sentence_encoder", tmp_path, lora={"rank": 2}, max_tokens=256)  # all the places that it has
    titles = [f"{word} " + "red soap " * 400 for word in ("one", "two", "film", "blue")]
    items = Items.of("abcd", [(("title", title), ("kind", "thing")) for title in titles])
    assert tune(made, items, [augmentation()], loss(), changed(steps=1))[-1]["step"] == 1


def test_frozen_weights_cannot_be_tuned(tmp_path):
    with pytest.raises(SpecError, match=r"all weights of the encoder are frozen.*set lora"):
        tune(encoder("causal_lm", tmp_path, lora=None), small_items(), [augmentation()], loss("soft_clip"), SCFT)


# --- how it goes ---


def test_tuning_lowers_the_loss_and_finds_held_out_items_more_often(tmp_path):
    config = changed(steps=150, held_out=HeldOutConfig(items=10, candidates=100, every=150))
    log = tune(encoder("causal_lm", tmp_path, lora={"rank": 8}), small_items(100), [augmentation()], loss(), config)
    losses = [entry["loss"] for entry in log[1:]]
    assert np.mean(losses[-10:]) < 0.97 * np.mean(losses[:10])
    measured = [entry for entry in log if "recall_at_1" in entry]
    assert [entry["step"] for entry in measured] == [0, 150]
    assert measured[1]["recall_at_1"] >= measured[0]["recall_at_1"]
    assert measured[1]["uniformity"] < measured[0]["uniformity"]


def test_tuning_twice_gives_the_same_weights_and_another_seed_others(tmp_path):
    found = []
    for seed in (42, 42, 43):
        made = encoder("causal_lm", tmp_path, lora={"rank": 2})
        tune(made, small_items(), [augmentation()], loss(), changed(seed=seed))
        found.append(weights_of(made))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_the_log_holds_every_curve(tmp_path):
    made = encoder("causal_lm", tmp_path, lora={"rank": 2})
    config = changed(warmup=3, steps=12, held_out=HeldOutConfig(items=4, candidates=20, every=5))
    log = tune(made, small_items(), [augmentation()], loss("soft_clip"), config)
    assert [entry["step"] for entry in log] == list(range(13))
    assert {"loss", "temperature", "gradient_norm", "learning_rate"} <= log[1].keys()
    assert log[1]["temperature"] != log[12]["temperature"]  # learnt
    rates = [entry["learning_rate"] / config.learning_rate for entry in log[1:]]
    assert rates == pytest.approx([1 / 4, 2 / 4, 3 / 4, *(place / 9 for place in range(9, 0, -1))])
    assert [entry["step"] for entry in log if "alignment" in entry] == [0, 5, 10, 12]


def test_held_out_items_are_never_tuned_on(tmp_path, monkeypatch):
    items, drawn = small_items(), set()
    held = hold_out(items, [augmentation()], SCFT)
    assert held is not None
    monkeypatch.setattr(
        "llmemb_bench.text.scft.two_views",
        lambda items, rows, *rest: (drawn.update(rows), two_views(items, rows, *rest))[1],
    )
    tune(encoder("causal_lm", tmp_path), items, [augmentation()], loss(), SCFT)
    assert drawn == set(range(40)) - set(held.rows)
    assert len(held.rows) == 4


def test_the_measure_is_what_its_formulas_say(tmp_path):
    items, made = small_items(), encoder("causal_lm", tmp_path)
    held = hold_out(items, [augmentation()], SCFT)
    assert held is not None
    found = held.measure(made)
    of = lambda views: np.stack([_direction(made, items, view) for view in views])  # noqa: E731
    queries, candidates = of(held.queries), of(held.candidates)
    nearest = [int(np.argmax([query @ candidate for candidate in candidates])) for query in queries]
    assert found["recall_at_1"] == np.mean([own == near for own, near in enumerate(nearest)])
    assert found["alignment"] == pytest.approx(
        np.mean([((query - candidate) ** 2).sum() for query, candidate in zip(queries, candidates, strict=False)]),
        abs=1e-5,
    )
    pairs = [
        np.exp(-2 * ((candidates[one] - candidates[other]) ** 2).sum())
        for one in range(len(candidates))
        for other in range(one)
    ]
    assert found["uniformity"] == pytest.approx(np.log(np.mean(pairs)), abs=1e-4)


def _direction(made, items, view) -> np.ndarray:
    [vector] = encode_items(made, Items.of(["x"], [view], items.prompt)).astype(np.float64)
    return vector / np.linalg.norm(vector)


def test_patience_stops_early_and_gives_back_the_best_weights(tmp_path, monkeypatch):
    recalls = iter([0.9, 0.2, 0.5, 0.4, 0.5, 0.1, 0.9])
    kept = []

    def measured(self, model):
        kept.append(weights_of(model))
        return {"recall_at_1": next(recalls)}

    monkeypatch.setattr("llmemb_bench.text.held_out.HeldOut.measure", measured)
    made = encoder("causal_lm", tmp_path, lora={"rank": 2})
    config = changed(held_out=HeldOutConfig(items=4, candidates=20, every=2, patience=3))
    log = tune(made, small_items(), [augmentation()], loss(), config)
    assert log[-1]["step"] == 10
    assert all(torch.equal(weights_of(made)[name], weight) for name, weight in kept[2].items())


def test_a_nan_stops_with_the_step_and_the_texts(tmp_path):
    made, kept = encoder("causal_lm", tmp_path), tmp_path / "kept"
    kept.mkdir()
    with torch.no_grad():
        made.model.base_model.model.embed_tokens.weight[:] = float("nan")
    config = changed(held_out=HeldOutConfig(items=0))
    with pytest.raises(
        DataError, match=r"is nan at step 1; 32 of 32 vectors of the batch are not finite; its texts: 'The item has"
    ):
        tune(made, small_items(), [augmentation()], loss(), config, kept)
    assert len(json.loads((kept / "batch-of-nan.json").read_text())) == 32


def test_an_infinite_gradient_stops_before_it_reaches_the_weights(tmp_path):
    made = encoder("causal_lm", tmp_path)
    before = weights_of(made)
    with pytest.raises(DataError, match=r"the loss or its gradient is (inf|nan) at step 1"):
        tune(made, small_items(), [augmentation()], _Exploding(Config()), changed(held_out=HeldOutConfig(items=0)))
    assert all(torch.equal(weights_of(made)[name], weight) for name, weight in before.items())


class _Exploding(Loss):
    """A finite loss whose gradient is not: the root of zero."""

    def forward(self, left, right, duplicates=None):
        return (left - left.detach()).abs().sum().sqrt()


# --- saved, and gone on with ---


def choice_in(folder: Path, **settings) -> EncoderChoice:
    example = find("encoders", "causal_lm").load().example(folder)
    return EncoderChoice("causal_lm", example | {"lora": {"rank": 2}} | settings)


def test_what_was_saved_is_read_back_in_a_fresh_process(tmp_path, monkeypatch):
    choice, adapter, here = choice_in(tmp_path), tmp_path / "adapter", tmp_path / "here"
    adapter.mkdir()
    here.mkdir()
    for name in ("json", "numpy", "torch"):  # in the current folder, from which nothing may be imported
        (here / f"{name}.py").write_text(f"raise SystemExit('{name} of the current folder ran')\n")
    monkeypatch.chdir(here)
    ran = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *words, **how: (ran.append(words[0]), run(*words, **how))[1])
    tune_and_save(choice, small_items(), [augmentation()], loss(), SCFT, adapter)
    assert ran == [[sys.executable, "-P", "-m", "llmemb_bench.text.probe"]]
    assert len((adapter / LOG).read_text().splitlines()) == 13


def test_an_adapter_that_was_not_saved_as_it_is_is_found_out(tmp_path, monkeypatch):
    choice, adapter = choice_in(tmp_path), tmp_path / "adapter"
    adapter.mkdir()
    from llmemb_plugins.encoders._transformer import TransformerEncoder

    save = TransformerEncoder.save_tuned

    def too_early(self, folder):
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if "lora_B" in name:
                    weight.mul_(0.5)
        save(self, folder)

    monkeypatch.setattr(TransformerEncoder, "save_tuned", too_early)
    with pytest.raises(DataError, match="the saved adapter does not reproduce the tuned vectors"):
        tune_and_save(choice, small_items(), [augmentation()], loss(), SCFT, adapter)
    monkeypatch.setattr(TransformerEncoder, "save_tuned", lambda self, folder: None)
    adapter = tmp_path / "empty"
    adapter.mkdir()
    with pytest.raises(
        DataError, match=r"a fresh process cannot read the saved adapter: .*is not an adapter for this encoder"
    ):
        tune_and_save(choice, small_items(), [augmentation()], loss(), SCFT, adapter)


PROGRAM = """
import json, sys
from pathlib import Path
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.kinds import EncoderChoice, LossChoice
from llmemb_bench.contracts import Loss, Tokens
from llmemb_bench.registry.entries import find
from llmemb_bench.testing.case import small_items
from llmemb_bench.text.adapter import tune_and_save
from llmemb_bench.settings.scft import ScftConfig

task = json.loads(sys.argv[1])
made = lambda kind, name: (lambda plugin: plugin(plugin.config_type()()))(find(kind, name).load())
config = ScftConfig.model_validate(task["scft"] | {"loss": LossChoice("soft_clip")})
Path(task["folder"]).mkdir()
tune_and_save(
    EncoderChoice("causal_lm", task["encoder"]), small_items(), [made("augmentations", "drop_attributes")],
    made("losses", "soft_clip"), config, Path(task["folder"]), Path(task["kept"]),
)
"""


@pytest.mark.parametrize("patience", [pytest.param(None, marks=pytest.mark.slow), 50])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(patience, tmp_path):
    choice = choice_in(tmp_path / "model")
    scft = {
        "augmentations": ["drop_attributes"],
        "steps": 60,
        "batch_size": 16,
        "learning_rate": 0.005,
        "checkpoint_seconds": 0.0,
        "held_out": {"items": 4, "candidates": 20, "every": 10, "patience": patience},
    }

    def start(name: str) -> subprocess.Popen:
        (tmp_path / f"{name}-kept").mkdir(exist_ok=True)
        task = {"encoder": dict(choice.settings), "scft": scft, "kept": str(tmp_path / f"{name}-kept")}
        arguments = json.dumps(task | {"folder": str(tmp_path / name)})
        return subprocess.Popen([sys.executable, "-c", PROGRAM, arguments])

    assert start("whole").wait() == 0
    process, kept = start("killed"), tmp_path / "killed-kept" / "tuning.safetensors"
    while not kept.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "adapter_model.safetensors").exists()
    (tmp_path / "killed").rmdir()
    assert start("killed").wait() == 0
    for name in ("adapter_model.safetensors", LOG):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert any(weight.any() for weight in load_file(tmp_path / "killed" / "adapter_model.safetensors").values())


@pytest.mark.slow
def test_a_real_decoder_is_tuned_from_a_gguf_file(tmp_path):
    path = os.environ.get("LLMEMB_BENCH_SMOLLM2")
    if not path:
        pytest.skip("set LLMEMB_BENCH_SMOLLM2 to a .gguf file of SmolLM2-135M")
    choice = EncoderChoice("causal_lm", {"checkpoint": path, "lora": {"rank": 4}})
    config = changed(steps=2, batch_size=4, learning_rate=1e-3, loss=LossChoice("info_nce"))
    (tmp_path / "adapter").mkdir()
    tune_and_save(choice, small_items(12), [augmentation()], loss(), config, tmp_path / "adapter")
    made = encoder("causal_lm", None, checkpoint=path, lora={"rank": 4}, adapter=str(tmp_path / "adapter"))
    assert encode_items(made, small_items(12)).shape == (12, 576)
