"""LoRA on the layers that a spec names, and adapters that others made: peft and transformers are the measure."""

from __future__ import annotations

import json

import peft
import pytest
import torch
import transformers
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from llmemb_bench.base import progress
from llmemb_bench.base.errors import DataError, MissingError, SpecError
from tests.helpers.small_models import encoder, model_of
from tests.helpers.some import some

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of peft about transformers, while the tests use it bare
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
]

SIZES = {
    "vocab_size": 17,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 300,
}
TEXTS = ["red soap", "one two film", "the title is blue"]
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LORA = {"rank": 2, "alpha": 8, "dropout": 0.0}


@pytest.fixture
def base(tmp_path):
    """A LLaMA with its head for words, and the miniature tokenizer."""
    folder = tmp_path / "base"
    model_of(transformers.LlamaConfig(**SIZES), folder)
    torch.manual_seed(1)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).save_pretrained(folder)
    return folder


def adapter_of(base, folder, *, head=False, targets=SEVEN, **settings):
    """An adapter as peft writes one, its B matrices filled at random; returns the model that has it."""
    load = transformers.AutoModelForCausalLM if head else transformers.AutoModel
    config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=targets, **settings)
    model = peft.get_peft_model(load.from_pretrained(base), config)
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.3, generator=draw)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    return model.eval()


def states_of(model, ids) -> torch.Tensor:
    """The mean of the last states, by transformers alone."""
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return out.hidden_states[-1][0].mean(0)


def vectors_of(made) -> torch.Tensor:
    made.eval()
    tokens = made.tokenize(TEXTS)
    with torch.no_grad():
        return made(*tokens.batch(range(len(TEXTS))))


def refusal(base, folder, error=DataError, **lora) -> str:
    with pytest.raises(error) as raised:
        encoder("causal_lm", None, checkpoint=str(base), lora=LORA | lora, adapter=str(folder))
    assert "\n" not in str(raised.value)
    assert "another base" not in str(raised.value)
    return str(raised.value)


# --- targets ---


@pytest.mark.parametrize(
    ("targets", "findings"),
    [
        (
            ["query_key_value"],
            ["'query_key_value' is not a layer of this model -> its layers are q_proj, k_proj, v_proj"],
        ),
        (["q_proj", "nope"], ["'nope' is not a layer of this model"]),
        (["none", "q_proj", "nope"], ["'none' is not a layer", "'nope' is not a layer"]),
        (["embed_tokens"], ["'embed_tokens' is not a linear layer"]),
        (["q_proj", "norm"], ["'norm' is not a linear layer"]),
        (["input_layernorm"], ["'input_layernorm' is not a linear layer"]),
        (["self_attn"], ["'self_attn' is not a linear layer"]),
        ([".*q_proj"], ["'.*q_proj' is not a layer of this model -> did you mean 'q_proj'?"]),
        (["*"], ["'*' is not a layer"]),
        ([""], ["'' is not a linear layer"]),
        (["all-linear"], ["'all-linear' is not a layer of this model", "without 'targets' all are tuned"]),
        (["proj"], ["'proj' is not a layer"]),
        (["layers.9.self_attn.q_proj"], ["'layers.9.self_attn.q_proj' is not a layer"]),
        (["Q_proj"], ["did you mean 'q_proj'?"]),
    ],
)
def test_targets_that_cannot_be_tuned_are_named_with_those_that_can(targets, findings, tmp_path):
    with pytest.raises(SpecError) as raised:
        encoder("causal_lm", tmp_path, lora=LORA | {"targets": targets})
    for finding in findings:
        assert finding in str(raised.value)
    assert all(problem.where == "embeddings.encoder.lora.targets" for problem in some(raised.value.problems))


@pytest.mark.parametrize("targets", [[], "all-linear", "q_proj", {"q_proj": 1}, 7])
def test_targets_that_are_no_list_of_names_mean_nothing(targets, tmp_path):
    with pytest.raises(ValidationError, match="leave it out for all linear layers"):
        encoder("causal_lm", tmp_path, lora=LORA | {"targets": targets})


def test_no_vector_depends_on_a_pooler(tmp_path):
    with pytest.raises(SpecError, match=r"'pooler.dense' is not a linear layer that a vector depends on"):
        encoder("sentence_encoder", tmp_path, lora=LORA | {"targets": ["pooler.dense"]})


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["q_proj"], {"layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj"}),
        (["layers.1.self_attn.v_proj"], {"layers.1.self_attn.v_proj"}),
        (["0.mlp.up_proj", "1.mlp.down_proj"], {"layers.0.mlp.up_proj", "layers.1.mlp.down_proj"}),
    ],
)
def test_targets_mean_the_layers_that_end_in_their_names(targets, expected, tmp_path):
    made = encoder("causal_lm", tmp_path, lora=LORA | {"targets": targets})
    found = {name.partition(".lora_A")[0] for name, _ in made.named_parameters() if "lora_A" in name}
    assert {name.removeprefix("model.base_model.model.") for name in found} == expected


def test_layers_that_are_stored_the_other_way_round_are_tuned_too(tmp_path):
    sizes = {"vocab_size": 17, "n_embd": 32, "n_layer": 1, "n_head": 2, "bos_token_id": None, "eos_token_id": None}
    folder = model_of(transformers.GPT2Config(**sizes), tmp_path / "gpt2")
    adapter_of(folder, tmp_path / "a", targets=["c_attn"], fan_in_fan_out=True)
    lora = LORA | {"targets": ["c_attn"]}
    made = encoder("causal_lm", None, checkpoint=folder, lora=lora, adapter=str(tmp_path / "a"))
    model = peft.PeftModel.from_pretrained(transformers.AutoModel.from_pretrained(folder), tmp_path / "a").eval()
    expected = torch.stack([states_of(model, ids) for ids in made.tokenize(TEXTS).ids])
    torch.testing.assert_close(vectors_of(made), expected, atol=1e-5, rtol=0)


# --- adapters of others ---


@pytest.mark.parametrize("targets", [SEVEN, ["q_proj", "v_proj"]])
@pytest.mark.parametrize("head", [False, True], ids=["without head", "with head"])
def test_an_adapter_gives_the_vectors_that_peft_gives(head, targets, base, tmp_path, capsys):
    model = adapter_of(base, tmp_path / "a", head=head, targets=targets)
    progress.show("plain")
    lora = LORA | ({} if targets == SEVEN else {"targets": targets})
    made = encoder("causal_lm", None, checkpoint=str(base), lora=lora, adapter=str(tmp_path / "a"))
    progress.show("none")
    expected = torch.stack([states_of(model, ids) for ids in made.tokenize(TEXTS).ids])
    torch.testing.assert_close(vectors_of(made), expected, atol=1e-5, rtol=0)
    assert ("was tuned on the model with its head" in capsys.readouterr().err) == head
    plain = encoder("causal_lm", None, checkpoint=str(base), lora=None)
    assert not torch.allclose(vectors_of(plain), expected, atol=1e-2)


@pytest.mark.parametrize(("old", "new"), [(".weight", ".default.weight"), ("base_model.model.", "")])
def test_a_state_dict_that_was_saved_by_hand_is_an_adapter_too(old, new, base, tmp_path):
    model = adapter_of(base, tmp_path / "a")
    path = tmp_path / "a" / "adapter_model.safetensors"
    save_file({name.replace(old, new): weight for name, weight in load_file(path).items()}, path)
    made = encoder("causal_lm", None, checkpoint=str(base), lora=LORA, adapter=str(tmp_path / "a"))
    expected = torch.stack([states_of(model, ids) for ids in made.tokenize(TEXTS).ids])
    torch.testing.assert_close(vectors_of(made), expected, atol=1e-5, rtol=0)


def test_what_was_tuned_of_a_head_is_left_out_and_said(base, tmp_path, capsys):
    model = adapter_of(base, tmp_path / "a", head=True, targets=[*SEVEN, "lm_head"])
    progress.show("plain")
    made = encoder("causal_lm", None, checkpoint=str(base), lora=LORA, adapter=str(tmp_path / "a"))
    progress.show("none")
    assert "its lm_head is left out, no vector depends on it" in capsys.readouterr().err
    expected = torch.stack([states_of(model, ids) for ids in made.tokenize(TEXTS).ids])
    torch.testing.assert_close(vectors_of(made), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", [False, True], ids=["without head", "with head"])
@pytest.mark.parametrize(
    ("theirs", "lora", "message"),
    [
        (["q_proj", "v_proj"], {}, "was tuned with targets [q_proj, v_proj]; the spec has targets [q_proj, k_proj, "),
        (SEVEN, {"targets": ["q_proj"]}, "; the spec has targets [q_proj] -> "),
        (
            ["layers.0.self_attn.q_proj"],
            {},
            "-> embeddings.encoder.lora: {rank: 2, alpha: 8, targets: [layers.0.self_attn.q_proj]}",
        ),
        (
            SEVEN,
            {"rank": 4},
            "was tuned with rank 2; the spec has rank 4 -> embeddings.encoder.lora: {rank: 2, alpha: 8",
        ),
        (SEVEN, {"alpha": 16}, "was tuned with alpha 8; the spec has alpha 16"),
        (SEVEN, {"dora": True}, "was tuned with dora false; the spec has dora true"),
        (
            ["v_proj"],
            {"rank": 4, "alpha": 16},
            "was tuned with rank 2 and alpha 8 and targets [v_proj]; the spec has rank 4 and alpha 16 and targets",
        ),
    ],
)
def test_an_adapter_of_other_settings_says_which_would_fit(theirs, lora, message, head, base, tmp_path):
    adapter_of(base, tmp_path / "a", head=head, targets=theirs)
    said = refusal(base, tmp_path / "a", **lora)
    assert message in said
    fix = said.partition("embeddings.encoder.lora: ")[2]
    from ruamel.yaml import YAML

    made = encoder(
        "causal_lm", None, checkpoint=str(base), lora=YAML(typ="safe").load(fix), adapter=str(tmp_path / "a")
    )
    assert vectors_of(made).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_rslora": True}, "was tuned with use_rslora, which no spec has -> merge it into its base"),
        ({"rank_pattern": {"q_proj": 4}}, "was tuned with rank_pattern"),
        ({"alpha_pattern": {"q_proj": 4}}, "was tuned with alpha_pattern"),
        ({"bias": "lora_only"}, "was tuned with bias"),
        ({"modules_to_save": ["embed_tokens"]}, "holds weights of embed_tokens, which no lora tunes"),
    ],
)
def test_an_adapter_that_no_spec_can_describe_is_to_be_merged(settings, message, base, tmp_path):
    adapter_of(base, tmp_path / "a", **settings)
    assert message in refusal(base, tmp_path / "a")


def set_in(folder, **settings) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize("begun", ["pissa", "pissa_niter_4", "olora"])
def test_an_adapter_that_took_a_part_of_its_base_is_refused(begun, base, tmp_path):
    adapter_of(base, tmp_path / "a", init_lora_weights=begun)
    said = refusal(base, tmp_path / "a")
    assert f"began with init_lora_weights '{begun}', which changed its base -> save it with peft's path_in" in said


def test_an_adapter_that_peft_converted_gives_the_tuned_vectors(base, tmp_path):
    config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=SEVEN, init_lora_weights="pissa")
    model = peft.get_peft_model(transformers.AutoModel.from_pretrained(base), config)
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(str(tmp_path / "first"), save_embedding_layers=False)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight += 0.1
    model.save_pretrained(
        str(tmp_path / "a"),
        save_embedding_layers=False,
        path_initial_model_for_weight_conversion=str(tmp_path / "first"),
    )
    lora = LORA | {"rank": 4, "alpha": 16}
    made = encoder("causal_lm", None, checkpoint=str(base), lora=lora, adapter=str(tmp_path / "a"))
    expected = torch.stack([states_of(model.eval(), ids) for ids in made.tokenize(TEXTS).ids])
    torch.testing.assert_close(vectors_of(made), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_lora_weights": "corda"}, "init_lora_weights 'corda'"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights 'loftq'"),
        ({"init_lora_weights": "lora_ga"}, "init_lora_weights 'lora_ga'"),
        ({"init_lora_weights": "of_next_year"}, "init_lora_weights 'of_next_year'"),
        ({"alora_invocation_tokens": [3, 4]}, "tuned with alora_invocation_tokens, which no spec has -> merge it"),
        ({"kasa_config": {"beta": 1.0}}, "tuned with kasa_config"),
        ({"velora_config": {"rank": 1}}, "tuned with velora_config"),
        ({"monteclora_config": {"n": 2}}, "tuned with monteclora_config"),
        ({"use_bdlora": {"nblocks": 2}}, "tuned with use_bdlora"),
        ({"arrow_config": {"top_k": 2}}, "tuned with arrow_config"),
        ({"use_of_next_year": True, "bias": "all"}, "bias"),
        ({"lora_alpha": 8.5}, "was tuned with alpha 8.5; the spec has alpha 8 -> merge it into its base"),
    ],
)
def test_a_setting_that_is_not_known_here_is_named(settings, message, base, tmp_path):
    adapter_of(base, tmp_path / "a")
    set_in(tmp_path / "a", **settings)
    assert message in refusal(base, tmp_path / "a")


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": 8.0, "r": 2.0},
        {"of_next_year": None, "switched": False, "listed": [], "mapped": {}},
        {"init_lora_weights": "gaussian", "peft_version": "0.99", "task_type": "CAUSAL_LM"},
        {"init_lora_weights": False, "modules_to_save": None, "lora_dropout": 0.3, "qalora_group_size": 32},
    ],
)
def test_what_changes_no_vector_is_read(settings, base, tmp_path):
    model = adapter_of(base, tmp_path / "a")
    set_in(tmp_path / "a", **settings)
    made = encoder("causal_lm", None, checkpoint=str(base), lora=LORA, adapter=str(tmp_path / "a"))
    expected = torch.stack([states_of(model, ids) for ids in made.tokenize(TEXTS).ids])
    torch.testing.assert_close(vectors_of(made), expected, atol=1e-5, rtol=0)


def test_an_adapter_of_another_kind_is_told(base, tmp_path):
    config = peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    peft.get_peft_model(transformers.AutoModel.from_pretrained(base), config).save_pretrained(str(tmp_path / "a"))
    assert "holds no LoRA but weights called ia3_l" in refusal(base, tmp_path / "a")


def test_an_adapter_of_another_architecture_belongs_to_another_base(base, tmp_path):
    bert = model_of(transformers.BertConfig(**SIZES), tmp_path / "bert")
    adapter_of(bert, tmp_path / "a", targets=["query", "value"])
    with pytest.raises(DataError, match=r"belongs to another base: 4 of its layers are not in this model, the first"):
        encoder("causal_lm", None, checkpoint=str(base), lora=LORA, adapter=str(tmp_path / "a"))
    wide = model_of(transformers.LlamaConfig(**SIZES | {"hidden_size": 64}), tmp_path / "wide")
    adapter_of(wide, tmp_path / "b")
    with pytest.raises(DataError, match="belongs to another base: 22 weights do not fit"):
        encoder("causal_lm", None, checkpoint=str(base), lora=LORA, adapter=str(tmp_path / "b"))


# --- what people name in place of an adapter ---


def empty(folder) -> None:
    for path in folder.iterdir():
        path.unlink()


def whole_model(folder) -> None:
    empty(folder)
    (folder / "config.json").write_text("{}")


def tuned_in_full(folder) -> None:
    empty(folder)
    save_file({"w": torch.ones(1)}, folder / "weights.safetensors")


def one_deeper(folder) -> None:
    (folder / "checkpoint-5").mkdir()
    for path in folder.glob("adapter_*"):
        path.rename(folder / "checkpoint-5" / path.name)


def pickled(folder) -> None:
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def of_nan(folder) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({name: weight * float("nan") for name, weight in load_file(path).items()}, path)


IN_PLACE = {
    "nothing": (empty, "it holds nothing -> name a folder that holds adapter_model.safetensors"),
    "a model": (whole_model, "but a whole model -> name it as checkpoint"),
    "all weights": (tuned_in_full, "was tuned with 'full: true'; the spec has 'lora:' -> set full: true"),
    "one deeper": (one_deeper, "but holds 1 -> name one of them: embeddings.encoder.adapter: "),
    "a pickle": (pickled, "a pickle, which could run code when it is read -> python -c "),
    "no settings": (lambda folder: (folder / "adapter_config.json").unlink(), "has no adapter_config.json"),
    "half the settings": (
        lambda folder: (folder / "adapter_config.json").write_text('{"r": 2'),
        "adapter_config.json: cannot be read -> copy the whole folder again",
    ),
    "a list of settings": (lambda folder: (folder / "adapter_config.json").write_text("[]"), "holds no JSON object"),
    "a base that is none": (lambda folder: (folder / "base.json").write_text("7"), "base.json: holds no JSON object"),
    "numbers that are none": (of_nan, "holds numbers that are not finite"),
}


@pytest.mark.parametrize("what", IN_PLACE)
def test_what_is_no_adapter_is_told_with_what_it_is(what, base, tmp_path):
    change, message = IN_PLACE[what]
    adapter_of(base, tmp_path / "a")
    change(tmp_path / "a")
    assert message in refusal(base, tmp_path / "a")


def test_a_file_and_nothing_at_all_are_no_folder(base, tmp_path):
    (tmp_path / "f").touch()
    assert "is a file -> name the folder that contains it" in refusal(base, tmp_path / "f")
    assert "no adapter at" in refusal(base, tmp_path / "nowhere", MissingError)


def test_the_command_that_converts_a_pickle_does(base, tmp_path):
    model = adapter_of(base, tmp_path / "a")
    pickled(tmp_path / "a")
    program = refusal(base, tmp_path / "a").partition('python -c "')[2].removesuffix('"')
    exec(program, {})  # noqa: S102  # as a user would by `python -c`
    made = encoder("causal_lm", None, checkpoint=str(base), lora=LORA, adapter=str(tmp_path / "a"))
    expected = torch.stack([states_of(model, ids) for ids in made.tokenize(TEXTS).ids])
    torch.testing.assert_close(vectors_of(made), expected, atol=1e-5, rtol=0)


# --- what people name in place of a model ---


def test_an_adapter_is_no_checkpoint(base, tmp_path):
    adapter_of(base, tmp_path / "a")
    with pytest.raises(SpecError, match=rf"is an adapter, not a model -> checkpoint: {base}, adapter: .*/a, and lora"):
        encoder("causal_lm", None, checkpoint=str(tmp_path / "a"))
    (tmp_path / "a" / "adapter_config.json").write_text("{")
    with pytest.raises(SpecError, match="is an adapter, not a model -> checkpoint: ITS_BASE"):
        encoder("causal_lm", None, checkpoint=str(tmp_path / "a"))


def test_an_adapter_beside_a_model_is_not_added_to_it_unasked(base, tmp_path):
    adapter_of(base, base)
    with pytest.raises(SpecError, match="holds an adapter beside a model -> move adapter_"):
        encoder("causal_lm", None, checkpoint=str(base))


def test_a_folder_or_file_that_is_no_model_is_told_with_what_it_is(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match=r"holds no model \(config.json\): it holds nothing"):
        encoder("causal_lm", None, checkpoint=str(tmp_path / "empty"))
    with pytest.raises(MissingError, match=rf"holds no model .*: it holds base, empty -> checkpoint: {base}$"):
        encoder("causal_lm", None, checkpoint=str(tmp_path))
    with pytest.raises(MissingError, match=rf"is a file -> name its folder: {base}, or a .gguf file"):
        encoder("causal_lm", None, checkpoint=str(base / "model.safetensors"))


def test_weights_in_a_pickle_of_tensors_are_read_as_such(base):
    expected = vectors_of(encoder("causal_lm", None, checkpoint=str(base), lora=None))
    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    torch.testing.assert_close(vectors_of(encoder("causal_lm", None, checkpoint=str(base), lora=None)), expected)


def test_a_pickle_that_would_run_code_is_refused(base, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (print, ("this ran",))

    torch.save({"w": Hostile()}, base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(MissingError, match="cannot be loaded"):
        encoder("causal_lm", None, checkpoint=str(base))
