"""What is put into SQL as text comes out of DuckDB as it went in."""

from __future__ import annotations

import json

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from llmemb_bench.base import sql

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
AWKWARD = st.sampled_from(["'", '"', "it's", 'a "b"', "\\", "\\'", "x';--", '"; drop', "$.a", "a.b", "[0]"])


@settings(max_examples=60, deadline=None)
@given(TEXTS | AWKWARD)
def test_texts_names_and_keys_of_any_characters_survive(text):
    with duckdb.connect() as db:
        assert db.execute(f"select {sql.literal(text)}").fetchall() == [(text,)]
        assert db.execute(f"select 1 as {sql.identifier(text)}").description[0][0] == text
        if text == "*":
            return  # DuckDB takes it for a wildcard, in quotes too
        given = json.dumps({text: "found", f"{text}!": "other"})
        assert db.execute(f"select ?::json ->> {sql.json_path(text)}", [given]).fetchall() == [("found",)]
