"""What each kind of plugin promises: read the file of your kind here, then write one file.

| file | what |
|---|---|
| dataset.py | datasets |
| text.py | encoders, augmentations, losses |
| backbone.py, task.py | backbones, and what they are trained to predict |
| recommender.py, phase.py, similarity.py | methods, how they train, how they score |
| objective.py | objectives |
| batch.py | what a training step of these is given |
| metric.py | metrics |

`from llmemb_bench.contracts import Dataset` imports its file only, so that preparing data never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmemb_bench.contracts.backbone import Backbone as Backbone
    from llmemb_bench.contracts.backbone import BackboneConfig as BackboneConfig
    from llmemb_bench.contracts.backbone import Depth as Depth
    from llmemb_bench.contracts.backbone import by_group as by_group
    from llmemb_bench.contracts.batch import Batch as Batch
    from llmemb_bench.contracts.batch import Histories as Histories
    from llmemb_bench.contracts.batch import Negatives as Negatives
    from llmemb_bench.contracts.batch import Sampling as Sampling
    from llmemb_bench.contracts.batch import Wanted as Wanted
    from llmemb_bench.contracts.dataset import UNFILTERED as UNFILTERED
    from llmemb_bench.contracts.dataset import Dataset as Dataset
    from llmemb_bench.contracts.dataset import DatasetConfig as DatasetConfig
    from llmemb_bench.contracts.dataset import Described as Described
    from llmemb_bench.contracts.dataset import Download as Download
    from llmemb_bench.contracts.dataset import Figures as Figures
    from llmemb_bench.contracts.dataset import FilesConfig as FilesConfig
    from llmemb_bench.contracts.metric import Metric as Metric
    from llmemb_bench.contracts.objective import Objective as Objective
    from llmemb_bench.contracts.objective import weighted_mean as weighted_mean
    from llmemb_bench.contracts.phase import Batches as Batches
    from llmemb_bench.contracts.phase import Phase as Phase
    from llmemb_bench.contracts.plugin import CellFacts as CellFacts
    from llmemb_bench.contracts.plugin import Plugin as Plugin
    from llmemb_bench.contracts.recommender import Fitted as Fitted
    from llmemb_bench.contracts.recommender import Method as Method
    from llmemb_bench.contracts.recommender import Need as Need
    from llmemb_bench.contracts.recommender import Parts as Parts
    from llmemb_bench.contracts.recommender import Trained as Trained
    from llmemb_bench.contracts.recommender import Upstream as Upstream
    from llmemb_bench.contracts.recommender import VectorMethod as VectorMethod
    from llmemb_bench.contracts.similarity import Cosine as Cosine
    from llmemb_bench.contracts.similarity import Dot as Dot
    from llmemb_bench.contracts.similarity import Similarity as Similarity
    from llmemb_bench.contracts.task import Cloze as Cloze
    from llmemb_bench.contracts.task import NextItem as NextItem
    from llmemb_bench.contracts.task import Reading as Reading
    from llmemb_bench.contracts.task import Task as Task
    from llmemb_bench.contracts.text import Augmentation as Augmentation
    from llmemb_bench.contracts.text import Encoder as Encoder
    from llmemb_bench.contracts.text import Loss as Loss
    from llmemb_bench.contracts.text import TextEncoder as TextEncoder
    from llmemb_bench.contracts.text import Tokens as Tokens
    from llmemb_bench.contracts.text import TorchPlugin as TorchPlugin

_FILES = {
    "backbone": (
        "Backbone",
        "BackboneConfig",
        "Depth",
        "by_group",
    ),
    "batch": (
        "Batch",
        "Histories",
        "Negatives",
        "Sampling",
        "Wanted",
    ),
    "dataset": (
        "UNFILTERED",
        "Dataset",
        "DatasetConfig",
        "Described",
        "Download",
        "Figures",
        "FilesConfig",
    ),
    "metric": ("Metric",),
    "objective": (
        "Objective",
        "weighted_mean",
    ),
    "phase": (
        "Batches",
        "Phase",
    ),
    "plugin": ("CellFacts", "Plugin"),
    "recommender": (
        "Fitted",
        "Method",
        "Need",
        "Parts",
        "Trained",
        "Upstream",
        "VectorMethod",
    ),
    "similarity": (
        "Cosine",
        "Dot",
        "Similarity",
    ),
    "task": (
        "Cloze",
        "NextItem",
        "Reading",
        "Task",
    ),
    "text": (
        "Augmentation",
        "Encoder",
        "Loss",
        "TextEncoder",
        "Tokens",
        "TorchPlugin",
    ),
}


def __getattr__(name: str) -> object:
    for file, names in _FILES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{file}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


CONTRACTS = {
    "datasets": "Dataset",
    "encoders": "Encoder",
    "augmentations": "Augmentation",
    "losses": "Loss",
    "backbones": "Backbone",
    "methods": "Method",
    "objectives": "Objective",
    "metrics": "Metric",
}
"""Kind (the folder's name) to the class that its plugins derive from."""
