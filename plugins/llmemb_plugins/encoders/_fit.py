"""Whether a tokenizer, a model and the settings fit each other: found out here, before anything is encoded or tuned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from llmemb_bench.base.errors import DataError, SpecError

if TYPE_CHECKING:
    from llmemb_plugins.encoders._transformer import TransformerConfig

WHERE = "embeddings.encoder.checkpoint"
POSITIONS = ("position_embeddings", "embed_positions", "wpe")
"""What transformers calls a table of learned positions."""
UNLIMITED = 10**9
"""A tokenizer without a limit gives 1e30, or another number that no text has."""
OWN = "name the model that this tokenizer was made for, or copy that model's tokenizer files"


@dataclass(frozen=True)
class Fit:
    """What holds of a tokenizer and a model together."""

    rows: int | None
    """Vectors of tokens that the model has; None: it makes them in another way than by a table."""
    pad: int
    """What follows a short text. It is masked, so any token that the model has will do."""
    filler: int
    """What an empty text is to a tokenizer that puts nothing around texts: no model takes no token at all."""


def fit(config: TransformerConfig, tokenizer: Any, model: Any) -> Fit:
    """Look at both once; what does not fit is an error of one line."""
    if model.config.is_encoder_decoder:
        raise SpecError(
            f"'{config.checkpoint.text}' is an encoder with a decoder, which has no one vector for a text",
            where=WHERE,
            fix="name a decoder alone (causal_lm), or a model like BERT (sentence_encoder)",
        )
    rows = rows_of(model)
    _refuse_odd_limit(config, tokenizer)
    _refuse_strange_tokens(config, tokenizer, rows)
    _refuse_too_long(config, model, tokenizer)
    special = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    pad, *others = (token if has_row(token, rows) else None for token in special)
    return Fit(rows, pad or 0, next((token for token in (*others, pad) if token is not None), 0))


def _refuse_odd_limit(config: TransformerConfig, tokenizer: Any) -> None:
    """Written by hand, it may be a text; every use of the tokenizer would fail."""
    limit = tokenizer.model_max_length
    if type(limit) not in (int, float):
        raise DataError(
            f"the tokenizer of '{config.checkpoint.text}' has model_max_length {limit!r}, which is not a number",
            where=WHERE,
            fix="write a number, without quotes, in its tokenizer_config.json",
        )


def rows_of(model: Any) -> int | None:
    """Rows of the table of token vectors."""
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:  # a model of pictures and texts
        return None
    return table.num_embeddings if isinstance(table, nn.Embedding) else None


def has_row(token: int | None, rows: int | None) -> bool:
    """Whether there is such a token, and a vector for it."""
    return token is not None and token >= 0 and (rows is None or token < rows)


def _refuse_strange_tokens(config: TransformerConfig, tokenizer: Any, rows: int | None) -> None:
    """Words and the tokens around every text need a vector. Of other special tokens (an image, a pad) a text holds
    none, and should one do so, `refuse_unknown` says it."""
    if rows is None:
        return
    added = tokenizer.added_tokens_decoder
    silent = {number for number, token in added.items() if token.special}
    silent -= {number for text in ("", "a") for number in tokenizer(text)["input_ids"]}
    beyond = {number: word for word, number in tokenizer.get_vocab().items() if number >= rows and number not in silent}
    if beyond:
        first = min(beyond)
        raise DataError(
            f"the tokenizer of '{config.checkpoint.text}' has {len(beyond)} tokens more than its model has vectors "
            f"({rows}): the first is {beyond[first]!r}, number {first}",
            where=WHERE,
            fix=f"{OWN}; tokens that were added need model.resize_token_embeddings, then tuning",
        )


def refuse_unknown(ids: tuple[int, ...], rows: int | None, text: str) -> None:
    """A text may hold the name of a special token that its model never had."""
    if rows is not None and ids and max(ids) >= rows:
        raise DataError(
            f"the text {text[:60]!r} holds a token, number {max(ids)}, that the model has no vector for ({rows} rows)",
            where=WHERE,
            fix=f"take that token out of the text, or {OWN}",
        )


def _refuse_too_long(config: TransformerConfig, model: Any, tokenizer: Any) -> None:
    limit = min(_limits(model, tokenizer), default=None)
    if limit is not None and config.max_tokens > limit:
        raise SpecError(
            f"the model takes {limit} tokens at most, not {config.max_tokens}",
            where="embeddings.encoder.max_tokens",
            fix=f"max_tokens: {limit}",
        )


def _limits(model: Any, tokenizer: Any) -> Iterator[int]:
    """Lengths that something of a model ends at; some models have no limit and say so by -1, 0 or nothing."""
    settings = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for number in (settings, tokenizer.model_max_length):
        if isinstance(number, int | float) and 0 < number < UNLIMITED:
            yield int(number)
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if name.rpartition(".")[2] in POSITIONS and isinstance(weight, Tensor) and weight.ndim == 2:
            yield len(weight) - _first_position(module)


def _first_position(module: nn.Module) -> int:
    """The row of a text's first token: RoBERTa's family counts from the row after the padding's, OPT's from 2."""
    padding = getattr(module, "padding_idx", None)
    return getattr(module, "offset", 0) if padding is None else int(padding) + 1
