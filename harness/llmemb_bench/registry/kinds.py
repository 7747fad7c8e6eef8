"""The kinds of plugins: one entry per kind, in one table. Nothing here imports a contract, a check or a plugin.

A new kind is its choice and its entry here, and the files that the entry names: the contract, its checks, a skeleton.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmemb_bench.registry.config import Choice, Config

if TYPE_CHECKING:
    from llmemb_bench.contracts import (  # noqa: F401  # for the names in quotes below, which ruff takes for texts
        Augmentation,
        Backbone,
        BackboneConfig,
        Dataset,
        DatasetConfig,
        Encoder,
        Loss,
        Method,
        Metric,
        Objective,
        Plugin,
        Transform,
    )


class DatasetChoice(Choice["Dataset", "DatasetConfig"]):
    """A dataset and its settings."""

    kind = "datasets"


class EncoderChoice(Choice["Encoder", Config]):
    """An encoder and its settings."""

    kind = "encoders"


class TransformChoice(Choice["Transform", Config]):
    """A transform and its settings."""

    kind = "transforms"


class AugmentationChoice(Choice["Augmentation", Config]):
    """An augmentation and its settings."""

    kind = "augmentations"


class LossChoice(Choice["Loss", Config]):
    """A contrastive loss and its settings."""

    kind = "losses"


class BackboneChoice(Choice["Backbone", "BackboneConfig"]):
    """A backbone and its settings."""

    kind = "backbones"


class MethodChoice(Choice["Method", Config]):
    """A method and its settings."""

    kind = "methods"


class ObjectiveChoice(Choice["Objective", Config]):
    """An objective and its settings."""

    kind = "objectives"


class MetricChoice(Choice["Metric", Config]):
    """A metric and its settings."""

    kind = "metrics"


@dataclass(frozen=True)
class Kind:
    """A kind of plugins. Contract, checks and skeleton are references (`module:name`), imported on demand."""

    choice: type[Choice[Any, Any]]
    """How a spec chooses one; it has the kind's name, which is the folder's in every plugin package."""
    does: str
    """What its plugins do, in a few words."""
    contract: str
    """The class that its plugins derive from."""
    checks: str
    """The contract checks: a tuple of functions that take a Case."""
    skeleton: str
    """The module that `new` copies."""

    @property
    def name(self) -> str:
        """The folder's name: `datasets`."""
        return self.choice.kind

    @property
    def contract_name(self) -> str:
        """`Dataset`"""
        return self.contract.partition(":")[2]

    @property
    def singular(self) -> str:
        """What one of its plugins is called in a sentence: `dataset`."""
        return self.contract_name.lower()

    def load_contract(self) -> type[Plugin]:
        """The class that its plugins derive from."""
        found: type[Plugin] = _named(self.contract)
        return found

    def load_checks(self) -> tuple[Callable[[Any], None], ...]:
        """The contract checks."""
        found: tuple[Callable[[Any], None], ...] = _named(self.checks)
        return found

    def skeleton_text(self) -> str:
        """The source that `new` starts from, which is not run; a ModuleNotFoundError where there is none."""
        spec = util.find_spec(self.skeleton)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"no module {self.skeleton}", name=self.skeleton)
        return Path(spec.origin).read_text(encoding="utf-8")


def _named(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


CONTRACTS, TESTING, SKELETONS = (f"llmemb_bench.{room}" for room in ("contracts", "testing", "skeletons"))
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            DatasetChoice,
            "raw files in, events and items out",
            f"{CONTRACTS}.dataset:Dataset",
            f"{TESTING}.dataset:DATASETS",
            f"{SKELETONS}.datasets",
        ),
        Kind(
            EncoderChoice,
            "items in, vectors out",
            f"{CONTRACTS}.text:Encoder",
            f"{TESTING}.text:ENCODERS",
            f"{SKELETONS}.encoders",
        ),
        Kind(
            TransformChoice,
            "item vectors in, item vectors out",
            f"{CONTRACTS}.transform:Transform",
            f"{TESTING}.transform:TRANSFORMS",
            f"{SKELETONS}.transforms",
        ),
        Kind(
            AugmentationChoice,
            "an item's attributes in, a view of them out",
            f"{CONTRACTS}.text:Augmentation",
            f"{TESTING}.text:AUGMENTATIONS",
            f"{SKELETONS}.augmentations",
        ),
        Kind(
            LossChoice,
            "two aligned batches of vectors in, a scalar out",
            f"{CONTRACTS}.text:Loss",
            f"{TESTING}.text:LOSSES",
            f"{SKELETONS}.losses",
        ),
        Kind(
            BackboneChoice,
            "a sequence of vectors in, a state at each position out",
            f"{CONTRACTS}.backbone:Backbone",
            f"{TESTING}.recommender:BACKBONES",
            f"{SKELETONS}.backbones",
        ),
        Kind(
            MethodChoice,
            "how item vectors become a recommender",
            f"{CONTRACTS}.recommender:Method",
            f"{TESTING}.recommender:METHODS",
            f"{SKELETONS}.methods",
        ),
        Kind(
            ObjectiveChoice,
            "states, positives and negatives in, a scalar out",
            f"{CONTRACTS}.objective:Objective",
            f"{TESTING}.objective:OBJECTIVES",
            f"{SKELETONS}.objectives",
        ),
        Kind(
            MetricChoice,
            "ranks in, one value per user out",
            f"{CONTRACTS}.metric:Metric",
            f"{TESTING}.objective:METRICS",
            f"{SKELETONS}.metrics",
        ),
    )
}
"""Every kind by its name, in the order of lists."""
