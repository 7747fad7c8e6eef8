"""Checks of transforms: through the harness's own fitting, keeping and applying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.contracts import FitRows, RowsConfig, State, Transform
from llmemb_bench.contracts.transform import ROWS_PER_BLOCK
from llmemb_bench.testing.case import Case, Skipped, require
from llmemb_bench.text.transforms import FittedTransform, load_state, rows_of, save_state

N_ITEMS, DIM = 40, 12
COMPANY = "what `apply` computes of all vectors it is given (a mean, a rank); what it needs of others `fit` must keep"


def _vectors(n_items: int = N_ITEMS, dim: int = DIM) -> NDArray[np.float32]:
    """Vectors as those of language models: far from zero, and with directions of very different variance."""
    rng = np.random.default_rng(0)
    return (3 + rng.standard_normal((n_items, dim)) * np.geomspace(3, 0.1, dim)).astype(np.float32)


def _ids(n_items: int = N_ITEMS) -> list[str]:
    return [f"item{place}" for place in range(1, n_items + 1)]


def _rows(vectors: NDArray[np.float32], ids: Sequence[str]) -> FitRows:
    counts = np.array([1 + sum(map(ord, item)) % 7 for item in ids], dtype=np.int64)  # an item's own, whatever its row
    return FitRows(ids, vectors, counts)


def _fitted(case: Case[Transform], vectors: NDArray[np.float32], ids: Sequence[str]) -> FittedTransform:
    transform = case.plugin(case.config)
    return FittedTransform(transform, transform.fit(_rows(vectors, ids)))


def _same_state(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]) for name in one
    )


def an_item_has_one_finite_vector_of_the_width_that_is_said(case: Case[Transform]) -> None:
    vectors, ids = _vectors(), _ids()
    given = vectors.copy()
    fitted = _fitted(case, vectors, ids)
    arrays = {name: isinstance(array, np.ndarray) for name, array in fitted.state.items()}
    require(all(arrays.values()), f"fit() gives no NumPy array for {[name for name in arrays if not arrays[name]]}")
    made, width = fitted.apply(vectors, ids), case.plugin.dim_of(case.config, DIM)
    found = list(made.shape)
    require(found == [N_ITEMS, width], f"{N_ITEMS} vectors become {found}, dim_of() says {width} a vector", "dim_of")
    require(made.shape[1] > 0, "vectors have no dimension")
    require((made != made[0]).any(), "all items have the same vector", "does it read what it is given?")
    require(
        np.array_equal(given, vectors), "it changes the vectors it is given", "operations in place: vectors -= mean"
    )


def fitted_again_it_does_the_same(case: Case[Transform]) -> None:
    vectors, ids = _vectors(), _ids()
    fitted, again = _fitted(case, vectors, ids), _fitted(case, vectors, ids)
    look = "a global generator, hash(): draw from base.seeds.generator, with a setting `seed`"
    require(_same_state(fitted.state, again.state), "fitted twice on the same vectors it keeps other numbers", look)
    same = np.array_equal(fitted.apply(vectors, ids), again.apply(vectors, ids))
    require(same, "the same vectors become others when they are transformed again", look)


def read_back_it_does_the_same(case: Case[Transform]) -> None:
    vectors, ids = _vectors(), _ids()
    fitted, path = _fitted(case, vectors, ids), case.folder / "state.safetensors"
    save_state(fitted.state, path)
    again = FittedTransform(case.plugin(case.config), load_state(path))
    require(
        _same_state(fitted.state, again.state), "what fit() found is other numbers when it is read back", "its dtype"
    )
    same = np.array_equal(fitted.apply(vectors, ids), again.apply(vectors, ids))
    require(same, "read back from its file it makes other vectors", "what fit() leaves in `self` and not in the state")


def a_new_item_has_the_vector_it_has_among_others(case: Case[Transform]) -> None:
    vectors, ids = _vectors(), _ids()
    fitted = _fitted(case, vectors[:30], ids[:30])
    together = fitted.apply(vectors, ids)
    for row in (0, 7, 35):  # fitted on, and new
        alone = fitted.apply(vectors[[row]], [ids[row]])
        require(_close(alone, together[[row]]), "the vector of an item depends on the items beside it", COMPANY)


def it_is_fitted_on_the_named_rows_only(case: Case[Transform]) -> None:
    config = case.config.model_copy(update={"fit_on": "training"} if isinstance(case.config, RowsConfig) else {})
    on, transform = case.plugin.fitted_on(config), case.plugin(config)
    if on == "all":
        raise Skipped("it is fitted on all items")
    vectors, ids, counts = _vectors(), _ids(), np.arange(N_ITEMS, dtype=np.int64) % 4
    others = np.where(counts[:, None] > 0, vectors, 100 - vectors)
    fitted, again = (transform.fit(rows_of(on, table, ids, counts)) for table in (vectors, others))
    require(_same_state(fitted, again), "the vectors of items outside of training change what it finds", "`rows` alone")


def the_order_of_rows_changes_no_vector(case: Case[Transform]) -> None:
    vectors, ids, order = _vectors(), _ids(), np.random.default_rng(1).permutation(N_ITEMS)
    straight = _fitted(case, vectors, ids).apply(vectors, ids)
    shuffled = _fitted(case, vectors[order], [ids[row] for row in order]).apply(vectors, ids)
    look = "the row of an item in place of its id; a direction without a fixed sign"
    require(_close(straight, shuffled), "fitted on the items in another order it makes other vectors", look)


def what_it_does_not_refuse_it_can_do(case: Case[Transform]) -> None:
    for n_rows, dim in ((N_ITEMS, 1), (N_ITEMS, 2), (2, DIM), (1, DIM), (ROWS_PER_BLOCK + 2, 3)):
        if case.plugin.refuses_vectors(case.config, n_rows, dim):
            continue
        vectors, ids = _vectors(n_rows, dim), _ids(n_rows)
        made, width = _fitted(case, vectors, ids).apply(vectors, ids), case.plugin.dim_of(case.config, dim)
        told = (
            f"of {n_rows} items with {dim} numbers each it makes {list(made.shape)}, should say so in refuses_vectors"
        )
        require(made.shape == (n_rows, width), told, "refuses_vectors, dim_of")


def vectors_that_are_all_alike_stay_finite(case: Case[Transform]) -> None:
    vectors, ids = np.full((N_ITEMS, DIM), 0.3, dtype=np.float32), _ids()
    _fitted(case, vectors, ids).apply(vectors, ids)  # which refuses what is not finite


def _close(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-5)


TRANSFORMS = (
    an_item_has_one_finite_vector_of_the_width_that_is_said,
    fitted_again_it_does_the_same,
    read_back_it_does_the_same,
    a_new_item_has_the_vector_it_has_among_others,
    it_is_fitted_on_the_named_rows_only,
    the_order_of_rows_changes_no_vector,
    what_it_does_not_refuse_it_can_do,
    vectors_that_are_all_alike_stay_finite,
)
