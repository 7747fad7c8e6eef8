"""What each kind of plugin promises: read the file of your kind here, then write one file.

| file | kinds |
|---|---|
| dataset.py | datasets |
| text.py | encoders, augmentations, losses |
| recommender.py | backbones, methods, objectives |
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
    from llmemb_bench.contracts.batch import Batch as Batch
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
    from llmemb_bench.contracts.plugin import Plugin as Plugin
    from llmemb_bench.contracts.recommender import Backbone as Backbone
    from llmemb_bench.contracts.recommender import BackboneConfig as BackboneConfig
    from llmemb_bench.contracts.recommender import Depth as Depth
    from llmemb_bench.contracts.recommender import Method as Method
    from llmemb_bench.contracts.recommender import Objective as Objective
    from llmemb_bench.contracts.recommender import Parts as Parts
    from llmemb_bench.contracts.recommender import Teacher as Teacher
    from llmemb_bench.contracts.recommender import VectorMethod as VectorMethod
    from llmemb_bench.contracts.text import Augmentation as Augmentation
    from llmemb_bench.contracts.text import Encoder as Encoder
    from llmemb_bench.contracts.text import Loss as Loss
    from llmemb_bench.contracts.text import TextEncoder as TextEncoder
    from llmemb_bench.contracts.text import Tokens as Tokens
    from llmemb_bench.contracts.text import TorchPlugin as TorchPlugin


def __getattr__(name: str) -> Any:
    """What a file of this folder defines; found by its source, so that no other file is imported."""
    defined = re.compile(rf"^(?:class |def )?{re.escape(name)}\b(?:[(:]| = )", re.MULTILINE)
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")) if name.isidentifier() and name[0] != "_" else ():
        if defined.search(path.read_text(encoding="utf-8")):
            return getattr(import_module(f"{__name__}.{path.stem}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
