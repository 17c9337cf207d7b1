"""Train a network whose activation functions learn, write it as a file in ONNX, and run that without actune.

    python examples/onnx_export.py                  # about a quarter of a minute; leaves digits.onnx in this folder
    python examples/onnx_export.py --output /tmp/digits.onnx

In the file learned values are constants, and all operators are standard ones: what ONNX does not have, as the Mittag-Leffler
function, becomes polynomials with a stated error. Needs what writes and runs such files: pip install 'actune[export]'.
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import actune

pixels, classes = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
pixels = pixels.float() / 16
TRAIN, TEST = slice(1000), slice(1000, None)


def trained_network(steps: int) -> nn.Module:
    """A perceptron with a function of its own in each hidden layer."""
    torch.manual_seed(0)
    acts = [actune.Activation("apalu"), actune.Activation("x*sigmoid(b*x) + c*sin(x)", b=1.0, c=0.1)]
    model = nn.Sequential(nn.Linear(64, 32), acts[0], nn.Linear(32, 32), acts[1], nn.Linear(32, 10))
    optimizer = torch.optim.AdamW(model.parameters(), 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(pixels[TRAIN]), classes[TRAIN]).backward()
        optimizer.step()
    for act in acts:
        print(act.family.name, "has learned", ", ".join(f"{name} = {value.item():.3f}" for name, value in act.values().items()))
    return model.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a network as a file in ONNX and run it without actune.")
    parser.add_argument("--output", type=Path, default=Path("digits.onnx"))
    parser.add_argument("--steps", type=int, default=100)
    asked = parser.parse_args()

    model = trained_network(asked.steps)
    written = actune.export(model, asked.output, example=pixels[:2])  # the first dimension may have any size
    print(f"wrote {written.path}: {written}, {asked.output.stat().st_size:,} bytes")

    session = onnxruntime.InferenceSession(asked.output)
    (logits,) = session.run(None, {session.get_inputs()[0].name: pixels[TEST].numpy()})
    with torch.no_grad():
        wanted = model(pixels[TEST]).numpy()
    for name, scores in (("torch", wanted), ("onnxruntime", logits)):
        print(f"accuracy in {name}: {(scores.argmax(1) == classes[TEST].numpy()).mean():.1%}")
    print(f"largest difference between the two: {np.abs(logits - wanted).max():.1e}")
