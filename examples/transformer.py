"""Give a transformer of Hugging Face another activation function, train it, save it and load it again.

    python examples/transformer.py                  # 60 steps, about a quarter of a minute
    python examples/transformer.py --steps 300

The model is a small Llama, built from a configuration, so nothing is downloaded; it learns to write this file. A new model can
also name its function in the configuration, LlamaConfig(hidden_act="actune:swish"). Needs pip install 'actune[huggingface]'.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

import actune

LENGTH = 32
text = torch.tensor(list(Path(__file__).read_bytes()))


def batch(size: int = 16) -> torch.Tensor:
    """Pieces of this file, one symbol a byte: shape (size, LENGTH)."""
    starts = torch.randint(len(text) - LENGTH, (size,))
    return text[starts[:, None] + torch.arange(LENGTH)]


def train(model: torch.nn.Module, steps: int) -> None:
    # Parameters of activation functions learn faster, and without weight decay, which would pull them to 0.
    optimizer = torch.optim.AdamW(actune.parameter_groups(model, weight_decay=0.01, learning_rate=0.03), lr=3e-3)
    for step in range(steps):
        symbols = batch()
        loss = model(symbols, labels=symbols).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step:3d}  loss {loss.item():.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Give a transformer another activation function.")
    parser.add_argument("--steps", type=int, default=60)
    logging.disable_progress_bar()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=256, hidden_size=32, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2)
    )
    print(actune.swap(model, "swish", example=batch()), end="\n\n")
    train(model, parser.parse_args().steps)
    for place, module in model.named_modules():
        if isinstance(module, actune.Activation):
            print(f"{place} has learned {', '.join(f'{name} = {value.item():.3f}' for name, value in module.values().items())}")

    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)  # the configuration says what was swapped
        loaded = LlamaForCausalLM.from_pretrained(folder)
    symbols = batch()
    with torch.no_grad():
        difference = (model.eval()(symbols).logits - loaded(symbols).logits).abs().max().item()
    print(f"saved and loaded, its logits differ by {difference:g}")
