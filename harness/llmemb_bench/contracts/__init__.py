"""The contract of each kind of plugin: read the file of your kind here, then write one file.

| file | what |
|---|---|
| dataset.py | datasets |
| text.py | encoders, augmentations, losses |
| transform.py | transforms |
| backbone.py, task.py | backbones, and what they are trained to predict |
| recommender.py, phase.py, similarity.py | methods, how they train, how they score |
| objective.py | objectives |
| batch.py | what a training step of these is given |
| metric.py | metrics |

`from llmemb_bench.contracts import Dataset` imports its file only, so that preparing data never imports torch.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmemb_bench.contracts.backbone import Backbone as Backbone
    from llmemb_bench.contracts.backbone import BackboneConfig as BackboneConfig
    from llmemb_bench.contracts.backbone import Depth as Depth
    from llmemb_bench.contracts.backbone import by_group as by_group
    from llmemb_bench.contracts.batch import Batch as Batch
    from llmemb_bench.contracts.batch import Extras as Extras
    from llmemb_bench.contracts.batch import Histories as Histories
    from llmemb_bench.contracts.batch import Negatives as Negatives
    from llmemb_bench.contracts.batch import Sampling as Sampling
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
    from llmemb_bench.contracts.text import ItemEncoder as ItemEncoder
    from llmemb_bench.contracts.text import Loss as Loss
    from llmemb_bench.contracts.text import TextEncoder as TextEncoder
    from llmemb_bench.contracts.text import Tokens as Tokens
    from llmemb_bench.contracts.text import TorchPlugin as TorchPlugin
    from llmemb_bench.contracts.transform import FitOn as FitOn
    from llmemb_bench.contracts.transform import FitRows as FitRows
    from llmemb_bench.contracts.transform import RowsConfig as RowsConfig
    from llmemb_bench.contracts.transform import State as State
    from llmemb_bench.contracts.transform import Transform as Transform


def __getattr__(name: str) -> Any:
    """What a file of this folder defines; found by its source, so that no other file is imported."""
    defined = re.compile(rf"^(?:class |def )?{re.escape(name)}\b(?:[(:]| = )", re.MULTILINE)
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")) if name.isidentifier() and name[0] != "_" else ():
        if defined.search(path.read_text(encoding="utf-8")):
            return getattr(import_module(f"{__name__}.{path.stem}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
