"""Settings of training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llmemb_bench.registry.config import MACHINE, Config, Protocol
from llmemb_bench.registry.kinds import MetricChoice

Start = Literal["ours", "published"]
"""Where weights start (`start.py`)."""


Decay = Annotated[float, Field(ge=0, lt=1)]


class TrainConfig(Config):
    """Adam, with early stopping on validation; the weights of the best epoch are restored."""

    batch_size: Annotated[int, Field(ge=1)] = 128
    """Mean number of histories per step, over all processes (paper: 128). An epoch has as many steps as if each held
    this many; all steps have about equally many targets."""
    targetless: Literal["leave_out", "count"] = "leave_out"
    """Users with one training event, who predict nothing: left out of batches, or counted as if they were in
    them, as in LLMEmb's code, so that an epoch has more steps of fewer targets (docs/departures.md 37)."""
    betas: Annotated[list[Decay], Field(min_length=2, max_length=2)] = [0.9, 0.999]
    """Adam's decay of the running means of the gradient and of its square (LLMEmb: 0.9 and 0.999; the original SASRec:
    0.9 and 0.98, with which `gbce` leaves the plateau of counting popularity far earlier; a softmax was worse with it:
    docs/adr/0005-every-target-alike.md)."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """What Adam adds to the root of the second (paper: 1e-8)."""
    start: Start = "ours"
    """How weights are initialised: `ours`, as each module does it; `published`, all matrices from Xavier's normal
    distribution (LLMEmb's code, docs/departures.md 34)."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Micro-batches that a step is divided into (gradient accumulation), to save memory; the gradient is the same."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Adam's step size (paper: 1e-3)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled decay, as in AdamW (paper: none)."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient over all weights; absent: no limit (paper: none)."""
    rows: Literal["all", "touched"] = "all"
    """Which rows of an id table a step moves: Adam moves all, by momentum; `touched` only those of the batch (lazy
    Adam), so that a step costs the same however large the catalogue is."""
    epochs: Annotated[int, Field(ge=1)] = 200
    """Passes over the training histories at most (paper: 200)."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Steps at most, for catalogues of which one pass is too much."""
    patience: Annotated[int, Field(ge=1)] = 20
    """Validations without improvement before training stops (paper: 20)."""
    validate_every: Annotated[int, Field(ge=1)] = 1
    """Epochs between validations (paper: 1)."""
    monitor: MetricChoice = MetricChoice("ndcg")
    """Metric of the validation ranking that chooses the best epoch (paper: NDCG@10)."""
    monitor_cutoff: Annotated[int, Field(ge=1)] = 10
    """Rank at which that metric stops counting, whatever `evaluate.cutoffs` are (paper: 10)."""
    monitor_protocol: Protocol = "full"
    """What that ranking is among: the whole catalogue, or `sampled-N` items a user, drawn once (LLMEmb's code:
    sampled-100, drawn again at every validation; docs/departures.md 35)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products in forward and backward pass; weights, sums and the objective stay in float32."""
    compile: bool = False
    """Compile the backbone with torch.compile: some minutes at the start, then fewer and larger kernels. Attention
    blocks then compute padding again, which on a CPU costs more than it gains."""
    scores_mb: Annotated[int, Field(ge=1)] = 128
    """Memory for an objective's scores: more targets than fit are taken in blocks, with the same gradient."""
    log_every: Annotated[int, Field(ge=1)] = 100
    """Steps between two lines of events.jsonl."""
    checkpoint_seconds: Annotated[float, Field(ge=0), MACHINE] = 60.0
    """At most this many seconds of work are lost when a run is killed."""
