"""Stage 1 alone: item vectors as a file for another system."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from llmemb_bench.base.errors import SpecError
from llmemb_bench.base.folders import new_folder
from llmemb_bench.processes.world import world
from llmemb_bench.spec.check import TextSpec
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.cell import Graph
from llmemb_bench.stages.refusals import refuse_textless, refuse_transforms
from llmemb_bench.text.files import write_vectors
from llmemb_bench.text.manifest import MADE


def embed(part: TextSpec, cache: Cache, output: Path, *, untuned: bool, adapter: Path | None) -> tuple[int, int] | None:
    """Write the vectors of a dataset's items; returns their shape, or None in a process that writes nothing.

    With `untuned`, those of the encoder before SCFT stand beside them; the tuned weights are copied to `adapter`:
    a SpecError where there are none, or the folder is there already.
    """
    if adapter is not None and part.embeddings.scft is None:
        raise SpecError("there is no adapter to write", where="--adapter", fix="add embeddings.scft to the spec")
    if adapter is not None and adapter.exists():
        raise SpecError("already exists", where=f"--adapter {adapter}", fix="name a new folder, or remove it")
    graph = Graph(cache)
    data = world().first(graph.data(part.dataset).result)
    refuse_textless(part.dataset, part.embeddings, data)
    refuse_transforms(part.embeddings, graph.split(part.dataset, part.split))
    made = graph.vectors(part.dataset, part.split, part.embeddings)
    tables = {"vector": made.result().table[1:].numpy()}
    if made.adapter is not None:
        made.adapter.fill()
        if untuned:
            plain = part.embeddings.model_copy(update={"scft": None})
            tables["untuned"] = graph.vectors(part.dataset, part.split, plain).result().table[1:].numpy()
    if not world().is_first:
        return None
    if adapter is not None and made.adapter is not None:
        with new_folder(adapter, adapter.exists) as folder:
            if folder is not None:
                shutil.copytree(made.adapter.folder, folder, dirs_exist_ok=True)
    items = data.catalogue
    how = json.loads((made.folder / MADE).read_text())
    write_vectors(output, list(items.ids), items.texts(), tables, how)
    return tables["vector"].shape[0], tables["vector"].shape[1]
