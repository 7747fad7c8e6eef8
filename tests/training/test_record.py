"""What is written down of a training, and what of it is the same when it is repeated."""

from __future__ import annotations

from dataclasses import replace

from llmemb_bench.training.loop import State
from llmemb_bench.training.record import TrainingRecord

END = State(epoch=6, step=50, best_epoch=3, best_score=0.25, seconds=1.23456)


def test_a_record_says_what_was_validated_and_counts_epochs_and_steps():
    record = TrainingRecord.of(END, "ndcg@10", "full", [], [])
    assert record == TrainingRecord("ndcg@10", "full", 0.25, best_epoch=3, epochs=5, steps=50, seconds=1.235, doubts=[])


def test_a_record_is_read_back_with_its_teachers(tmp_path):
    grand = TrainingRecord.of(END, "hr@10", "full", [], [])
    teacher = replace(grand, steps=20, teacher=grand)
    record = replace(grand, steps=30, teacher=teacher)
    record.save(tmp_path)
    assert TrainingRecord.load(tmp_path) == record
    assert [taught.steps for taught in record.teachers] == [20, 50]


def test_seconds_are_left_out_at_every_depth_where_bytes_must_not_differ():
    teacher = TrainingRecord.of(END, "hr@10", "full", [], [])
    told = replace(teacher, teacher=teacher).without_seconds()
    slower = replace(teacher, seconds=99.0)
    assert told == replace(slower, teacher=slower).without_seconds()
    assert told["teacher"] == {**told, "teacher": None}
