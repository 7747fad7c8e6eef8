"""Real but tiny models with random weights, for contract checks on machines without downloads."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = ("the", "item", "has", "following", "title", "is", "kind", "thing", "one", "two", "red", "blue", "soap", "film")


def _write_tokenizer(folder: Path, *, begins: bool = False) -> int:
    """A word tokenizer, which puts [CLS] before a text where `begins`; returns its vocabulary size."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()

    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[EOS]", *WORDS])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106  # a token of text, no secret
    words.pre_tokenizer = Whitespace()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[EOS]"}
    if begins:
        index = vocabulary["[CLS]"] = len(vocabulary)
        words.add_special_tokens(["[CLS]"])
        words.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", index)])
        special |= {"cls_token": "[CLS]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(str(folder))
    return len(vocabulary)


def write_llama(folder: Path) -> Path:
    """A LLaMA of two layers in `folder`, as transformers saves one."""
    from transformers import LlamaConfig, LlamaModel

    size = _write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaModel(config).save_pretrained(str(folder))
    return folder


def write_bert(folder: Path) -> Path:
    """A BERT of two layers in `folder`, as transformers saves one."""
    from transformers import BertConfig, BertModel

    size = _write_tokenizer(folder, begins=True)
    config = BertConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(str(folder))
    return folder
