"""Models that people have, small: name -> what builds one, and an example of its input. They are random; nothing is downloaded."""

from __future__ import annotations

import random
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["Model", "drawn_models", "known_models"]


class Model(NamedTuple):
    build: Callable[[], nn.Module]
    example: Callable[[int], dict[str, Tensor] | tuple[Tensor, ...]]  # for a batch of so many


# -- written by hand -------------------------------------------------------------------------------------------------------


class BasicConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, **options: Any):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(inputs, outputs, bias=False, **options), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        self.one = BasicConv(inputs, 4, kernel_size=1)
        self.three = nn.Sequential(BasicConv(inputs, 4, kernel_size=1), BasicConv(4, 6, kernel_size=3, padding=1))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), BasicConv(inputs, 4, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.pooled(x)], 1)


class GoogLeNetLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = BasicConv(3, 8, kernel_size=3, padding=1), Inception(8), Inception(14)
        self.head = nn.Linear(14, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(self.second(self.first(self.stem(x))), 1).flatten(1))


class DenseNetLike(nn.Module):
    """One ReLU for all."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.stem, self.head = nn.ReLU(inplace=True), nn.Conv2d(3, 8, 3, padding=1), nn.Linear(24, 5)
        self.convs = nn.ModuleList(nn.Conv2d(8 + 4 * i, 4, 3, padding=1) for i in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8 + 4 * i) for i in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.cat([x, conv(self.relu(norm(x)))], 1)
        return self.head(self.relu(x).mean((2, 3)))


class LSTMClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(90, 8), nn.LSTM(8, 8, batch_first=True)
        self.dense, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.dense(self.lstm(self.embed(x))[0][:, -1])))


def nonlinearity(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


class UNetBlock(nn.Module):
    """A block as in latent diffusion: a function that an attribute holds, a call, a function written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.conv1, self.norm2 = nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.conv2, self.embed, self.stem = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(16, 8), nn.Conv2d(3, 8, 3, padding=1)
        self.time, self.nonlinearity = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 16)), F.silu

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x, e = self.stem(x), self.time(t)
        h = self.conv1(self.nonlinearity(self.norm1(x))) + self.embed(F.silu(e))[:, :, None, None]
        return x + self.conv2(nonlinearity(self.norm2(h)))


class LlamaOfMeta(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.w1, self.w3, self.w2 = nn.Embedding(90, 8), nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return x + self.w2(F.silu(self.w1(x)) * self.w3(x))


class SquaredReLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x)).square())


class GRUByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.outer, self.inner, self.head = nn.Linear(8, 24), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 8)
        for t in range(x.shape[1]):
            a, b = self.outer(x[:, t]).chunk(3, -1), self.inner(h).chunk(3, -1)
            r, z = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
            h = (1 - z) * torch.tanh(a[2] + r * b[2]) + z * h
        return self.head(torch.relu(h))


class MethodCalls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.dense = nn.ModuleList(nn.Linear(8, 8) for _ in range(3)), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        f = torch.relu
        for layer in self.layers:
            x = f(layer(x))
        x = self.layers[0](self.dense(x).relu_()).tanh()
        x = F.leaky_relu(input=self.dense(F.gelu(self.dense(x), approximate="tanh")), negative_slope=0.2)
        return F.mish(x) + F.hardswish(x)


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 8)

    def block(self, x: Tensor) -> Tensor:
        return F.gelu(self.up(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(checkpoint(self.block, x, use_reentrant=False))


# -- transformers and timm -------------------------------------------------------------------------------------------------


def _ids(n: int) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(0, 90, (n, 8))}


def _pairs(n: int) -> dict[str, Tensor]:
    return _ids(n) | {"decoder_input_ids": torch.randint(0, 90, (n, 8))}


def _images(side: int) -> Callable[[int], tuple[Tensor, ...]]:
    return lambda n: (torch.randn(n, 3, side, side),)


def _pixels(n: int) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(n, 3, 32, 32)}


def _of_transformers(name: str, kind: str, example: Callable[[int], dict[str, Tensor]], **options: Any) -> Model:
    def build() -> nn.Module:
        import transformers

        transformers.logging.set_verbosity_error()
        return getattr(transformers, f"{name}{kind}")(getattr(transformers, f"{name}Config")(**options))

    return Model(build, example)


def _of_timm(name: str, side: int = 32, **options: Any) -> Model:
    return Model(lambda: _timm().create_model(name, num_classes=5, **options), _images(side))


def _timm() -> Any:
    """timm, which asks for torchvision at every corner and needs none of it to build a model."""
    if "torchvision" not in sys.modules:
        for name in ("", "transforms", "transforms.functional", "transforms.v2", "ops", "ops.misc", "datasets", "models",
                     "models.feature_extraction", "io"):  # fmt: skip
            module = _Anything(f"torchvision.{name}".rstrip("."))
            module.__path__, module.__spec__ = [], ModuleSpec(module.__name__, None, is_package=True)
            sys.modules[module.__name__] = module
            above, _, last = module.__name__.rpartition(".")
            if above:
                setattr(sys.modules[above], last, module)
    import timm

    return timm


class _Name(type):
    def __getattr__(cls, key: str) -> str:
        if key.startswith("__"):
            raise AttributeError(key)
        return key


class _Anything(types.ModuleType):
    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        return _Name(key, (), {})


_BODY: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_TEXT: dict[str, Any] = _BODY | {"vocab_size": 99}
_GROUPED: dict[str, Any] = _TEXT | {"num_key_value_heads": 2, "use_cache": False}
_PATCHES: dict[str, Any] = _BODY | {"image_size": 32, "patch_size": 8}
_SPEECH: dict[str, Any] = {
    "vocab_size": 99, "num_mel_bins": 8, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 16, "max_source_positions": 16,
    "max_target_positions": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "use_cache": False,
}  # fmt: skip


def known_models() -> dict[str, Model]:
    """The models on which the surgery was made."""
    encoder = nn.TransformerEncoderLayer
    return {
        "bert": _of_transformers("Bert", "ForSequenceClassification", _ids, **_TEXT),
        "gpt2": _of_transformers("GPT2", "LMHeadModel", _ids, vocab_size=99, n_embd=16, n_layer=2, n_head=2, use_cache=False),
        "llama": _of_transformers("Llama", "ForCausalLM", _ids, **_GROUPED),
        "vit": _of_transformers("ViT", "ForImageClassification", _pixels, **_PATCHES),
        "resnet": _of_transformers("ResNet", "ForImageClassification", _pixels, embedding_size=8, hidden_sizes=[8, 16],
                                   depths=[2, 2]),
        "mobilenet_v2": _of_transformers("MobileNetV2", "ForImageClassification", _pixels, image_size=32, depth_multiplier=0.25),
        "t5 gated": _of_transformers("T5", "ForConditionalGeneration", _pairs, vocab_size=99, d_model=16, d_kv=8, d_ff=32,
                                     num_layers=2, num_heads=2, feed_forward_proj="gated-gelu", use_cache=False),
        "wav2vec2": _of_transformers("Wav2Vec2", "ForCTC", lambda n: {"input_values": torch.randn(n, 400)}, conv_dim=(8, 8),
                                     conv_stride=(4, 4), conv_kernel=(8, 4), num_conv_pos_embeddings=4,
                                     num_conv_pos_embedding_groups=2, mask_time_prob=0.0, **(_BODY | {"vocab_size": 32})),
        "whisper": _of_transformers("Whisper", "ForConditionalGeneration", lambda n: {"input_features": torch.randn(n, 8, 32),
                                    "decoder_input_ids": torch.randint(0, 90, (n, 8))}, **_SPEECH),
        "swin": _of_transformers("Swin", "ForImageClassification", _pixels, image_size=32, patch_size=4, embed_dim=8,
                                 depths=[1, 1], num_heads=[2, 2], window_size=4),
        "convnext": _of_transformers("ConvNext", "ForImageClassification", _pixels, hidden_sizes=[8, 16], depths=[1, 1],
                                     num_stages=2, patch_size=2),
        "mixtral": _of_transformers("Mixtral", "ForCausalLM", _ids, num_local_experts=4, **_GROUPED),
        "qwen2_moe": _of_transformers("Qwen2Moe", "ForCausalLM", _ids, num_experts=4, num_experts_per_tok=2,
                                      moe_intermediate_size=16, shared_expert_intermediate_size=16, **_GROUPED),
        "deberta_v2": _of_transformers("DebertaV2", "ForSequenceClassification", _ids, **_TEXT),
        "distilbert": _of_transformers("DistilBert", "ForSequenceClassification", _ids, vocab_size=99, dim=16, hidden_dim=32,
                                       n_layers=2, n_heads=2),
        "clip": _of_transformers("CLIPVision", "Model", _pixels, **_PATCHES),
        "mamba": _of_transformers("Mamba", "ForCausalLM", _ids, vocab_size=99, hidden_size=16, num_hidden_layers=2, state_size=4,
                                  use_cache=False),
        "opt": _of_transformers("OPT", "ForCausalLM", _ids, vocab_size=99, ffn_dim=32, word_embed_proj_dim=16, use_cache=False,
                                hidden_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=32),
        "torch encoder": Model(lambda: nn.TransformerEncoder(encoder(16, 2, 32, batch_first=True), 2),
                               lambda n: (torch.randn(n, 5, 16),)),
        "torch encoder, module": Model(lambda: nn.TransformerEncoder(encoder(16, 2, 32, batch_first=True, activation=nn.GELU()), 2),
                                       lambda n: (torch.randn(n, 5, 16),)),
        "googlenet-like": Model(GoogLeNetLike, _images(32)),
        "densenet-like": Model(DenseNetLike, _images(32)),
        "lstm": Model(LSTMClassifier, lambda n: (torch.randint(0, 90, (n, 8)),)),
        "unet block": Model(UNetBlock, lambda n: (torch.randn(n, 3, 8, 8), torch.randn(n, 8))),
        "llama of meta": Model(LlamaOfMeta, lambda n: (torch.randint(0, 90, (n, 8)),)),
        "squared relu": Model(SquaredReLU, lambda n: (torch.randn(n, 8),)),
        "gru by hand": Model(GRUByHand, lambda n: (torch.randn(n, 5, 8),)),
        "method calls": Model(MethodCalls, lambda n: (torch.randn(n, 8),)),
        "checkpointed": Model(Checkpointed, lambda n: (torch.randn(n, 8),)),
        "timm resnet18": _of_timm("resnet18"),
        "timm efficientnet_b0": _of_timm("efficientnet_b0"),
        "timm densenet121": _of_timm("densenet121"),
        "timm mobilenetv3_small_050": _of_timm("mobilenetv3_small_050"),
        "timm vit_tiny": _of_timm("vit_tiny_patch16_224", img_size=32, patch_size=8),
        "timm inception_v3": _of_timm("inception_v3", 96),
    }  # fmt: skip


# What a configuration may call its sizes, and a small value.
_SMALL: dict[str, Any] = {
    "vocab_size": 99, "hidden_size": 32, "n_embd": 32, "d_model": 32, "dim": 32, "num_hidden_layers": 2, "n_layer": 2,
    "n_layers": 2, "num_layers": 2, "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "intermediate_size": 64, "ffn_dim": 64, "hidden_dim": 64, "d_ff": 64, "d_inner": 64,
    "max_position_embeddings": 64, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "embedding_size": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "use_cache": False, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "word_embed_proj_dim": 32,
}  # fmt: skip


def drawn_models(seed: int = 0, each: int = 8) -> dict[str, Model]:
    """Models that nobody chose: causal language models of transformers in alphabetical order, shuffled, and small ones of timm.

    Of those that are drawn, the first so many count that can be built in their small form and run.
    """
    return _drawn_of_transformers(seed, each) | _drawn_of_timm(seed, each)


def _drawn_of_transformers(seed: int, count: int) -> dict[str, Model]:
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as names

    def build(kind: str) -> Callable[[], nn.Module]:
        def made() -> nn.Module:
            default = CONFIG_MAPPING[kind]()
            return AutoModelForCausalLM.from_config(
                CONFIG_MAPPING[kind](**{k: v for k, v in _SMALL.items() if hasattr(default, k)})
            )

        return made

    kinds = [k for k in sorted(names) if k not in {"bert", "gpt2", "llama", "mixtral", "qwen2_moe", "mamba", "opt", "whisper"}]
    random.Random(seed).shuffle(kinds)
    return _first_that_run({f"{kind} (drawn)": Model(build(kind), _ids) for kind in kinds}, count)


def _drawn_of_timm(seed: int, count: int) -> dict[str, Model]:
    words = ("tiny", "small", "nano", "pico", "femto", "atto", "_0", "b0", "18", "s0", "xs")
    names = [n for n in sorted(_timm().list_models()) if any(w in n for w in words)]
    random.Random(seed).shuffle(names)
    known = {"resnet18", "efficientnet_b0", "mobilenetv3_small_050", "vit_tiny_patch16_224"}
    models = {
        f"timm {name} (drawn)": _of_timm(name, _timm().get_pretrained_cfg_value(name, "input_size")[-1])
        for name in names[: 4 * count]
        if name not in known
    }
    return _first_that_run(models, count)


def _first_that_run(models: dict[str, Model], count: int) -> dict[str, Model]:
    found: dict[str, Model] = {}
    for name, model in models.items():
        if len(found) == count:
            break
        try:
            made = model.build().eval()
            if sum(p.numel() for p in made.parameters()) > 40e6:
                continue
            example = model.example(2)
            with torch.no_grad():
                made(**example) if isinstance(example, dict) else made(*example)
        except Exception as error:
            print(f"{name}: not drawn, {type(error).__name__}: {str(error).partition(chr(10))[0][:80]}", file=sys.stderr)
        else:
            found[name] = model
    return found
