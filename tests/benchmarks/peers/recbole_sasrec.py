"""RecBole's SASRec with BPR and one negative: steps of its own training loop, its own full-sort evaluation.

    LLMEMB_BENCH_DATA=FOLDER python tests/benchmarks/peers/recbole_sasrec.py

RecBole makes a sample of every prefix of a history, so an epoch has many more steps than users over batch size. It
trains on one prefix of a user of three events too, whom the other sides leave out: the epoch that is reported has the
steps for their pairs only. Every sample is padded to the same length, so that all steps cost the same.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from itertools import islice
from math import ceil
from pathlib import Path

from measure import (
    BATCH,
    DROPOUT,
    HEADS,
    HIDDEN,
    LAYERS,
    MAX_LEN,
    Histories,
    histories,
    ranking,
    report,
    rounds,
    trained_users,
    training,
    training_pairs,
)
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed

WARM_UP, STEPS = 10, 60
NAME = "yelp"


def write_atomic_file(events: Histories, folder: Path) -> None:
    """The events in RecBole's own format; the place in the history stands in for the time."""
    target = folder / NAME / f"{NAME}.inter"
    target.parent.mkdir(parents=True)
    rows = (f"{user}\t{item}\t{place}\n" for user, items in events.items() for place, item in enumerate(items))
    with target.open("w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        file.writelines(rows)


def settings(folder: Path) -> dict[str, object]:
    """The same sizes as ours; everything else is RecBole's default for sequential models."""
    return {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "use_gpu": False,
        "show_progress": False,
        "MAX_ITEM_LIST_LENGTH": MAX_LEN,
        "train_batch_size": BATCH,
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
        "loss_type": "BPR",
        "hidden_size": HIDDEN,
        "inner_size": HIDDEN,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "hidden_dropout_prob": DROPOUT,
        "attn_dropout_prob": DROPOUT,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "eval_batch_size": 4096,
    }


def measure() -> dict[str, object]:
    """Some steps of a shuffled epoch, three times, then the evaluation of every test user."""
    events, folder = histories(), Path.cwd()
    write_atomic_file(events, folder)
    config = Config(model="SASRec", dataset=NAME, config_dict=settings(folder))
    init_seed(config["seed"], config["reproducibility"])
    train, _, test = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train._dataset).to(config["device"])
    trainer = Trainer(config, model)

    trainer._train_epoch(islice(train, WARM_UP), 0)
    taken = rounds(lambda: trainer._train_epoch(islice(train, STEPS), 0))
    trained = training(trained_users(events), ceil(training_pairs(events) / BATCH), STEPS, taken)
    taken = rounds(lambda: trainer.evaluate(test, load_best_model=False))
    return trained | ranking(len(test._dataset), taken)


if __name__ == "__main__":
    # RecBole leaves folders of logs and checkpoints where it runs.
    data = Path(os.environ["LLMEMB_BENCH_DATA"]).resolve()
    os.environ["LLMEMB_BENCH_DATA"] = str(data)
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        report("recbole", "SASRec, BPR, 1 negative; epochs of prefixes; full-sort evaluation", measure)
