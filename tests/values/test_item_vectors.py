"""Vector tables: the padding row, and controls that need no language model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmemb_bench.base.errors import DataError
from llmemb_bench.registry.entries import find
from llmemb_bench.testing.case import small_items
from llmemb_bench.values.item_vectors import ItemVectors
from tests.helpers.small_models import items_of


def test_item_i_is_row_i_and_padding_is_zero(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    ItemVectors.of(vectors).save(tmp_path)
    table = ItemVectors.load(tmp_path).table.numpy()
    np.testing.assert_array_equal(table[1:], vectors)  # the last item too
    assert not table[0].any()


def test_a_table_without_a_padding_row_is_refused():
    with pytest.raises(DataError, match="row 0"):
        ItemVectors(torch.ones(3, 2))
    with pytest.raises(DataError, match="not finite"):
        ItemVectors(torch.tensor([[0.0], [float("nan")]]))


def test_tfidf_counts_words_and_pairs_of_neighbouring_words():
    plugin = find("encoders", "tfidf").load()
    texts = ["red soap film boat", "boat red film soap", "red soap film boat", "soap red", "film", "boat boat soap"]
    vectors = plugin(plugin.config_type()()).encode(items_of(texts))
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-5)
    assert np.linalg.norm(vectors[0] - vectors[1]) > 0.3  # the same words in another order


def test_random_vectors_belong_to_the_item_and_not_to_its_row():
    plugin = find("encoders", "random").load()
    few, many = (plugin(plugin.config_type()()).encode(small_items(count)) for count in (3, 9))
    np.testing.assert_array_equal(few, many[:3])
    other = plugin(plugin.config_type()(seed=1)).encode(small_items(3))
    assert not np.allclose(few, other)


@pytest.mark.parametrize("form", ["npy", "safetensors", "parquet"])
def test_precomputed_vectors_are_read_from_every_format(form, tmp_path):
    import duckdb
    from safetensors.numpy import save_file

    items = small_items(6)
    vectors = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    path, ids = tmp_path / f"vectors.{form}", tmp_path / "ids.txt"
    ids.write_text("\n".join(items.ids))
    if form == "npy":
        np.save(path, vectors)
    elif form == "safetensors":
        save_file({"anything": vectors}, path)
    else:
        with duckdb.connect() as db:
            db.execute("create table v (item varchar, vector float[])")
            db.executemany(
                "insert into v values (?, ?)", [[n, v.tolist()] for n, v in zip(items.ids, vectors, strict=True)]
            )
            db.execute(f"copy v to '{path}' (format parquet)")
    plugin = find("encoders", "precomputed").load()
    settings = {"vectors": str(path)} | ({} if form == "parquet" else {"ids": str(ids)})
    found = plugin(plugin.config_type().model_validate(settings)).encode(items)
    np.testing.assert_array_equal(found, vectors)


def test_a_pickled_array_is_never_opened(tmp_path):
    np.save(tmp_path / "v.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "ids.txt").write_text("item1\n")
    plugin = find("encoders", "precomputed").load()
    settings = {"vectors": str(tmp_path / "v.npy"), "ids": str(tmp_path / "ids.txt")}
    with pytest.raises(DataError, match="cannot be read"):
        plugin(plugin.config_type().model_validate(settings)).encode(small_items(1))
