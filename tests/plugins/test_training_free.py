"""Methods that train nothing: against loops in float64, on planted signals, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from llmemb_bench.base.errors import DataError
from llmemb_bench.contracts import CellFacts, Method, Parts
from llmemb_bench.evaluation.ranking import rank
from llmemb_bench.registry.entries import find
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.values.padding import pad_right
from llmemb_bench.values.split import Split
from tests.helpers.splits import make_split

N_ITEMS = 12
Rows = list[list[int]]
Scores = dict[int, float]


def fitted(use: str, split: Split, text: np.ndarray | None = None, **settings: object) -> Method:
    """A method on a split; `text` are vectors of items 1, 2, ..."""
    plugin = find("methods", use).load()
    table = None if text is None else torch.from_numpy(np.vstack([np.zeros((1, text.shape[1])), text])).float()
    method = plugin(plugin.config_type().model_validate(settings), Parts(split.data.n_items, text=table))
    method.fit_counts(split)
    method.begin_ranking()
    return method


def scored(method: Method, histories: Rows) -> np.ndarray:
    """[histories, items]"""
    lengths = np.array([len(history) for history in histories])
    flat = np.array([item for history in histories for item in history], dtype=np.int32)
    ids = torch.from_numpy(pad_right(flat, np.cumsum(lengths) - lengths, lengths))
    return method.scores(method.states(ids), slice(1, method.n_items + 1)).double().numpy()


@pytest.fixture(params=[0, 1, 2])
def world(request) -> tuple[Split, Rows, Rows, np.ndarray]:
    """A split, the training events of each user, histories to rank after, and text vectors; one item has no text, one
    no event, and items stand twice in a history."""
    rng = np.random.default_rng(request.param)
    rows = [rng.integers(1, N_ITEMS, size=length).tolist() for length in rng.integers(1, 10, size=15)]
    rows[0] = [1, 1, 2, 2, 1, 3, 4]
    training = [row[:-2] if len(row) > 2 else row for row in rows]
    text = rng.normal(size=(N_ITEMS, 5))
    text[3] = 0
    text[5] = text[6]
    return make_split(rows, N_ITEMS), training, [row[:-1] or row for row in rows], text


def of_all(histories: Rows, score: Callable[[list[int]], Scores]) -> np.ndarray:
    return np.array([[score(history)[item] for item in range(1, N_ITEMS + 1)] for history in histories])


ITEMS = range(1, N_ITEMS + 1)


@pytest.mark.parametrize("first", ["recent", "frequent"])
def test_repeat_puts_the_history_first_and_then_popularity(world, first):
    split, training, histories, _ = world
    popularity = {item: sum(row.count(item) for row in training) for item in ITEMS}
    found = scored(fitted("repeat", split, first=first), histories)
    for history, scores in zip(histories, found, strict=True):
        age = {item: history[::-1].index(item) for item in set(history)}

        def key(item: int, age: Scores = age, history: Sequence[int] = history) -> tuple[float, ...]:
            if item not in age:
                return (0, popularity[item])
            return (1, -age[item]) if first == "recent" else (1, history.count(item), -age[item])

        for one in ITEMS:
            for other in ITEMS:
                assert (scores[one - 1] > scores[other - 1]) == (key(one) > key(other))


@pytest.mark.parametrize(("neighbours", "shrink", "decay"), [(100, 0.0, 1.0), (2, 3.0, 0.5), (1, 0.5, 1.0)])
def test_item_knn_is_the_sum_over_the_neighbours_of_the_history(world, neighbours, shrink, decay):
    split, training, histories, _ = world
    users = {item: {user for user, row in enumerate(training) if item in row} for item in ITEMS}

    def similar(one: int, other: int) -> float:
        norm = math.sqrt(len(users[one])) * math.sqrt(len(users[other])) + shrink
        return len(users[one] & users[other]) / norm if one != other and norm else 0.0

    def near(one: int) -> Scores:
        values = {other: similar(one, other) for other in ITEMS}
        last = sorted(values.values(), reverse=True)[:neighbours][-1]
        return {other: value if value >= last - 1e-12 else 0.0 for other, value in values.items()}

    def score(history: list[int]) -> Scores:
        weighed = [(decay**age, near(item)) for age, item in enumerate(reversed(history))]
        return {item: sum(weight * values[item] for weight, values in weighed) for item in ITEMS}

    method = fitted("item_knn", split, neighbours=neighbours, shrink=shrink, decay=decay)
    assert scored(method, histories) == pytest.approx(of_all(histories, score), abs=1e-6)


@pytest.mark.parametrize("l2", [0.5, 20.0])
def test_ease_minimises_its_loss_column_by_column(world, l2):
    """Each column is a ridge regression of one item's users on the others': eq. 3 without its closed form."""
    split, training, histories, _ = world
    x = np.array([[float(item in row) for item in ITEMS] for row in training])
    weights = np.zeros((N_ITEMS, N_ITEMS))
    for target in range(N_ITEMS):
        others = [item for item in range(N_ITEMS) if item != target]
        padded = np.vstack([x[:, others], math.sqrt(l2) * np.eye(N_ITEMS - 1)])
        goal = np.concatenate([x[:, target], np.zeros(N_ITEMS - 1)])
        weights[others, target] = np.linalg.lstsq(padded, goal, rcond=None)[0]
    wanted = np.array([weights[sorted({item - 1 for item in history})].sum(0) for history in histories])
    assert scored(fitted("ease", split, l2=l2), histories) == pytest.approx(wanted, abs=1e-6)


def test_ease_inverts_catalogues_larger_than_a_block(monkeypatch, world):
    split, _, histories, _ = world
    whole = scored(fitted("ease", split), histories)
    monkeypatch.setattr("llmemb_plugins.methods.ease.ITEMS_A_BLOCK", 5)
    monkeypatch.setattr("llmemb_plugins.methods.item_knn.ITEMS_A_BLOCK", 5)
    assert scored(fitted("ease", split), histories) == pytest.approx(whole, rel=1e-9)
    fitted("item_knn", split)


def test_parts_of_a_batch_have_the_scores_of_the_whole(world, monkeypatch):
    split, _, histories, text = world
    whole = scored(fitted("transitions_text", split, text), histories)
    monkeypatch.setattr("llmemb_plugins.methods._histories.SCORES_A_PART", 4 * (N_ITEMS + 1))
    assert scored(fitted("transitions_text", split, text), histories) == pytest.approx(whole, abs=1e-6)


WEIGHTS = {
    "mean": lambda age: 1.0,
    "harmonic": lambda age: 1 / (1 + age),
    "harmonic_squared": lambda age: (1 + age) ** -2,
    "last": lambda age: float(age == 0),
}


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = math.sqrt(one @ one) * math.sqrt(other @ other)
    return float(one @ other) / lengths if lengths else 0.0


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / (math.sqrt(vector @ vector) or 1.0)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_llm_sim_is_the_cosine_with_the_weighted_history(world, weights):
    split, _, histories, text = world

    def score(history: list[int]) -> Scores:
        summed = sum(WEIGHTS[weights](age) * unit(text[item - 1]) for age, item in enumerate(reversed(history)))
        return {item: cosine(np.asarray(summed), text[item - 1]) for item in ITEMS}

    found = scored(fitted("llm_sim", split, text, weights=weights), histories)
    assert found == pytest.approx(of_all(histories, score), abs=1e-6)


def test_the_hybrid_ranks_by_the_other_list_after_a_frequent_item(world):
    split, training, histories, text = world
    popularity = [sum(row.count(item) for row in training) for item in ITEMS]
    plain, other = scored(fitted("llm_sim", split, text), histories), scored(fitted("cooccurrence", split), histories)
    hybrid = {"method": {"use": "cooccurrence"}, "quantile": 0.5}
    found = scored(fitted("llm_sim", split, text, hybrid=hybrid), histories)
    is_frequent = [popularity[history[-1] - 1] >= np.median(popularity) for history in histories]
    assert 0 < sum(is_frequent) < len(histories)
    for row, frequent in enumerate(is_frequent):
        assert (found[row] == (other if frequent else plain)[row]).all()


@pytest.mark.parametrize("fusion", ["logarithms", "percentiles"])
@pytest.mark.parametrize(("window", "decay", "share"), [(20, 0.6, 0.3), (1, 1.0, 0.0), (2, 0.5, 1.0)])
def test_transitions_text_adds_the_places_in_two_lists(world, window, decay, share, fusion):
    split, training, histories, text = world

    def follows(one: int, other: int) -> float:
        places = [(row, place) for row in training for place, item in enumerate(row) if item == one]
        found = sum(1 / (later - place) for row, place in places for later in later_of(row, place, other))
        return found if one != other else 0.0

    def later_of(row: list[int], place: int, other: int) -> list[int]:
        return [later for later in range(place + 1, min(len(row), place + window + 1)) if row[later] == other]

    def worth(values: Scores, item: int) -> float:
        greater = sum(value > values[item] + 1e-9 for value in values.values())
        equal = sum(abs(value - values[item]) <= 1e-9 for value in values.values())
        better = (greater + equal / 2) / N_ITEMS
        return -math.log(better) if fusion == "logarithms" else 1 - better

    def score(history: list[int]) -> Scores:
        aged = list(enumerate(reversed(history)))
        next_ones = {item: sum(decay**age * follows(seen, item) for age, seen in aged) for item in ITEMS}
        summed = np.asarray(sum(decay**age * unit(text[seen - 1]) for age, seen in aged))
        texts = {item: cosine(summed, text[item - 1]) for item in ITEMS}
        return {item: (1 - share) * worth(next_ones, item) + share * worth(texts, item) for item in ITEMS}

    settings = {"window": window, "decay": decay, "text_share": share, "fusion": fusion}
    found = scored(fitted("transitions_text", split, text, **settings), histories)
    assert found == pytest.approx(of_all(histories, score), abs=1e-6)


@pytest.mark.parametrize("use", ["repeat", "item_knn", "ease", "llm_sim", "transitions_text"])
def test_no_validation_or_test_event_is_counted(world, use):
    _, training, histories, text = world
    own = text if "text" in find("methods", use).load().needs else None
    hidden = make_split([[*row, 12, 12] for row in training], N_ITEMS)
    other = make_split([[*row, 7, 8] for row in training], N_ITEMS)
    assert (scored(fitted(use, hidden, own), histories) == scored(fitted(use, other, own), histories)).all()


# --- planted signals ---


def share_found(use: str, split: Split, text: np.ndarray | None = None, history: str = "mask", **more: object) -> float:
    """HR@5, ties by half."""
    ranks, _ = rank(fitted(use, split, text, **more), split, "test", Evaluate(history=history))
    return float((ranks.n_greater + ranks.n_equal / 2 < 5).mean())


def taste(rng: np.random.Generator, group: int) -> list[int]:
    """Eight events of the group's ten items out of forty."""
    return (1 + group * 10 + rng.permutation(10)[:8]).tolist()


def test_neighbours_find_the_items_of_a_taste():
    rng = np.random.default_rng(0)
    split = make_split([taste(rng, user % 4) for user in range(120)], 40)
    for use in ("item_knn", "ease"):
        assert share_found(use, split) > 0.95
    assert share_found("popularity", split) < 0.3


def test_repeat_finds_what_users_come_back_to():
    rng = np.random.default_rng(0)
    own = [rng.permutation(40)[:3] + 1 for _ in range(80)]
    split = make_split([[*items, *items, *items] for items in own], 40)
    assert share_found("repeat", split, history="keep") == 1.0
    assert share_found("popularity", split, history="keep") < 0.4


def test_text_finds_items_that_training_never_saw():
    rng = np.random.default_rng(0)
    groups = np.arange(40) // 10
    text = 3 * np.eye(4)[groups] + 0.3 * rng.normal(size=(40, 4))
    rows = [[*(1 + 10 * (user % 4) + rng.permutation(6)), 10 * (user % 4 + 1) - rng.integers(4)] for user in range(80)]
    split = make_split([[*map(int, row)] for row in rows], 40)  # the last four items of a group are test targets alone
    assert share_found("llm_sim", split, text) > 0.9
    assert share_found("transitions_text", split, text) > 0.9
    assert share_found("llm_sim", split, rng.permutation(text)) < 0.6
    for use in ("cooccurrence", "item_knn", "ease", "popularity"):
        assert share_found(use, split) < 0.3


def test_both_halves_of_transitions_text_are_needed_where_each_knows_one_kind_of_user():
    rng = np.random.default_rng(1)
    text = np.vstack([rng.normal(size=(40, 8)), 3 * np.eye(8)[np.arange(40) // 5] + 0.1 * rng.normal(size=(40, 8))])
    ring = [[1 + (start + step) % 40 for step in range(6)] for start in rng.integers(0, 40, size=80)]
    alike = [[41 + 5 * group + int(item) for item in rng.permutation(5)] for group in rng.integers(0, 8, size=80)]
    split = make_split([*ring, *alike], 80)
    both, order, words = (share_found("transitions_text", split, text, text_share=share) for share in (0.5, 0.0, 1.0))
    assert both > max(order, words) - 0.02
    assert both > 0.9 > words


# --- refusals ---

SPEC = """\
version: 1
name: refused
seeds: [1]
dataset: {use: table, events: events.csv, items: items.csv}
recommender: {method: popularity}
evaluate: {protocols: [full], cutoffs: [5]}
"""


@pytest.fixture
def spec(events_csv, monkeypatch):
    monkeypatch.chdir(events_csv.parent)
    (events_csv.parent / "spec.yaml").write_text(SPEC)
    return events_csv.parent / "spec.yaml"


@pytest.mark.parametrize("use", ["llm_sim", "transitions_text"])
def test_a_method_of_texts_without_vectors_is_refused_before_anything(cli, spec, use):
    ran = cli("validate", spec, "--set", f"recommender.method={use}")
    assert ran.code == 2
    assert f"the method '{use}' needs 'embeddings', which is absent -> add 'embeddings:'" in ran.err


def test_a_catalogue_too_large_for_ease_is_refused_before_anything_is_made(cli, spec, monkeypatch):
    monkeypatch.setattr("llmemb_bench.base.memory.memory", lambda: 3_000)
    ran = cli("run", spec, "--set", "recommender.method=ease")
    assert ran.code == 1
    told = (
        "recommender.method: the matrix of 20 by 20 items of ease would take 3.5 kB of memory; this machine has 3.0 kB"
    )
    assert f"{told} -> item_knn, or a larger dataset.min_item_events" in ran.err
    assert not list(spec.parent.glob("results/runs/*/*"))


def test_ease_alone_refuses_too(monkeypatch):
    monkeypatch.setattr("llmemb_bench.base.memory.memory", lambda: 1_000)
    with pytest.raises(DataError, match="12 by 12 items"):
        fitted("ease", make_split([[1, 2, 3]], N_ITEMS))
    plugin = find("methods", "ease").load()
    assert not plugin.refuses(plugin.config_type()(), CellFacts(n_users=10**9, n_items=5, text_dim=None))


def test_a_hybrid_with_a_method_that_needs_training_is_refused(cli, spec):
    method = "recommender.method={use: llm_sim, hybrid: {method: id_only}}"
    ran = cli("run", spec, "--set", method, "--set", "embeddings={encoder: {use: random, dim: 4}}")
    assert ran.code == 2
    assert "recommender.method.hybrid.method: 'id_only' needs backbone, training" in ran.err
