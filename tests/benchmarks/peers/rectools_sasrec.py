"""RecTools' SASRec with BCE and one negative: training through its own `fit`, ranking through its own `recommend`.

LLMEMB_BENCH_DATA=FOLDER python tests/benchmarks/peers/rectools_sasrec.py
"""

from __future__ import annotations

import time

import pandas as pd
from measure import (
    BATCH,
    DROPOUT,
    HEADS,
    HELD_OUT,
    HIDDEN,
    LAYERS,
    MAX_LEN,
    ROUNDS,
    Histories,
    histories,
    ranking,
    report,
    rounds,
    trained_users,
    training,
)
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

TOP = 10


class EpochClock(Callback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: object) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: object) -> None:
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self.start)


def trainer() -> Trainer:
    """The trainer that RecTools makes by default, with a clock; the first epoch is the warm-up."""
    epochs = 1 + ROUNDS
    return Trainer(
        max_epochs=epochs,
        min_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[EpochClock()],
    )


def dataset(events: Histories, left_out: int) -> Dataset:
    """All but the last events of each user; the place in the history stands in for the time."""
    rows = [
        (user, item, place, 1.0)
        for user, items in events.items()
        for place, item in enumerate(items[: len(items) - left_out])
    ]
    frame = pd.DataFrame(rows, columns=[Columns.User, Columns.Item, Columns.Datetime, Columns.Weight])
    frame[Columns.Datetime] = pd.to_datetime(frame[Columns.Datetime], unit="s")
    return Dataset.construct(frame)


def sasrec() -> SASRecModel:
    """The same sizes as ours."""
    return SASRecModel(
        loss="BCE",
        n_negatives=1,
        session_max_len=MAX_LEN,
        batch_size=BATCH,
        n_factors=HIDDEN,
        n_blocks=LAYERS,
        n_heads=HEADS,
        dropout_rate=DROPOUT,
        lr=0.001,
        get_trainer_func=trainer,
        recommend_torch_device="cpu",
    )


def measure() -> dict[str, object]:
    """Whole epochs, then the ten best unseen items for every user given all events but the last."""
    events, model = histories(), sasrec()
    model.fit(dataset(events, HELD_OUT))
    [clock] = [callback for callback in model.fit_trainer.callbacks if isinstance(callback, EpochClock)]
    steps = model.fit_trainer.num_training_batches
    trained = training(trained_users(events), steps, steps, clock.seconds[1:])

    known, users = dataset(events, 1), list(events)
    found: list[int] = []

    def recommend() -> None:
        best = model.recommend(users, known, k=TOP, filter_viewed=True, on_unsupported_targets="warn")
        found.append(best[Columns.User].nunique())

    taken = rounds(recommend)
    return trained | ranking(found[0], taken)


if __name__ == "__main__":
    report("rectools", "SASRec, BCE, 1 negative; epochs of users; top 10 of the unseen items", measure)
