"""transformers: functions by name in a configuration; swapped models that are saved, loaded, trained and adapted."""

import copy
import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import actune
from actune import Activation, restore, swap

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of transformers and what it brings

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
WHISPER = {
    "vocab_size": 99, "num_mel_bins": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 16, "max_source_positions": 16,
    "max_target_positions": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "use_cache": False,
}  # fmt: skip
T5 = {"vocab_size": 99, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "use_cache": False}


def tokens() -> dict[str, Tensor]:
    return {"input_ids": torch.randint(0, 90, (2, 8), generator=torch.Generator().manual_seed(0))}


def pictures() -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))}


def speech() -> dict[str, Tensor]:
    return {"input_features": torch.randn(2, 8, 32), "decoder_input_ids": tokens()["input_ids"]}


def pairs() -> dict[str, Tensor]:
    return tokens() | {"decoder_input_ids": tokens()["input_ids"]}


# name -> class, configuration, the field that names the function, what stands before the name there, an example
MODELS: dict[str, tuple[str, str, dict[str, Any], str, str, Any]] = {
    "bert": ("BertForSequenceClassification", "BertConfig", {"vocab_size": 99, **SMALL}, "hidden_act", "", tokens),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"vocab_size": 99, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
             "activation_function", "", tokens),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {"vocab_size": 99, "num_key_value_heads": 2, **SMALL}, "hidden_act", "", tokens),
    "vit": ("ViTForImageClassification", "ViTConfig", {"image_size": 32, "patch_size": 8, **SMALL}, "hidden_act", "", pictures),
    "resnet": ("ResNetForImageClassification", "ResNetConfig", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2]},
               "hidden_act", "", pictures),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5, "feed_forward_proj", "gated-", pairs),
    "whisper": ("WhisperForConditionalGeneration", "WhisperConfig", WHISPER, "activation_function", "", speech),
}  # fmt: skip


def made(name: str, function: str | None = None) -> nn.Module:
    cls, config, options, field, before, _ = MODELS[name]
    chosen = {} if function is None else {field: f"{before}actune:{function}"}
    torch.manual_seed(0)
    return getattr(transformers, cls)(getattr(transformers, config)(**options, **chosen)).eval()


def output(model: nn.Module, example: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**example).logits


def moved(model: nn.Module) -> nn.Module:
    """The model with other numbers in all parameters, as training gives them."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.01 * torch.randn_like(p))
    return model


def learns(model: nn.Module) -> dict[str, bool]:
    return {
        f"{n}.{k}": p.requires_grad for n, m in model.named_modules() if isinstance(m, Activation) for k, p in m.named_parameters()
    }


LOADED = """
import json, pathlib, sys, torch, actune, transformers
equal = {}
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    cls, example, expected = torch.load(folder / "expected.pt")
    with torch.no_grad():
        found = getattr(transformers, cls).from_pretrained(folder).eval()(**example).logits
    equal[folder.name] = torch.equal(found, expected)
print(json.dumps(equal))
"""


def test_models_are_loaded_exactly_in_a_new_process(tmp_path):
    """By a name in the configuration, and after a swap."""
    for name in MODELS:
        example, named, swapped = MODELS[name][-1](), made(name, "zorro_tanh"), made(name)
        assert {m.family.name for m in named.modules() if isinstance(m, Activation)} == {"zorro_tanh"}
        swap(swapped, "apalu", scope="channel", example=example)
        for how, model in (("named", named), ("swapped", swapped)):
            moved(model).save_pretrained(tmp_path / f"{name} {how}")
            torch.save((MODELS[name][0], example, output(model, example)), tmp_path / f"{name} {how}" / "expected.pt")
    command = [sys.executable, "-W", "ignore", "-c", LOADED, str(tmp_path)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found == {f"{name} {how}": True for name in MODELS for how in ("named", "swapped")}


def test_what_learns_is_loaded_too(tmp_path):
    model = made("bert")
    swap(model, Activation("ml_mish", trainable={"beta2": True}), example=tokens())
    moved(model).save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert learns(loaded) == learns(model)
    assert set(learns(model).values()) == {True, False}
    assert torch.equal(output(loaded.eval(), tokens()), output(model, tokens()))
    by_name = made("bert", "ml_mish")
    by_name.save_pretrained(tmp_path)
    assert learns(type(by_name).from_pretrained(tmp_path)) == learns(by_name)


def test_a_swap_goes_on_after_loading_and_leaves_no_trace_when_undone(tmp_path):
    model, example = made("whisper"), speech()
    first = swap(model, "apalu", example=example, where="model.encoder.*")
    second = swap(model, "swish", example=example, where="*decoder*")
    moved(model).save_pretrained(tmp_path / "both")
    loaded = type(model).from_pretrained(tmp_path / "both").eval()
    assert torch.equal(output(loaded, example), output(model, example))
    third = swap(loaded, "mish", example=example)
    loaded.save_pretrained(tmp_path / "third")
    again = type(model).from_pretrained(tmp_path / "third").eval()
    assert torch.equal(output(again, example), output(loaded, example))
    restore(loaded, third)
    assert torch.equal(output(loaded, example), output(model, example))
    restore(model, second)
    restore(model, first)
    assert "actune_swap" not in vars(model.config)
    model.save_pretrained(tmp_path / "none")
    assert "actune" not in (tmp_path / "none" / "config.json").read_text()


def test_a_model_inside_another_keeps_its_swap(tmp_path):
    class Tagger(nn.Module):
        def __init__(self, body: nn.Module):
            super().__init__()
            self.body, self.act, self.head = body, nn.ReLU(), nn.Linear(2, 3)

        def forward(self, input_ids: Tensor) -> Tensor:
            return self.head(self.act(self.body(input_ids).logits))

    tagger = Tagger(made("bert")).eval()
    swap(tagger, "apalu", example=tokens())
    moved(tagger).body.save_pretrained(tmp_path)
    loaded = type(tagger.body).from_pretrained(tmp_path).eval()
    assert torch.equal(output(loaded, tokens()), output(tagger.body, tokens()))


def test_a_model_of_another_class_is_refused(tmp_path):
    model = made("bert")
    swap(model, "apalu", example=tokens())
    model.save_pretrained(tmp_path)
    assert type(transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)).__name__ == type(model).__name__
    with pytest.raises(
        ValueError, match=r"^the model was swapped as BertForSequenceClassification and cannot be loaded as BertModel; load it"
    ):
        transformers.BertModel.from_pretrained(tmp_path)


def test_a_module_without_a_formula_is_refused_when_it_is_loaded(tmp_path):
    model = made("bert")
    swap(model, nn.PReLU, example=tokens())
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"swapped to a module that is no formula \(bert\.encoder\.layer\.0.*: PReLU\)"):
        type(model).from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=9), "is not in format 1"),
        (lambda d: d["places"][0].update(names=["bert.nothing.act"]), "does not fit BertForSequenceClassification"),
        (lambda d: d["places"][0].update(scope="galaxy"), "scope must be one of"),
        (lambda d: d["places"][0]["function"].update(tree=["import os"]), "is damaged"),
        (lambda d: d.pop("places"), "does not fit"),
        (lambda d: d.pop("model"), "is damaged"),
        (lambda d: d["methods"].update({"bert": [["forward", "0", []]]}), "has another source"),
        (lambda d: d["methods"].update({"bert": [["forward", "0", [[1, 2, "function", "act"]]]]}), "no module was put there"),
        (lambda d: d["methods"].update({"bert": [["no_method", "0", []]]}), "has no method 'no_method'"),
    ],
)
def test_a_damaged_description_is_refused_in_a_line(tmp_path, change, message):
    model = made("bert")
    swap(model, "apalu", example=tokens())
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    change(config["actune_swap"])
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message) as error:
        type(model).from_pretrained(tmp_path)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_before_gets_initial_values(tmp_path):
    plain = made("bert")
    plain.save_pretrained(tmp_path)
    model = type(plain).from_pretrained(tmp_path, hidden_act="actune:apalu").eval()
    expected = made("bert", "apalu")
    expected.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(output(model, tokens()), output(expected, tokens()))


def test_a_name_that_is_no_function_is_an_error_in_a_line():
    with pytest.raises(ValueError, match="unknown activation function 'zorro_tan'; did you mean 'zorro_tanh'"):
        made("bert", "zorro_tan")


def test_transformers_own_names_stay():
    functions = transformers.activations.ACT2FN
    assert "gelu" in functions
    assert "actune:swish" in functions
    assert "swsh" not in functions
    assert type(functions["gelu_new"]).__name__ == "NewGELUActivation"
    with pytest.raises(KeyError):
        functions["swsh"]


def test_actune_may_be_imported_before_transformers():
    code = "import actune, sys; assert 'transformers' not in sys.modules; import transformers; from transformers import BertModel; "
    code += "from transformers.activations import ACT2FN; print('actune:swish' in ACT2FN)"
    assert (
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "True"
    )


def test_a_trainer_trains_and_reloads(tmp_path):
    pytest.importorskip("accelerate")
    model = made("bert")
    swap(model, "apalu", example=tokens())
    before = copy.deepcopy(model.state_dict())
    data = [{"input_ids": row, "labels": torch.tensor(i % 2)} for i, row in enumerate(torch.randint(0, 90, (16, 8)))]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=3, learning_rate=0.01, report_to=[], save_steps=3, use_cpu=True, disable_tqdm=True
    )
    transformers.Trainer(model=model, args=arguments, train_dataset=data).train()
    after = model.state_dict()
    acts = [name for name in after if name.endswith((".a", ".b"))]
    assert acts
    assert all(not torch.equal(after[name], before[name]) for name in acts)
    loaded = type(model).from_pretrained(tmp_path / "checkpoint-3").eval()
    assert torch.equal(output(loaded, tokens()), output(model.eval(), tokens()))


def test_lora_saves_activations_among_its_modules(tmp_path):
    peft = pytest.importorskip("peft")
    base = made("llama")
    report = swap(base, "apalu", example=tokens())
    names = sorted({r.names[0].rpartition(".")[2] for r in report.replaced})
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], modules_to_save=names, init_lora_weights=False)
    model = peft.get_peft_model(base, config)
    for name, p in model.named_parameters():
        if "modules_to_save" in name:
            assert p.requires_grad
            p.data.add_(0.1)
    expected = output(model.eval(), tokens())
    model.save_pretrained(tmp_path)
    fresh = made("llama")
    swap(fresh, "apalu", example=tokens())
    loaded = peft.PeftModel.from_pretrained(fresh, tmp_path).eval()
    assert torch.equal(output(loaded, tokens()), expected)


def test_register_may_be_called_again():
    from actune.integrations.huggingface import register

    register()
    register()
    assert isinstance(transformers.activations.ACT2FN["actune:swish"], actune.Activation)
