"""Tuned weights on disk, believed only after a fresh process has read them back.

Users of adapters elsewhere find them saved empty, or loaded at random, or not at all: each gives vectors, and none of
them the tuned ones.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Float

from llmemb_bench.base.errors import DataError
from llmemb_bench.base.permissions import is_remote_code_allowed
from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Augmentation, Loss, TextEncoder
from llmemb_bench.processes.world import world
from llmemb_bench.registry.kinds import EncoderChoice
from llmemb_bench.registry.resolve import resolve
from llmemb_bench.settings.scft import ScftConfig
from llmemb_bench.text.encoding import build_encoder, encode_items
from llmemb_bench.text.scft import tune
from llmemb_bench.values.recdata import Items

PROBES = 16
EXACT, COARSE = 1e-4, 2e-2
"""What vectors of the saved adapter may differ from the live ones, as a share of the largest number in them: rounding
of float32 on one device, and of bfloat16 or of another device."""
LOG = "scft.jsonl"

Vectors = Float[np.ndarray, "texts text_dim"]


def tune_and_save(
    choice: EncoderChoice,
    items: Items,
    augmentations: Sequence[Augmentation],
    loss: Loss,
    config: ScftConfig,
    folder: Path,
    unfinished: Path | None = None,
) -> None:
    """Tune a fresh encoder, save its adapter and log; a new process must get the tuned vectors from what was saved."""
    with torch_seed(config.seed, "adapter"):
        encoder = build_encoder(TextEncoder, choice)
    probes = _first(items, PROBES)
    untuned = encode_items(encoder, probes)
    log = tune(encoder, items, augmentations, loss, config, unfinished)
    tuned = encode_items(encoder, probes)
    encoder.save_tuned(folder)
    if not world().is_first:
        return
    (folder / LOG).write_text("".join(json.dumps(entry) + "\n" for entry in log))
    is_exact = encoder.facts().get("dtype") == "float32" and not world().sharded
    del encoder  # its memory is needed for the one in the fresh process
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    _verify(read_in_a_fresh_process(choice, folder, probes), tuned, untuned, EXACT if is_exact else COARSE, folder)


def _first(items: Items, count: int) -> Items:
    return Items.of(items.ids[:count], items.attributes[:count], items.prompt)


def _verify(read: Vectors, tuned: Vectors, untuned: Vectors, tolerance: float, folder: Path) -> None:
    moved = float(np.abs(tuned - untuned).max())
    if moved == 0:
        raise DataError("tuning changed nothing", where="embeddings.scft", fix="give the encoder 'lora: {rank: 8}'")
    is_tuned = float(np.abs(read - tuned).max()) <= tolerance * float(np.abs(tuned).max())
    is_base = float(np.abs(read - untuned).max()) < moved / 2
    if is_base or not is_tuned:
        raise DataError("the saved adapter does not reproduce the tuned vectors", where=str(folder), fix="report this")


def _alone() -> dict[str, str]:
    """The environment of a process that joins no other; a base that is sharded because of its size runs on the CPU."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if world().sharded else {}
    return os.environ | {"WORLD_SIZE": "1", "RANK": "0"} | hidden


def read_in_a_fresh_process(choice: EncoderChoice, adapter: Path, items: Items) -> Vectors:
    """Vectors of a few items by an encoder that nobody but the files tells anything; a DataError where it fails."""
    with TemporaryDirectory() as room:
        task = {
            "encoder": resolve(choice, absolute=True),
            "adapter": str(adapter.resolve()),
            "ids": list(items.ids),
            "attributes": list(items.attributes),
            "prompt": asdict(items.prompt),
            "vectors": f"{room}/vectors.npy",
            "remote_code": is_remote_code_allowed(),
        }
        program = [sys.executable, "-P", "-m", "llmemb_bench.text.probe"]  # -P: no module of the current folder
        ran = subprocess.run(program, input=json.dumps(task), env=_alone(), capture_output=True, text=True, check=False)
        if ran.returncode:
            last = (ran.stderr.strip() or "no reason given").splitlines()[-1]
            raise DataError(f"a fresh process cannot read the saved adapter: {last}", where=str(adapter))
        read: Vectors = np.load(task["vectors"], allow_pickle=False)
        return read
