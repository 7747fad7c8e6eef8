"""`compare` of finished runs: items stand with their titles where the run's data can be found."""

from __future__ import annotations

import json

import pytest

from tests.helpers.finished_runs import Finished, finish


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Finished:
    return finish(tmp_path_factory.getbasetemp() / "finished")


def test_items_that_moved_have_their_titles(finished, cli):
    words = ("compare", finished.run("popularity"), finished.run("cooccurrence"), "--results", finished.results)
    ran = cli(*words, "--format", "json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["items"]
    for one in found["items"]:
        number = one["name"][1:].strip(",")
        assert found["titles"][one["name"]].endswith(f" number {number}")
    assert " number " in cli(*words).out
