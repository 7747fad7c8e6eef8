"""A step of a cell: what it is made from, how it is made, and how it is read back.

A stage has two hashes. Its **identity** says what it is: settings, versions, sources of plugins, raw files and the
identities of its upstream. It is known before anything is done, so a finished run is recognised by it. Its **key** is
the address of its result in the cache. It takes of an upstream stage what came out of it (its `content`: of a split the
events, of a catalogue the texts), not how that came about: events that are added encode no item again, and another
phrase in the texts trains no model of ids again. What came out is unknown until the data are prepared; until then the
key is None.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.keys import stage_key

T = TypeVar("T")


@dataclass(frozen=True)
class Resources:
    """What making a stage takes, for scheduling the work."""

    cores: int = 1
    gpu: bool = False
    """Whether a GPU speeds it up."""
    memory_mb: float | None = None
    """An estimate; None: not known (yet)."""


class Stage(ABC, Generic[T]):
    """Something with a result of type T, which is loaded at most once until it is released."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Of the result's form: raised when the stage's code changes what it makes."""

    def __init__(
        self, cache: Cache, settings: object, upstream: Sequence[Stage[Any]] = (), files: Sequence[str] = ()
    ) -> None:
        self.cache, self.settings, self.upstream = cache, settings, tuple(upstream)
        self.files = tuple(files)
        """Fingerprints of the raw files that are read."""
        self._loaded: list[T] = []

    @cached_property
    def identity(self) -> str:
        """What the result is, known before any work."""
        return self._hash([stage.identity for stage in self.upstream])

    @property
    def content(self) -> str | None:
        """What stages downstream are addressed by; None where that is not known yet."""
        return None

    def learn_content(self) -> None:
        """Do what is needed to know `content`, and no more: prepare the data."""
        for stage in self.upstream:
            stage.learn_content()

    @property
    def resources(self) -> Resources:
        """What making it takes."""
        return Resources()

    @property
    def is_made(self) -> bool:
        """Whether the result can be loaded without work."""
        return False

    def fill(self) -> None:
        """Make the result if it is missing, and whatever it needs upstream."""
        return

    @abstractmethod
    def load(self) -> T:
        """The result, from what `fill` wrote."""

    def result(self) -> T:
        """The result, made first where it is missing."""
        if not self._loaded:
            self.fill()
            self._loaded.append(self.load())
        return self._loaded[0]

    def release(self) -> None:
        """Free the memory; `result` loads again."""
        self._loaded.clear()

    def missing(self) -> Iterator[Stage[Any]]:
        """What has to be made for this result, each after what it needs; the last is this stage."""
        if self.is_made:
            return
        for stage in self.upstream:
            yield from stage.missing()
        yield self

    def walk(self) -> Iterator[Stage[Any]]:
        """All that it can depend on, and itself."""
        for stage in self.upstream:
            yield from stage.walk()
        yield self

    def _hash(self, upstream: Sequence[str]) -> str:
        return stage_key(self.name, self.version, self.settings, [*self.files, *upstream])


class Cached(Stage[T]):
    """A stage whose result is cached on disk."""

    _key: str | None = None

    @property
    def key(self) -> str | None:
        """The address of the result; None where it depends on data that nobody prepared yet."""
        if self._key is None:
            contents = [stage.content for stage in self.upstream]
            known = [content for content in contents if content is not None]
            self._key = self._hash(known) if len(known) == len(contents) else None
        return self._key

    @property
    def content(self) -> str | None:
        return self.key

    @property
    def address(self) -> str:
        """The key; where it depends on data that nobody prepared yet, they are prepared."""
        if self.key is None:
            self.learn_content()
        if self.key is None:
            raise RuntimeError(f"the data are prepared, and the key of {self.name} is not known")
        return self.key

    @property
    def folder(self) -> Path:
        """Where the result is, or will be."""
        return self.cache.path(self.name, self.address)

    @property
    def is_made(self) -> bool:
        key = self.key
        return key is not None and self.cache.has(self.name, key)

    def filling(self) -> AbstractContextManager[Path | None]:
        """The folder to make the result in; None where it is there."""
        return self.cache.filling(self.name, self.address)

    def fill(self) -> None:
        with self.filling() as folder:
            if folder is not None:
                self.make(folder)

    @abstractmethod
    def make(self, folder: Path) -> None:
        """Write the result into an empty folder."""
