"""A tokenizer and a model that do not fit each other are found out before anything is encoded; expectations are plain
transformers, one text at a time, nothing padded."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers

from llmemb_bench.base.errors import DataError, SpecError
from tests.helpers.small_models import encode, encoder, items_of, model_of

TEXTS = ["one", "the title is red soap", "two one two one film kind", ""]
SIZES = {
    "vocab_size": 17,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 66,
}
GPT = {"vocab_size": 17, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 66}
OPT = {"vocab_size": 17, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 40}


def llama(rows: int = 17) -> transformers.LlamaConfig:
    return transformers.LlamaConfig(**SIZES | {"vocab_size": rows})


def change_tokenizer(folder, **special) -> None:
    """Give it special tokens, as people do without resizing the model."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(special)
    tokenizer.save_pretrained(folder)


def set_in(path, **settings) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def plain_means(folder, rows) -> np.ndarray:
    """Mean of the states of each row of ids."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return np.stack([model(torch.tensor([ids])).last_hidden_state[0].mean(0).numpy() for ids in rows])


# --- tokens that the model has no vector for ---


@pytest.mark.parametrize("special", [{"pad_token": "<new>"}, {"pad_token": "[EOS]"}, {"pad_token": "[UNK]"}, {}])
@pytest.mark.parametrize("name", ["causal_lm", "sentence_encoder"])
def test_whatever_a_tokenizer_pads_with_changes_no_vector(name, special, tmp_path):
    config = llama() if name == "causal_lm" else transformers.BertConfig(**SIZES)
    folder = model_of(config, tmp_path)
    change_tokenizer(tmp_path, **special)
    made = encoder(name, None, checkpoint=folder, max_tokens=60)
    tokens = made.tokenize(TEXTS)
    assert tokens.ids[:2] == ((11,), (3, 7, 8, 13, 15))
    assert len(tokens.ids[3]) == 1
    made.eval()
    with torch.no_grad():
        found = made(*tokens.batch(range(4))).numpy()
    np.testing.assert_allclose(found, plain_means(folder, tokens.ids), atol=1e-5)


def test_an_empty_text_is_a_token_that_the_model_has(tmp_path):
    folder = model_of(llama(3), tmp_path)
    change_tokenizer(tmp_path, pad_token="<new>", bos_token="<old>")  # noqa: S106  # a token of text, no secret
    with pytest.raises(DataError, match="has 14 tokens more than its model has vectors"):
        encoder("causal_lm", None, checkpoint=folder, max_tokens=60)
    folder = model_of(llama(), tmp_path)
    change_tokenizer(tmp_path, pad_token="<new>", bos_token="<old>")  # noqa: S106
    assert encoder("causal_lm", None, checkpoint=folder, max_tokens=60).tokenize([""]).ids == ((2,),)


@pytest.mark.parametrize("name", ["causal_lm", "sentence_encoder"])
@pytest.mark.parametrize(("rows", "message"), [(16, "1 tokens more.*'film', number 16"), (9, "8 tokens more.*'kind'")])
def test_a_vocabulary_beyond_the_models_is_refused(name, rows, message, tmp_path):
    config = llama(rows) if name == "causal_lm" else transformers.BertConfig(**SIZES | {"vocab_size": rows})
    folder = model_of(config, tmp_path)
    with pytest.raises(DataError, match=message):
        encoder(name, None, checkpoint=folder, max_tokens=60)


def test_a_word_that_was_added_without_resizing_the_model_is_refused(tmp_path):
    folder = model_of(llama(), tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["boat"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(DataError, match=r"more than its model has vectors \(17\): the first is 'boat', number 17"):
        encoder("causal_lm", None, checkpoint=folder, max_tokens=60)
    model_of(llama(18), tmp_path / "resized")
    (tmp_path / "resized" / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes())
    made = encoder("causal_lm", None, checkpoint=str(tmp_path / "resized"), max_tokens=60)
    assert made.tokenize(["the boat"]).ids == ((3, 17),)


def test_a_special_token_without_a_vector_is_refused_only_where_it_is_read(tmp_path):
    folder = model_of(llama(), tmp_path)
    change_tokenizer(tmp_path, additional_special_tokens=["<image>"])  # Gemma 3 of one billion has such a one
    made = encoder("causal_lm", None, checkpoint=folder, max_tokens=60)
    assert made.tokenize(["the film"]).ids == ((3, 16),)
    with pytest.raises(DataError, match=r"the text '.*the <image>' holds a token, number 17,.*\(17 rows\)"):
        encode(made, ["the film", "the <image>"])


def test_an_end_of_text_token_without_a_vector_is_no_end(tmp_path):
    folder = model_of(llama(), tmp_path)
    change_tokenizer(tmp_path, eos_token="<end>")  # noqa: S106
    with pytest.raises(SpecError, match=r"encoder.pooling: .* has no end-of-text token -> pooling: last, or mean"):
        encoder("causal_lm", None, checkpoint=folder, pooling="eos", max_tokens=60)
    assert encoder("causal_lm", None, checkpoint=folder, pooling="last", max_tokens=60).tokenize(["one"]).ids == (
        (11,),
    )


def test_a_special_token_that_stands_around_every_text_needs_a_vector(tmp_path):
    from tokenizers.processors import TemplateProcessing

    folder = model_of(llama(), tmp_path)
    change_tokenizer(tmp_path, bos_token="<s>")  # noqa: S106
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    template = TemplateProcessing(single=["<s>", "$A"], special_tokens=[("<s>", 17)])
    tokenizer.backend_tokenizer.post_processor = template
    tokenizer.save_pretrained(folder)
    with pytest.raises(DataError, match="the first is '<s>', number 17"):
        encoder("causal_lm", None, checkpoint=folder, max_tokens=60)


# --- lengths ---

LIMITS = {
    "roberta, padding 3": (transformers.RobertaConfig(**SIZES, pad_token_id=3), 62),
    "roberta, padding 0": (transformers.RobertaConfig(**SIZES, pad_token_id=0), 65),
    "xlm-roberta": (transformers.XLMRobertaConfig(**SIZES, pad_token_id=1), 64),
    "camembert": (transformers.CamembertConfig(**SIZES, pad_token_id=1), 64),
    "mpnet": (transformers.MPNetConfig(**SIZES), 64),
    "bert": (transformers.BertConfig(**SIZES), 66),
    "electra": (transformers.ElectraConfig(**SIZES, embedding_size=32), 66),
    "gpt2": (transformers.GPT2Config(**GPT, bos_token_id=None, eos_token_id=None), 66),
    "opt": (transformers.OPTConfig(**OPT, max_position_embeddings=66, word_embed_proj_dim=32), 66),
    "opt, projected": (transformers.OPTConfig(**OPT, max_position_embeddings=66, word_embed_proj_dim=16), 66),
}
DECODERS = ("gpt2", "opt", "opt, projected")


@pytest.mark.parametrize("what", LIMITS)
def test_the_longest_text_of_a_model_is_what_its_places_hold(what, tmp_path):
    config, limit = LIMITS[what]
    folder, name = model_of(config, tmp_path), "causal_lm" if what in DECODERS else "sentence_encoder"
    with pytest.raises(SpecError, match=f"takes {limit} tokens at most, not {limit + 1} -> max_tokens: {limit}$"):
        encoder(name, None, checkpoint=folder, max_tokens=limit + 1)
    made = encoder(name, None, checkpoint=folder, max_tokens=limit)
    long = "title is " + " ".join(["red soap one two film"] * 20)
    found = encode(made, [long, "one"])[0]
    expected = plain_means(folder, [cut_of(made, long, limit)])[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def cut_of(made, text: str, limit: int) -> tuple[int, ...]:
    """The ids of an item's text, cut to `limit` tokens; each of its words is one."""
    [whole] = items_of([text]).texts()
    ids = transformers.AutoTokenizer.from_pretrained(made.config.checkpoint.text)(whole)["input_ids"]
    return tuple(ids[:limit])


@pytest.mark.parametrize("sentinel", [10**30, 1e30, 0, -1, None, 2**63])
def test_a_tokenizer_without_a_limit_sets_none(sentinel, tmp_path):
    folder = model_of(llama(), tmp_path)
    set_in(tmp_path / "tokenizer_config.json", model_max_length=sentinel)
    with pytest.raises(SpecError, match="takes 66 tokens at most, not 67"):
        encoder("causal_lm", None, checkpoint=folder, max_tokens=67)
    assert encoder("causal_lm", None, checkpoint=folder, max_tokens=66).max_tokens == 66


def test_a_tokenizers_own_limit_counts(tmp_path):
    folder = model_of(llama(), tmp_path)
    set_in(tmp_path / "tokenizer_config.json", model_max_length=40)
    with pytest.raises(SpecError, match="takes 40 tokens at most, not 41 -> max_tokens: 40"):
        encoder("causal_lm", None, checkpoint=folder, max_tokens=41)


def test_a_model_without_places_takes_any_length(tmp_path):
    config = transformers.BloomConfig(vocab_size=17, hidden_size=32, n_layer=1, n_head=2)
    made = encoder("causal_lm", None, checkpoint=model_of(config, tmp_path), max_tokens=5000)
    assert np.isfinite(encode(made, ["red soap " * 600])).all()
    xlnet = transformers.XLNetConfig(vocab_size=17, d_model=32, n_layer=1, n_head=2, d_inner=40)  # its limit is -1
    made = encoder("sentence_encoder", None, checkpoint=model_of(xlnet, tmp_path / "x"), max_tokens=5000)
    assert np.isfinite(encode(made, ["red soap", "one"])).all()


# --- models of another kind ---

T5 = {"vocab_size": 17, "d_model": 32, "num_layers": 1, "num_heads": 2, "d_ff": 40, "d_kv": 16}
CLIP_TEXT = {"vocab_size": 17, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
CLIP_SIGHT = CLIP_TEXT | {"image_size": 8, "patch_size": 4, "intermediate_size": 40}
OTHER_KINDS = {
    "an encoder with a decoder": (transformers.T5Config(**T5), "sentence_encoder", "is an encoder with a decoder"),
    "pictures": (
        transformers.CLIPConfig(text_config=CLIP_TEXT, vision_config=CLIP_SIGHT),
        "sentence_encoder",
        "does not read text as an encoder needs it",
    ),
    "bert as a decoder": (transformers.BertConfig(**SIZES), "causal_lm", "is not a decoder.* -> use: sentence_encoder"),
    "roberta as a decoder": (
        transformers.RobertaConfig(**SIZES, pad_token_id=0),
        "causal_lm",
        "is not a decoder.* -> use: sentence_encoder",
    ),
    "a bidirectional gemma": (
        transformers.Gemma3TextConfig(**SIZES, num_key_value_heads=1, head_dim=16, use_bidirectional_attention=True),
        "causal_lm",
        "is not a decoder",
    ),
}


@pytest.mark.parametrize("what", OTHER_KINDS)
def test_a_model_of_another_kind_is_told(what, tmp_path):
    config, name, message = OTHER_KINDS[what]
    with pytest.raises(SpecError, match=message):
        encoder(name, None, checkpoint=model_of(config, tmp_path), max_tokens=32)


def test_cls_needs_a_token_before_the_text(tmp_path):
    folder = model_of(transformers.BertConfig(**SIZES), tmp_path)
    with pytest.raises(SpecError, match=r"encoder.pooling: .* puts no token before a text .* -> pooling: mean"):
        encoder("sentence_encoder", None, checkpoint=folder, pooling="cls", max_tokens=60)
