"""What timm and transformers name their activations."""

from __future__ import annotations

__all__ = ["LOOKALIKES"]

# Classes of timm and transformers that are not subclasses of torch's; they count if they hold no parameter and no module.
LOOKALIKES = frozenset({
    "AccurateGELUActivation", "ClippedGELUActivation", "FastGELUActivation", "GELU", "GELUActivation", "GELUTanh", "HardMish",
    "HardMishMe", "HardSigmoid", "HardSigmoidMe", "HardSwish", "HardSwishMe", "LaplaceActivation", "MemoryEfficientSwish", "Mish",
    "MishActivation", "MishMe", "NewGELUActivation", "PytorchGELUTanh", "QuickGELU", "QuickGELUActivation", "ReLUSquaredActivation",
    "Sigmoid", "SiLUActivation", "Swish", "SwishMe", "Tanh",
})  # fmt: skip
