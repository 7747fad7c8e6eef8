"""Stages that all processes make together: each takes its share of the work, the first one writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from llmemb_bench.processes.world import world
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.stage import Cached, T


class MadeTogether(Cached[T]):
    """A stage that every process comes to, in the same order; of `make`, only the first one's files stay."""

    @property
    def is_made(self) -> bool:
        return world().agreed(super().is_made)

    def filling(self) -> AbstractContextManager[Path | None]:
        return filling_together(self.cache, self.name, self.address)


@contextmanager
def filling_together(cache: Cache, stage: str, key: str) -> Iterator[Path | None]:
    """`Cache.filling` in every process. The first holds the result's lock; the others make what it makes, into folders
    that are thrown away, and nobody goes on before the result is there."""
    here = world()
    if here.is_first:
        with cache.filling(stage, key) as folder:
            here.agreed(folder is not None)
            yield folder
    elif here.agreed(False):
        with TemporaryDirectory() as unused:
            yield Path(unused)
    else:
        yield None
    here.agreed(True)
