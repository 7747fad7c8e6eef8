"""Random specs and tables, from nearly right to hostile, for `test_fuzz.py`."""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import strategies as st

ROWS = [(f"u{user}", f"i{(user * 3 + place * 2) % 9}", 1000 + place) for user in range(9) for place in range(4)]
EVENTS = "user,item,time\n" + "".join(f"{user},{item},{time}\n" for user, item, time in ROWS)
ITEMS = "item,title\n" + "".join(f"i{item},Red soap number {item}\n" for item in range(9))

TRAINED = {"backbone": {"use": "sasrec", "dim": 8, "max_len": 6}, "objective": "bce", "train": {"epochs": 1}}
SPECS: list[dict[str, Any]] = [
    {
        "version": 1,
        "name": "fuzz",
        "seeds": [1],
        "dataset": {"use": "table", "events": "events.csv", "items": "items.csv"},
        **rest,
        "evaluate": {"protocols": ["full"], "cutoffs": [3]},
    }
    for rest in (
        {"recommender": {"method": "popularity"}},
        {"recommender": {"method": {"use": "cooccurrence", "decay": 0.5, "window": 3}}},
        {"recommender": {"method": "id_only", **TRAINED}},
        {"recommender": {"method": "id_only", **TRAINED, "objective": {"use": "sampled_softmax", "negatives": 4}}},
        {
            "embeddings": {"encoder": {"use": "random", "dim": 6}, "transforms": [{"use": "pca", "dim": 4}]},
            "recommender": {"method": {"use": "llmemb", "adapter": "mlp"}, **TRAINED},
        },
        {
            "embeddings": {"encoder": {"use": "precomputed", "vectors": "v.npy", "ids": "ids.txt"}},
            "recommender": {"method": "popularity"},
            "matrix": {"recommender.method": ["popularity", "cooccurrence"]},
        },
    )
]
SPECS.append(SPECS[2] | {"dataset": {"use": "synthetic", "users": 30, "catalogue": 80, "mean_length": 5.0}})

KEYS = {
    "": "version name seeds dataset split embeddings recommender evaluate matrix extends",
    "dataset": "use events items user item time time_unit rating fold validation test instruction phrase phrases "
    "separator attributes attribute_chars min_rating remote min_user_events min_item_events iterate_core min_history "
    "repeats broken_rows textless memory_limit users catalogue signal zipf seed",
    "split": "by validation_share test_share validation_from test_from",
    "embeddings": "encoder scft transforms reduce",
    "embeddings.encoder": "use dim seed vectors ids extra",
    "recommender": "method backbone objective train",
    "recommender.backbone": "use dim max_len dropout heads blocks padding attention",
    "recommender.objective": "use negatives popularity shared",
    "recommender.train": "batch_size epochs steps patience learning_rate weight_decay clip betas epsilon accumulate "
    "scores_mb log_every validate_every monitor monitor_cutoff monitor_protocol checkpoint_seconds rows start "
    "targetless precision",
    "evaluate": "cutoffs protocols metrics history head_share head_ties tail_below scores_mb",
    "matrix": "recommender.method recommender.backbone dataset.min_rating x recommender seeds",
}
"""Settings by the section they stand in."""

UNSEEN = ["\0", "\x1b[31mred", "\x85", "\u202etxt", "\u200b", "\u2028", "\ufeff", "\x7f", "a\nb", "a\tb", "[red]x[/]"]
WORDS = [
    *("", " ", "~", "~nobody/x", "$HOME/x", "${D}/x.csv", "${env:LLMEMB_NOT_SET}/x.csv", "../x", "/", ".", "*", "["),
    *("events.csv", "items.csv", "absent.csv", "/dev/null", "v.npy", "user", "item", "title", "none", "full"),
    *("sampled-0", "sampled-3", "sampled-999999999", "popularity", "sasrec", "synthetic", "2014-07-23", "2014-99-99"),
    *("{value}", "{name", "{0}", "'", '"', "%s", "a" * 300, "é", "中", "1", "true", "null", "400MB", "0KB", "last_two"),
    *("mrr", "x;y", "\\", "a.b", "file", "time", "by", "ndcg", "bce", "gru4rec", "id_only"),
]
NUMBERS = [0, 1, 2, 3, -1, 5, 100, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 10**18, 10**30]
FLOATS = [0.0, -0.0, 0.5, 1.0, 0.999999, 1e-320, 1e-12, 1e300, -1e300, float("nan"), float("inf"), float("-inf")]
scalars = st.sampled_from([None, True, False, *NUMBERS, *FLOATS, *WORDS, *UNSEEN]) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["use", "dim", "x", *UNSEEN]), inner),
    max_leaves=5,
)


@st.composite
def specs(draw: st.DrawFn) -> str:
    """The text of a spec: a valid one with some settings replaced, added or removed, and some characters changed."""
    spec = copy.deepcopy(draw(st.sampled_from(SPECS)))
    for _ in range(draw(st.integers(0, 3))):
        _change(draw, spec)
    text = json.dumps(spec, indent=draw(st.sampled_from([None, 1])), ensure_ascii=draw(st.booleans()))
    text = text.replace("NaN", ".nan").replace("-Infinity", "-.inf").replace("Infinity", ".inf")
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(text)))
        put = draw(st.sampled_from(["\t", "\n", ":", "{", "[", "&a ", "*a", "!!binary ", "\0", "---\n", "'", "#"]))
        text = text[:place] + put + text[place + draw(st.integers(0, 3)) :]
    return text


def _change(draw: st.DrawFn, spec: dict[str, Any]) -> None:
    section = draw(st.sampled_from(sorted(KEYS)))
    holder: Any = spec
    for key in section.split(".") if section else ():
        if not isinstance(holder.get(key), dict):
            holder[key] = {"use": holder[key]} if isinstance(holder.get(key), str) else {}
        holder = holder[key]
    key = draw(st.sampled_from(KEYS[section].split()))
    if draw(st.integers(0, 9)) == 0:
        holder.pop(key, None)
    else:
        holder[key] = draw(values)


yaml_texts = st.one_of(
    st.text(max_size=60),
    st.text("{}[],:&*!|>-?'\"#%@ \n\tab1", max_size=60),
    st.integers(1, 600).map(lambda depth: "a: " + "[" * depth),
    st.integers(1, 600).map(lambda depth: "\n".join(" " * level + "a:" for level in range(depth))),
    st.integers(1, 500).map(lambda digits: f"version: {'9' * digits}"),
    st.binary(max_size=40).map(lambda data: data.decode("latin-1")),
)


@dataclass(frozen=True)
class RawTable:
    """A file and its name."""

    name: str
    data: bytes


cells = st.one_of(
    st.sampled_from(["u1", "u2", "i1", "i2", "1", "2", "10.0", "1000", "2020-01-01", "2020-01-01T00:30+02:00"]),
    st.sampled_from(
        ["", "nan", "None", "null", "N/A", "—", "{}", "[]", "&amp;#39;", "R&notes", "-5", "1e18", "9" * 25]
    ),
    st.sampled_from([*UNSEEN, "x" * 5000, 'say "hi"', "a,b", "a;b", "a\r\nb", "'"]),
    st.text(max_size=6),
)
headings = st.lists(
    st.sampled_from(["user", "item", "time", "title", "User", "", "rating", "user", *UNSEEN[:4]]),
    min_size=1,
    max_size=5,
)
names = st.sampled_from(["user", "item", "time", "title"])


@st.composite
def tables(draw: st.DrawFn) -> RawTable:
    """A file of events or items, in any of the formats, with what real and hostile files hold."""
    kind = draw(st.sampled_from(["csv", "csv", "tsv", "jsonl", "parquet", "bytes"]))
    if kind == "bytes":
        suffix = draw(st.sampled_from(["csv", "tsv", "jsonl", "parquet", "csv.gz", "jsonl.zst", "CSV", "txt", "npy"]))
        return RawTable(f"raw.{suffix}", draw(st.binary(max_size=80)) or b"PAR1")
    if kind == "parquet":
        return RawTable("raw.parquet", _cut(draw, _parquet(draw)))
    if kind == "jsonl":
        rows = draw(st.lists(st.dictionaries(names | st.sampled_from(UNSEEN), values, max_size=4), max_size=6))
        text = "\n".join(json.dumps(row) for row in rows)
    else:
        text = _separated(draw, "\t" if kind == "tsv" else draw(st.sampled_from(",;|")))
    data = text.encode(draw(st.sampled_from(["utf-8"] * 4 + ["utf-8-sig", "utf-16", "latin-1"])), "replace")
    data = _cut(draw, data)
    is_packed = draw(st.integers(0, 5)) == 0
    return RawTable(f"raw.{kind}" + ".gz" * is_packed, _cut(draw, gzip.compress(data, mtime=0)) if is_packed else data)


def _separated(draw: st.DrawFn, separator: str) -> str:
    is_plain = draw(st.booleans())
    heading = ["user", "item", "time"] if is_plain else draw(headings)
    rows: list[list[object]] = [list(row) for row in ROWS] if is_plain else []
    rows += draw(st.lists(st.lists(cells, min_size=len(heading), max_size=len(heading)), max_size=6))
    if draw(st.integers(0, 5)) == 0:
        rows.append(draw(st.lists(cells, max_size=7)))  # of another width
    out = io.StringIO()
    end = draw(st.sampled_from(["\n", "\r\n"]))
    writer = csv.writer(out, delimiter=separator, lineterminator=end, escapechar="\\", doublequote=draw(st.booleans()))
    writer.writerow(heading)
    writer.writerows(rows)
    return out.getvalue()


def _parquet(draw: st.DrawFn) -> bytes:
    kinds = ["varchar", "bigint", "double", "timestamp", "timestamptz", "boolean", "date", "varchar[]", "blob"]
    columns = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    typed = ", ".join(f'try_cast(v as {draw(st.sampled_from(kinds))}) as "{name}"' for name in columns)
    rows = draw(st.lists(cells, min_size=1, max_size=8))
    path = Path(draw(st.just("shaped.parquet")))
    with duckdb.connect() as db:
        db.execute("create table t (v varchar)")
        db.executemany("insert into t values (?)", [[row.replace("\0", "")] for row in rows])
        db.execute(f"copy (select {typed} from t) to '{path}' (format parquet)")
    data = path.read_bytes()
    path.unlink()
    return data


def _cut(draw: st.DrawFn, data: bytes) -> bytes:
    """Now and then without its end, or with a changed byte."""
    change = draw(st.sampled_from(["", "", "", "", "cut", "flip"]))
    place = draw(st.integers(0, max(len(data) - 1, 0)))
    if change == "cut":
        return data[:place]
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :] if change and data else data
