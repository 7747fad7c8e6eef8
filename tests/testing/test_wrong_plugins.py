"""Plugins that are wrong in the ways people get them wrong: the kit fails each, and says what and where to look.

Each is the skeleton that `llmemb-bench new` writes, with a few words changed.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from llmemb_bench import testing
from llmemb_bench.registry.scaffold import new_plugin
from llmemb_bench.testing import run_checks

STATES = "states: Tensor = self.out(means + kept)"
LAYER = "self.out = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.dim, config.dim))"
OVER_THE_BATCH = r"batch_first=True, a BatchNorm"


def layered(layer: str, states: str) -> dict[str, str]:
    """The skeleton of a backbone with a further layer, and other states."""
    return {LAYER: f"{LAYER}\n        self.layer = {layer}", STATES: f"states: Tensor = {states}"}


BACKBONES = {
    "recurrent layer over the batch": (
        layered("nn.GRU(config.dim, config.dim)", "self.layer(kept)[0]"),
        "the states of a history do not depend on its batch",
        OVER_THE_BATCH,
    ),
    "recurrent layer over the batch, beside a right one": (
        layered("nn.LSTM(config.dim, config.dim)", "self.out(means) + 0.1 * self.layer(kept)[0]"),
        "the states of a history do not depend on its batch",
        OVER_THE_BATCH,
    ),
    "attention across users": (
        layered("nn.MultiheadAttention(config.dim, 1)", "self.out(means) + self.layer(kept, kept, kept)[0]"),
        "the states of a history do not depend on its batch",
        OVER_THE_BATCH,
    ),
    "batch statistics in training only": (
        layered("nn.BatchNorm1d(config.dim)", "self.layer(self.out(means + kept).transpose(1, 2)).transpose(1, 2)"),
        "the states of a history do not depend on its batch",
        "in training mode the states of a history depend on the other histories",
    ),
    "batch statistics in both modes": (
        layered(
            "nn.BatchNorm1d(config.dim, track_running_stats=False)",
            "self.layer(self.out(means + kept).transpose(1, 2)).transpose(1, 2)",
        ),
        "the states of a history do not depend on its batch",
        "in eval mode the states of a history depend on the other histories",
    ),
    "centred over the batch": (
        {STATES: "states: Tensor = self.out(means + kept - kept.mean(0))"},
        "the states of a history do not depend on its batch",
        OVER_THE_BATCH,
    ),
    "a state kept between calls": (
        {STATES: "states: Tensor = self.out(means + getattr(self, 'kept', 0.0))\n        self.kept = states.mean()"},
        "the states of a history do not depend on its batch",
        "a state that is kept from one call to the next",
    ),
    "the next event": (
        {STATES: "states: Tensor = self.out(means + kept.roll(-1, 1))"},
        "changing the future leaves the past unchanged",
        "in eval mode the state at position .* depends on what comes after it",
    ),
    "the size of the future, not its sign": (
        {STATES: "states: Tensor = self.out(means + kept.abs().sum(1, keepdim=True))"},
        "changing the future leaves the past unchanged",
        "a causal mask",
    ),
    "the future in training only": (
        {STATES: "states: Tensor = self.out(means + (kept.sum(1, keepdim=True) if self.training else kept))"},
        "changing the future leaves the past unchanged",
        "in training mode the state at position 0 depends",
    ),
    "a convolution padded on both sides": (
        layered(
            "nn.Conv1d(config.dim, config.dim, 3, padding=1)",
            "self.out(self.layer(kept.transpose(1, 2)).transpose(1, 2))",
        ),
        "changing the future leaves the past unchanged",
        "a convolution padded on both sides",
    ),
    "no history at all": (
        {STATES: "states: Tensor = self.out(kept)"},
        "the past changes the state",
        "no state depends on the events before it",
    ),
    "one state too few": (
        {STATES: "states: Tensor = self.out(means + kept)[:, :-1]"},
        "every position has one finite state",
        r"vectors of shape \[3, 6, 64\] become states of shape \[3, 5, 64\]",
    ),
    "its input changed": (
        {"kept = x * real[..., None]": "kept = x.mul_(real[..., None] * 0.5)"},
        "every position has one finite state",
        "forward.. changes the vectors it is given",
    ),
    "a position too few": (
        layered("nn.Embedding(config.max_len - 1, config.dim)", "self.out(means + self.layer(real.cumsum(1) - 1))"),
        "every position has one finite state",
        r"it raises IndexError: .*-> look at .*wrong\.py:\d+",
    ),
    "an error without a word": (
        {STATES: "raise AssertionError"},
        "it overfits one batch",
        r"it raises AssertionError -> look at .*wrong\.py:\d+",
    ),
}

TABLE = "self.table = nn.Embedding(parts.n_items, self.dim)"
VECTORS = "vectors: Tensor = self.table(ids - 1)"


def from_text(vectors: str, more: str = "", kind: str = "text") -> dict[str, str]:
    """The skeleton of a method, with the vectors of a table in place of learnt ones."""
    return {
        "    config: WrongConfig\n\n    def __init__": "    config: WrongConfig\n"
        f'    needs = frozenset({{"backbone", "training", "{kind}"}})\n\n    def __init__',
        TABLE: f"self.register_buffer('given', parts.{kind})\n        self.table = nn.Linear(16, self.dim)",
        VECTORS: f"vectors: Tensor = self.table({vectors})",
        "return vectors + self.offset": f"return vectors + self.offset\n{more}",
    }


AUXILIARY = """
    def auxiliary(self, batch, vectors):
        return (self.given[{rows}][:, :8] - vectors).square().mean()
"""
STATES_MORE = """
    def {name}(self, *given):
        found = super().{name}(*given)
        return {changed}
"""

METHODS = {
    "text row i - 1 for item i": (
        from_text("self.given[ids - 1]"),
        "row i of text and teacher belongs to item i",
        r"row 1 of `parts.text` moves the vector of item 2 .*text\[1:\]\[ids - 1\]",
    ),
    "text row i + 1 for item i": (
        from_text("self.given.roll(-1, 0)[ids]"),
        "row i of text and teacher belongs to item i",
        "row 2 of `parts.text` moves the vector of item 1",
    ),
    "the last row dropped in place of padding": (
        from_text("self.given[:-1][ids - 1]"),
        "row i of text and teacher belongs to item i",
        "moves the vector of item",
    ),
    "text beyond the table": (
        from_text("nn.functional.embedding(ids, self.given[1:])"),
        "row i of text and teacher belongs to item i",
        "it raises IndexError",
    ),
    "text in reverse": (
        from_text("self.given[1:].flip(0)[ids - 1]"),
        "row i of text and teacher belongs to item i",
        "row 1 of `parts.text` moves the vector of item 40",
    ),
    "text not used": (
        from_text("self.given[ids] * 0.0"),
        "row i of text and teacher belongs to item i",
        "needs 'text', but neither a vector nor the auxiliary loss depends on it",
    ),
    "the auxiliary loss off by one row": (
        from_text("self.given[ids]", AUXILIARY.format(rows="batch.rows - 1")),
        "the auxiliary loss reads the rows of its items",
        "row i of a table is item i",
    ),
    "the auxiliary loss by place in the batch": (
        from_text("self.given[ids]", AUXILIARY.format(rows=":len(batch.rows)")),
        "the auxiliary loss reads the rows of its items",
        "the same items under other numbers",
    ),
    "scores of the item before": (
        from_text("self.given[ids]", STATES_MORE.format(name="scores", changed="found.roll(1, 1)")),
        "a score is the product of state and vector",
        "not the products of states and item vectors",
    ),
    "states centred over users": (
        from_text("self.given[ids]", STATES_MORE.format(name="states", changed="found - found.mean(0)")),
        "the scores of a history do not depend on its batch",
        "has different scores than among others",
    ),
    "training a state late": (
        from_text("self.given[ids]", STATES_MORE.format(name="states_of", changed="found.roll(1, 0)")),
        "training and ranking have the same states",
        "gives different states than states",
    ),
}

COUNTS = '''"""wrong: popularity."""

import numpy as np
import torch

from llmemb_bench.registry.config import Config
from llmemb_bench.contracts import Method


class WrongConfig(Config):
    """None."""


class Wrong(Method):
    """Counts of training events."""

    config: WrongConfig

    def fit_counts(self, split):
        n_items = split.data.n_items
        users = np.repeat(np.arange(split.data.n_users), split.lengths)
        trained = split.positions < split.n_train[users]
        self.counts = torch.from_numpy(np.bincount(split.data.items[trained], minlength=n_items + 1)).float()

    def states(self, histories):
        return histories.new_zeros(len(histories), 1).float()

    def scores(self, states, items):
        return self.counts[items].expand(len(states), -1)
'''

CONTENT = '''"""wrong: cosines of texts."""

import torch

from llmemb_bench.registry.config import Config
from llmemb_bench.contracts import Method


class WrongConfig(Config):
    """None."""


class Wrong(Method):
    """Mean text of the history."""

    config: WrongConfig
    needs = frozenset({"text"})

    def __init__(self, config, parts):
        super().__init__(config, parts)
        self.text = parts.text

    def fit_counts(self, split):
        pass

    def states(self, histories):
        return self.text[histories].sum(1)

    def scores(self, states, items):
        return (states.double() @ self.text[items].T.double()).float()
'''

DATASETS = {
    "items that no event names": (
        {"select item, title": "select 'B' || item as item, title"},
        "events are of items that are described",
        "describes 0 of the 9 items that have events: events have 'i0', 'i1', 'i2', items have 'Bi0', 'Bi1', 'Bi2'",
    ),
    "ids as numbers of another form": (
        {"select item, title": "select item[2:]::double as item, title"},
        "events are of items that are described",
        "items have '0.0', '1.0', '2.0'",
    ),
    "capitals in one of the two": (
        {"select item, title": "select upper(item) as item, title"},
        "events are of items that are described",
        "must hold the same ids",
    ),
    "doubled items": (
        {"select item, title": "select unnest([item, item]) as item, title"},
        "an item is described once",
        "9 items stand in items.. more than once, for example 'i0', 'i1', 'i2'",
    ),
    "one doubled item": (
        {"select item, title from read_csv(?)": "select item, title from read_csv(?) union all select 'i3', 'Thing'"},
        "an item is described once",
        "1 items stand in items.. more than once, for example 'i3'",
    ),
    "doubled events": (
        {'"time" from read_csv(?)': '"time" from read_csv(?) cross join range(2)'},
        "an event occurs once",
        "a join that multiplies rows",
    ),
    "events in random order": (
        {'"time" from read_csv(?)': '"time" from read_csv(?) order by random()'},
        "reading twice gives the same",
        "a different order -> random",
    ),
    "random times": (
        {'"time" from read_csv(?)': '(random() * 9)::int as "time" from read_csv(?)'},
        "reading twice gives the same",
        "read twice gives different rows",
    ),
    "other texts each time": (
        {"select item, title": "select item, title || random() as title"},
        "reading twice gives the same",
        "the items or their texts differ",
    ),
    "texts without a word": (
        {"select item, title": "select item, '' as title"},
        "some item has a text",
        "no item has a value of title",
    ),
    "no column of the user": (
        {'select "user", item': 'select "user" as person, item'},
        "ids are dense and histories in time order",
        "no column 'user'",
    ),
}

RETURNED = "return vectors"
ENCODERS = {
    "centred over the catalogue": (
        {RETURNED: "return vectors - vectors.mean(0)"},
        "the vector of an item does not depend on other texts",
        "set `of_catalogue = True` where",
    ),
    "scaled by the longest": (
        {RETURNED: "return vectors / np.abs(vectors).max()"},
        "the vector of an item does not depend on other texts",
        "depends on the texts of the others",
    ),
    "cut to the shortest text": (
        {"for word in text.split():": "for word in text.split()[: min(map(len, items.texts())) // 9]:"},
        "the vector of an item does not depend on other texts",
        "depends on the texts of the others",
    ),
    "the vector of the item before": (
        {"enumerate(items.texts())": "enumerate([items.texts()[-1], *items.texts()[:-1]])"},
        "the order of items changes no vector",
        "row r of the result belongs to row r of",
    ),
    "the number of the row": (
        {RETURNED: "return vectors + np.arange(len(items), dtype=np.float32)[:, None]"},
        "the order of items changes no vector",
        "in another order",
    ),
    "other vectors each time": (
        {RETURNED: "return vectors + np.random.rand(*vectors.shape).astype(np.float32)"},
        "an item has one finite float32 vector",
        "encoded twice",
    ),
    "one vector for all": (
        {RETURNED: "return np.ones_like(vectors)"},
        "an item has one finite float32 vector",
        "all items have the same vector",
    ),
    "double precision": (
        {RETURNED: "return vectors.astype(np.float64)"},
        "an item has one finite float32 vector",
        "vectors are float64, should be float32",
    ),
    "a division by nothing": (
        {RETURNED: "return np.log(vectors - vectors.max() + 1e-30).astype(np.float32)"},
        "an item has one finite float32 vector",
        "not finite",
    ),
    "an item left out": (
        {RETURNED: "return vectors[1:]"},
        "an item has one finite float32 vector",
        r"40 items have vectors of shape \[39, 64\]",
    ),
}

LOSS = "return functional.cross_entropy(logits, torch.arange(len(left), device=left.device))"
LOSSES = {
    "no gradient": (
        {LOSS: LOSS + ".detach()"},
        "it is a finite scalar with finite gradients",
        "it has no gradient",
    ),
    "one side detached": (
        {"functional.normalize(right)": "functional.normalize(right.detach())"},
        "it is a finite scalar with finite gradients",
        "`right` has no gradient",
    ),
    "a gradient of nothing": (
        {LOSS: f"{LOSS} * 0.0"},
        "it is a finite scalar with finite gradients",
        "`left` has a gradient of zero",
    ),
    "a logarithm of zero": (
        {LOSS: "return -(logits.softmax(1).diagonal() - 1.0).log().mean()"},
        "it is a finite scalar with finite gradients",
        "of random vectors it is nan -> a logarithm of 0",
    ),
    "a root at zero": (
        {LOSS: LOSS + " + (left - right).square().sum(1).sqrt().mean()"},
        "it is a finite scalar with finite gradients",
        "of two views that are the same `left` has an infinite gradient",
    ),
    "exp of large scores": (
        {
            "functional.normalize(left) @ functional.normalize(right).T": "left @ right.T",
            LOSS: "return -(logits.diagonal().exp() / logits.exp().sum(1)).log().mean()",
        },
        "it is a finite scalar with finite gradients",
        "of (random vectors|vectors a thousand times as long)",
    ),
    "one number a row": (
        {LOSS: LOSS.replace("left.device))", "left.device), reduction='none')")},
        "it is a finite scalar with finite gradients",
        r"shape \[12\], should be one number",
    ),
    "rows of one meaning pushed apart": (
        {"if duplicates is not None:": "if False:"},
        "a duplicate of every row is no negative and has none",
        "leave duplicates",
    ),
    "pairs pushed apart": (
        {"logits = functional": "logits = -functional"},
        "thirty steps pull pairs together",
        "30 steps only bring the cosine",
    ),
}

OBJECTIVES = {
    "negatives ignored": (
        {"misses - hits": "0 * misses - hits"},
        "a better positive lowers it and a better negative raises it",
        "where negatives score 0, 0.5 and 1 it is .*, which should rise",
    ),
    "no negatives asked for": (
        {"Sampling(count=1)": "Sampling(count=0)", "(misses - hits)": "(-hits)"},
        "a better positive lowers it and a better negative raises it",
        "is `sampling` more than 0 negatives",
    ),
    "positives by place": (
        {"vectors[positives]": "vectors[: len(states)]"},
        "a better positive lowers it and a better negative raises it",
        r"the positive of target t is vectors\[positives\[t\]\]",
    ),
    "the sign": (
        {"misses - hits": "hits - misses"},
        "a better positive lowers it and a better negative raises it",
        "which should fall",
    ),
    "a sum over targets": (
        {"return weighted_mean(": "return len(states) * weighted_mean("},
        "it is a mean over targets",
        "instead of .* -> mean.. over targets",
    ),
    "a sigmoid that underflows": (
        {"functional.softplus(misses - hits)": "-(1 - (misses - hits).sigmoid()).log()"},
        "it is finite with finite gradients for large scores",
        "for scores around 50",
    ),
    "forbidden negatives": (
        {
            "Sampling(count=1)": "Sampling(count=4, shared=True)",
            "negatives.scores(states, vectors)": "states @ vectors[negatives.rows[0]].T",
        },
        "a negative that is not allowed changes nothing",
        "an item that the user has in training",
    ),
    "detached": (
        {"misses - hits": "misses.detach() - hits.detach()"},
        "it is finite with finite gradients for large scores",
        "does not require grad|have no gradient",
    ),
}

GAIN = "0.5 ** (ranks - 1.0)"
METRICS = {
    "ranks from zero": ({GAIN: "0.5 ** ranks"}, None, "rank 1 is worth 0.5, should be 1 -> ranks start at 1"),
    "a logarithm of one": (
        {GAIN: "1 / np.log2(ranks)"},
        "every gain is a number from zero to one",
        "rank 1 is worth inf",
    ),
    "percent": ({GAIN: "100 * 0.5 ** (ranks - 1.0)"}, "every gain is a number from zero to one", "rank 1 is worth 100"),
    "less than nothing": ({GAIN: "1 - 0.01 * (ranks - 1.0)"}, "every gain is a number from zero to one", "from 0 to 1"),
    "not monotone": ({GAIN: "np.where(ranks == 3, 0.0, 1.0 / ranks)"}, None, "rank 4 is worth more than rank 3"),
    "the best of the call": (
        {GAIN: "ranks.min() / ranks"},
        "the gain of a rank does not depend on the others",
        "depends on the other ranks",
    ),
    "sorted": (
        {GAIN: "0.9 ** (np.sort(ranks) - 1.0)"},
        "the gain of a rank does not depend on the others",
        "a maximum, a sum or a sort",
    ),
    "one number": ({GAIN: "np.array(1.0)"}, None, r"ranks have gains of shape \[\]"),
    "no number at large ranks": (
        {GAIN: "np.where(ranks > 10**6, np.nan, 1.0 / ranks)"},
        "every gain is a number from zero to one",
        "rank 10000000 is worth nan",
    ),
}

VIEW = "tuple(attributes[index] for index in rng.permutation(len(attributes)))"
AUGMENTATIONS = {
    "numpy's global generator": (
        {"rng.permutation": "np.random.permutation"},
        "the same generator gives the same view and another another",
        "draw from `rng` only",
    ),
    "python's global generator": (
        {VIEW: "tuple(__import__('random').sample(attributes, len(attributes)))"},
        "the same generator gives the same view and another another",
        "no random.random",
    ),
    "the input changed": (
        {VIEW: "attributes.sort() or attributes"},
        "a view invents nothing and is never empty",
        r"it raises AttributeError: 'tuple' object has no attribute 'sort' -> look at .*wrong\.py:\d+",
    ),
    "always the same": (
        {"rng.permutation": "np.random.default_rng(0).permutation"},
        "the same generator gives the same view and another another",
        "thirty generators give one view",
    ),
    "a counter": (
        {
            f"return {VIEW}": "self.calls = 1 - getattr(self, 'calls', 0)\n"
            f"        return {VIEW}[self.calls :] or attributes"
        },
        "the same generator gives the same view and another another",
        "nothing kept from call to call",
    ),
    "nothing left": (
        {f"return {VIEW}": f"return {VIEW}[1:]"},
        "a view invents nothing and is never empty",
        "is left",
    ),
    "a list": ({f"return {VIEW}": f"return list({VIEW})"}, "a view invents nothing and is never empty", "is a list"),
    "an invented word": (
        {f"return {VIEW}": f"return (('title', 'NEW'), *{VIEW})"},
        "a view invents nothing and is never empty",
        "words that the item does not: NEW",
    ),
}

APPLIED = 'return vectors - state["mean"]'
FITTED = 'return {"mean": sum(block.sum(0) for block in rows.blocks()) / len(rows)}'

TRANSFORMS = {
    "a mean of what it is given": (
        {APPLIED: "return vectors - vectors.mean(0)"},
        "a new item has the vector it has among others",
        "depends on the items beside it -> what `apply` computes of all vectors",
    ),
    "in place": (
        {APPLIED: 'vectors -= state["mean"].astype("float32")\n        return vectors'},
        "an item has one finite vector of the width that is said",
        "it changes the vectors it is given",
    ),
    "a width that it does not say": (
        {APPLIED: "return vectors[:, :3]"},
        "an item has one finite vector of the width that is said",
        r"40 vectors become \[40, 3\], dim_of\(\) says 12 a vector",
    ),
    "a logarithm": (
        {APPLIED: "return np.log(vectors - 100)"},
        "an item has one finite vector of the width that is said",
        "made numbers that are not finite",
    ),
    "a division by a deviation of zero": (
        {
            FITTED: 'return {"mean": rows.vectors.mean(0), "std": rows.vectors.astype(float).std(0)}',
            APPLIED: 'return (vectors - state["mean"]) / state["std"]',
        },
        "vectors that are all alike stay finite",
        "made numbers that are not finite",
    ),
    "another draw each time": (
        {FITTED: 'return {"mean": np.random.rand(rows.dim)}'},
        "fitted again it does the same",
        "it keeps other numbers -> a global generator",
    ),
    "kept in itself": (
        {FITTED: f"self.mean = rows.vectors.mean(0)\n        {FITTED}", APPLIED: "return vectors - self.mean"},
        "read back it does the same",
        "it raises AttributeError",
    ),
    "the row of an item": (
        {FITTED: 'return {"mean": rows.vectors[0]}'},
        "the order of rows changes no vector",
        "the row of an item in place of its id",
    ),
    "more items than it says": (
        {FITTED: "assert len(rows) > 1", APPLIED: "return vectors"},
        "what it does not refuse it can do",
        "it raises",
    ),
}

KINDS = {
    "transforms": TRANSFORMS,
    "backbones": BACKBONES,
    "methods": METHODS,
    "datasets": DATASETS,
    "encoders": ENCODERS,
    "losses": LOSSES,
    "objectives": OBJECTIVES,
    "metrics": METRICS,
    "augmentations": AUGMENTATIONS,
}
WRONG = [(kind, name, *case) for kind, cases in KINDS.items() for name, case in cases.items()]


@pytest.mark.parametrize(("kind", "name", "changes", "check", "said"), WRONG, ids=[f"{k}-{n}" for k, n, *_ in WRONG])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a wrong metric divides by zero
def test_a_wrong_plugin_fails_a_check_that_says_why(kind, name, changes, check, said, package: Path):
    path = new_plugin(kind, "wrong", package)
    text = path.read_text()
    for good, bad in changes.items():
        assert good in text, good
        text = text.replace(good, bad)
    path.write_text(text)
    reasons = failures(kind)
    found = reasons.values() if check is None else [reasons.get(check, "")]
    assert any(re.search(said, reason) for reason in found), reasons


def failures(kind: str) -> dict[str, str]:
    """What each failed check of the plugin `wrong` says."""
    return {result.check: result.reason for result in run_checks(kind, "wrong") if result.status == "failed"}


@pytest.mark.parametrize(
    ("source", "good", "bad"),
    [
        (COUNTS, "self.counts[items]", "self.counts[items.start - 1 : items.stop - 1]"),
        (CONTENT, "self.text[items]", "self.text[items.start - 1 : items.stop - 1]"),
        (CONTENT, "self.text = parts.text", "self.text = parts.text.roll(1, 0)"),
    ],
)
def test_a_method_that_counts_is_caught_when_it_is_off_by_one(source, good, bad, package: Path):
    path = new_plugin("methods", "wrong", package)
    path.write_text(source)
    assert failures("methods") == {}
    path.write_text(source.replace(good, bad))
    del sys.modules[f"{package.name}.methods.wrong"]
    assert "a score belongs to another item" in failures("methods")["renumbering the items changes no score"]


def test_a_right_method_from_text_passes(package: Path):
    path = new_plugin("methods", "wrong", package)
    text = path.read_text()
    changes = from_text("self.given[ids]", AUXILIARY.format(rows="batch.rows"))
    for good, bad in changes.items():
        text = text.replace(good, bad)
    path.write_text(text)
    assert failures("methods") == {}


@pytest.mark.parametrize("path", sorted(Path(testing.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_every_check_says_what_is_wrong(path):
    """No assertion: its message may be empty, and `python -O` leaves it out."""
    bare = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
    assert bare == []
