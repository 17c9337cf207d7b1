"""The textbook: every deterministic elementwise function of `torch.nn`, and those that are often asked for.

Each formula keeps its digits in the tails (`erfc(-x)`, not `1 + erf(x)`) and its derivatives meet no infinity times zero. At a kink
strict or loose inequality selects the slope that torch takes; nan falls to a branch that has the input in it. An input is clipped
only where the function has reached its limit to more digits than any dtype has, so that the clipping never shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.distributions.constraints import greater_than

from ...language import functions as op
from ...language.expr import Expr
from ..registry import OnnxOperator, Param, declare, positive


def _horner(x: Expr, coefficients: Sequence[Any]) -> Expr:
    """The polynomial, lowest power first."""
    total: Expr = coefficients[-1]
    for c in coefficients[-2::-1]:
        total = c + x * total
    return total


# -- piecewise linear ----------------------------------------------------------------------------------------------------


@declare(paper="folklore", reference=torch.clone, odd=True, monotone=True, aliases=("linear",))
def identity(x: Expr) -> Expr:
    """The input itself: no activation function."""
    return x


@declare(paper="Nair and Hinton, ICML 2010", reference=F.relu, monotone=True, bounds=(0.0, None), kinks=(0.0,),
         onnx=(OnnxOperator("Relu"),))  # fmt: skip
def relu(x: Expr) -> Expr:
    """The positive part of the input."""
    return op.relu(x)


@declare(paper="Krizhevsky 2010", reference=F.relu6, monotone=True, bounds=(0.0, 6.0), kinks=(0.0, 6.0))
def relu6(x: Expr) -> Expr:
    """ReLU, cut off at 6."""
    return op.where(x <= 0, 0, op.where(x >= 6, 6, x))


@declare(paper="Maas, Hannun and Ng, ICML 2013", reference=F.leaky_relu, monotone=True, kinks=(0.0,), aliases=("lrelu",),
         negative_slope=Param(0.01, trainable=False), notes="prelu is the one that learns its slope.",
         onnx=(OnnxOperator("LeakyRelu", learned={"alpha": "negative_slope"}),
               OnnxOperator("PRelu", input="negative_slope")))  # fmt: skip
def leaky_relu(x: Expr, negative_slope: Expr) -> Expr:
    """ReLU with a small slope on the left."""
    return op.where(x > 0, x, negative_slope * x)


@declare(paper="arXiv:1502.01852", reference=lambda x: F.prelu(x, x.new_tensor([0.25])), monotone=True, kinks=(0.0,), a=Param(0.25),
         onnx=(OnnxOperator("LeakyRelu", learned={"alpha": "a"}), OnnxOperator("PRelu", input="a")))  # fmt: skip
def prelu(x: Expr, a: Expr) -> Expr:
    """ReLU with a trained slope on the left."""
    return op.where(x > 0, x, a * x)


@declare(paper="Collobert 2004", reference=F.hardtanh, odd=True, monotone=True, bounds=(-1.0, 1.0), kinks=(-1.0, 1.0),
         aliases=("hard_tanh",))  # fmt: skip
def hardtanh(x: Expr) -> Expr:
    """The input, cut off at -1 and 1."""
    return op.where(x <= -1, -1, op.where(x >= 1, 1, x))


@declare(paper="arXiv:1905.02244", reference=F.hardsigmoid, monotone=True, bounds=(0.0, 1.0), kinks=(-3.0, 3.0),
         aliases=("hard_sigmoid",), notes="torch's, x/6 + 1/2; for x/5 + 1/2 see keras_hard_sigmoid.",
         onnx=(OnnxOperator("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),))  # fmt: skip
def hardsigmoid(x: Expr) -> Expr:
    """A straight line in place of the sigmoid, from 0 at -3 to 1 at 3."""
    return op.where(x <= -3, 0, op.where(x >= 3, 1, x / 6 + 0.5))


@declare(paper="Theano; Keras before version 3", monotone=True, bounds=(0.0, 1.0), kinks=(-2.5, 2.5),
         notes="That of Theano, of Keras before version 3 and of PANGAEA. The slope at both kinks is 0.",
         onnx=(OnnxOperator("HardSigmoid", {"alpha": 0.2, "beta": 0.5}),))  # fmt: skip
def keras_hard_sigmoid(x: Expr) -> Expr:
    """A straight line in place of the sigmoid, from 0 at -2.5 to 1 at 2.5."""
    return op.where(x <= -2.5, 0, op.where(x >= 2.5, 1, 0.2 * x + 0.5))


@declare(paper="Donoho 1995", reference=F.softshrink, odd=True, monotone=True, kinks=(-0.5, 0.5), aliases=("soft_shrink",),
         onnx=(OnnxOperator("Shrink", {"lambd": 0.5, "bias": 0.5}),))  # fmt: skip
def softshrink(x: Expr) -> Expr:
    """The input moved by 1/2 towards 0: soft thresholding."""
    return op.where(op.abs(x) <= 0.5, 0, x - op.clip(x, -0.5, 0.5))


@declare(paper="Donoho and Johnstone 1994", reference=F.hardshrink, odd=True, monotone=True, kinks=(-0.5, 0.5), continuous=False,
         aliases=("hard_shrink",),
         onnx=(OnnxOperator("Shrink", {"lambd": 0.5, "bias": 0.0}),))  # fmt: skip
def hardshrink(x: Expr) -> Expr:
    """The input where it is beyond 1/2 of 0, else 0: hard thresholding."""
    return op.where(op.abs(x) <= 0.5, 0, x)


@declare(paper="arXiv:1402.3337", reference=partial(F.threshold, threshold=1.0, value=0.0), monotone=True, bounds=(0.0, None),
         kinks=(1.0,), continuous=False, aliases=("thresholded_relu",),
         notes="torch leaves the threshold open; 1 is the paper's.",
         onnx=(OnnxOperator("ThresholdedRelu", {"alpha": 1.0}),))  # fmt: skip
def threshold(x: Expr) -> Expr:
    """The input where it is above 1, else 0."""
    return op.where(x <= 1, 0, x)


# -- exponential on the left ---------------------------------------------------------------------------------------------


@declare(paper="arXiv:1511.07289", reference=F.elu, monotone=True, bounds=(-1.0, None), joints=(0.0,),
         alpha=Param(1.0, trainable=False), notes="The slope has a jump at 0 for any other alpha; celu has none.",
         onnx=(OnnxOperator("Elu", learned={"alpha": "alpha"}),))  # fmt: skip
def elu(x: Expr, alpha: Expr) -> Expr:
    """The input on the right, an exponential that ends at -alpha on the left."""
    return op.where(x > 0, x, alpha * op.expm1(x))


@declare(paper="arXiv:1706.02515", reference=F.selu, monotone=True, bounds=(-1.7580994, None), kinks=(0.0,),
         onnx=(OnnxOperator("Selu", {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}),))  # fmt: skip
def selu(x: Expr) -> Expr:
    """ELU, scaled so that mean 0 and variance 1 stay: self-normalizing."""
    return 1.0507009873554805 * op.where(x > 0, x, 1.6732632423543772 * op.expm1(x))


@declare(paper="arXiv:1704.07483", reference=F.celu, monotone=True, bounds=(-1.0, None), joints=(0.0,),
         alpha=Param(1.0, positive, trainable=False),
         onnx=(OnnxOperator("Celu", learned={"alpha": "alpha"}),))  # fmt: skip
def celu(x: Expr, alpha: Expr) -> Expr:
    """ELU with a slope that has no jump for any alpha."""
    return op.where(x > 0, x, alpha * op.expm1(x / alpha))


@declare(paper="arXiv:1808.00783", bounds=(-0.171573, None), joints=(0.0,))
def elish(x: Expr) -> Expr:
    """ELU times a sigmoid."""
    return op.where(x > 0, x, op.expm1(x)) * op.sigmoid(x)


@declare(paper="arXiv:2411.13010", bounds=(-0.205752, None), joints=(0.0,),
         alpha_p=Param(0.8, positive), alpha_n=Param(0.8, greater_than(0.5)),
         notes="beta = 0.5 is fixed, as in the paper; its softplus parametrization is replaced by the constraints.")  # fmt: skip
def xielu(x: Expr, alpha_p: Expr, alpha_n: Expr) -> Expr:
    """A parabola on the right, the integral of ELU on the left."""
    return op.where(x > 0, alpha_p * op.square(x), alpha_n * (op.expm1(x) - x)) + 0.5 * x


# -- gated by a sigmoid or the normal distribution -----------------------------------------------------------------------


@declare(paper="arXiv:1606.08415", reference=F.gelu, bounds=(-0.169972, None),
         onnx=(OnnxOperator("Gelu", {"approximate": "none"}),))  # fmt: skip
def gelu(x: Expr) -> Expr:
    """The input times the normal distribution function."""
    return 0.5 * x * op.erfc(-x / op.sqrt(2))


@declare(paper="arXiv:1606.08415", reference=partial(F.gelu, approximate="tanh"), bounds=(-0.170041, None), aliases=("gelu_new",),
         onnx=(OnnxOperator("Gelu", {"approximate": "tanh"}),))  # fmt: skip
def gelu_tanh(x: Expr) -> Expr:
    """GELU by the paper's approximation, written with a sigmoid in place of 1 + tanh."""
    t = op.clip(x, -64, 64)
    return x * op.sigmoid(op.sqrt(8 / op.pi()) * (t * (1 + 0.044715 * op.square(t))))


@declare(paper="arXiv:1606.08415", bounds=(-0.163611, None))
def quick_gelu(x: Expr) -> Expr:
    """GELU by its sigmoid approximation."""
    return x * op.sigmoid(1.702 * x)


@declare(paper="arXiv:1702.03118", reference=F.silu, bounds=(-0.278465, None), aliases=("swish1",))
def silu(x: Expr) -> Expr:
    """The input, gated by a sigmoid of itself."""
    return x * op.sigmoid(x)


@declare(paper="arXiv:1710.05941", beta=Param(1.0), bounds=(-0.278465, None))
def swish(x: Expr, beta: Expr) -> Expr:
    """The input, gated by a sigmoid of itself with a trainable steepness."""
    return x * op.sigmoid(beta * x)


@declare(paper="arXiv:1801.07145", beta=Param(1.375, trainable=False), bounds=(-0.382889, None),
         notes="The paper takes beta from 1 to 2; 1.375 is one of its choices.")  # fmt: skip
def e_swish(x: Expr, beta: Expr) -> Expr:
    """SiLU times a constant."""
    return beta * (x * op.sigmoid(x))


@declare(paper="arXiv:1702.03118", bounds=(-0.0998394, 1.0998394))
def dsilu(x: Expr) -> Expr:
    """The derivative of SiLU, a sigmoid that overshoots."""
    return op.sigmoid(x) * (1 + x * op.sigmoid(-x))


@declare(paper="arXiv:1606.08415", bounds=(-0.1289045, 1.1289045))
def dgelu(x: Expr) -> Expr:
    """The derivative of GELU, a sigmoid that overshoots."""
    t = op.clip(x, -64, 64)
    return 0.5 * op.erfc(-x / op.sqrt(2)) + t * op.exp(-op.square(t) / 2) / op.sqrt(2 * op.pi())


@declare(paper="Paul et al., Mathematics 10(3):337, 2022", a=Param(1.0), b=Param(1.0), bounds=(-0.497371, None))
def sinlu(x: Expr, a: Expr, b: Expr) -> Expr:
    """SiLU of the input plus a sine."""
    return (x + a * op.sin(b * x)) * op.sigmoid(x)


@declare(paper="arXiv:1905.02244", reference=F.hardswish, bounds=(-0.375, None), kinks=(-3.0, 3.0), aliases=("hard_swish",),
         onnx=(OnnxOperator("HardSwish"),))  # fmt: skip
def hardswish(x: Expr) -> Expr:
    """SiLU with a straight line in place of the sigmoid."""
    return op.where(x <= -3, 0, op.where(x >= 3, x, x * (x + 3) / 6))


# -- gated by tanh, erf or a logarithm -----------------------------------------------------------------------------------


@declare(paper="arXiv:1908.08681", reference=F.mish, bounds=(-0.308844, None),
         onnx=(OnnxOperator("Mish"),))  # fmt: skip
def mish(x: Expr) -> Expr:
    """The input times tanh of its softplus."""
    return x * op.tanh(op.softplus(x))


@declare(paper="Misra, H-Mish, 2020", bounds=(-0.5, None), kinks=(-2.0,), joints=(0.0,),
         notes="The slope at -2 is the left one, 0, as in hardswish.")  # fmt: skip
def hard_mish(x: Expr) -> Expr:
    """Mish with a parabola in the middle."""
    return op.where(x <= -2, 0, op.where(x >= 0, x, x * (x + 2) / 2))


@declare(paper="arXiv:2003.09855", bounds=(-0.353286, None), aliases=("telu",), notes="arXiv:2412.20269 publishes it as TeLU.")
def tanhexp(x: Expr) -> Expr:
    """The input times tanh of its exponential."""
    return x * op.tanh(op.exp(op.min(x, 10)))


@declare(paper="arXiv:2108.09598", bounds=(-0.348438, None))
def serf(x: Expr) -> Expr:
    """The input times erf of its softplus."""
    return x * op.erf(op.softplus(x))


@declare(paper="arXiv:2109.04386", alpha=Param(0.75), beta=Param(0.75), bounds=(-0.405281, None),
         notes="Initial values as reported for the paper.")  # fmt: skip
def erfact(x: Expr, alpha: Expr, beta: Expr) -> Expr:
    """The input times erf of a trained exponential."""
    return x * op.erf(alpha * op.exp(op.min(beta * x, 40)))


@declare(paper="arXiv:2109.04386", gamma=Param(1.25), delta=Param(0.85), bounds=(-0.506007, None),
         notes="Initial values as reported for the paper.")  # fmt: skip
def pserf(x: Expr, gamma: Expr, delta: Expr) -> Expr:
    """Serf with a trained softplus."""
    return x * op.erf(gamma * op.softplus(op.min(delta * x, 1e18)))


@declare(paper="arXiv:1901.05894", even=True, bounds=(0.0, None))
def lisht(x: Expr) -> Expr:
    """The input times its tanh: a smooth absolute value."""
    return x * op.tanh(x)


@declare(paper="Zhu et al., Neurocomputing 458, 2021", bounds=(-0.252769, None))
def logish(x: Expr) -> Expr:
    """The input times the logarithm of 1 plus its sigmoid."""
    return x * op.log1p(op.sigmoid(x))


@declare(paper="Wang, Ren and Wang, Electronics 11(4):540, 2022", bounds=(-0.249994, None))
def smish(x: Expr) -> Expr:
    """The input times tanh of the logarithm of 1 plus its sigmoid."""
    return x * op.tanh(op.log1p(op.sigmoid(x)))


@declare(paper="Naveen, TechRxiv 2022", bounds=(0.0, None))
def phish(x: Expr) -> Expr:
    """The input times tanh of its GELU."""
    return x * op.tanh(gelu(x))


# -- one primitive -------------------------------------------------------------------------------------------------------


@declare(paper="Rumelhart, Hinton and Williams 1986", reference=torch.sigmoid, monotone=True, bounds=(0.0, 1.0))
def sigmoid(x: Expr) -> Expr:
    """The logistic function."""
    return op.sigmoid(x)


@declare(paper="folklore", reference=F.logsigmoid, monotone=True, bounds=(None, 0.0))
def log_sigmoid(x: Expr) -> Expr:
    """The logarithm of the sigmoid."""
    return op.log_sigmoid(x)


@declare(paper="Dugas et al., NIPS 2000", reference=F.softplus, monotone=True, bounds=(0.0, None),
         onnx=(OnnxOperator("Softplus"),))  # fmt: skip
def softplus(x: Expr) -> Expr:
    """The logarithm of 1 plus the exponential: a smooth ReLU."""
    return op.softplus(x)


@declare(paper="folklore", reference=torch.tanh, odd=True, monotone=True, bounds=(-1.0, 1.0))
def tanh(x: Expr) -> Expr:
    """The hyperbolic tangent."""
    return op.tanh(x)


@declare(paper="Elliott 1993; Turian, Bergstra and Bengio 2009", reference=F.softsign, odd=True, monotone=True, bounds=(-1.0, 1.0),
         joints=(0.0,), aliases=("elliott",),
         onnx=(OnnxOperator("Softsign"),))  # fmt: skip
def softsign(x: Expr) -> Expr:
    """The input over 1 plus its absolute value."""
    return op.softsign(x)


@declare(paper="folklore", reference=torch.atan, odd=True, monotone=True, bounds=(-1.5707964, 1.5707964))
def atan(x: Expr) -> Expr:
    """The arc tangent."""
    return op.atan(x)


@declare(paper="folklore", reference=torch.asinh, odd=True, monotone=True)
def asinh(x: Expr) -> Expr:
    """The inverse hyperbolic sine: logarithmic on both sides."""
    return op.asinh(x)


@declare(paper="arXiv:2006.09661", reference=torch.sin, odd=True, bounds=(-1.0, 1.0))
def sin(x: Expr) -> Expr:
    """The sine."""
    return op.sin(x)


@declare(paper="folklore", reference=torch.erf, odd=True, monotone=True, bounds=(-1.0, 1.0))
def erf(x: Expr) -> Expr:
    """The error function."""
    return op.erf(x)


# -- sigmoids ------------------------------------------------------------------------------------------------------------


@declare(paper="LeCun, Bottou, Orr and Müller 1998", odd=True, monotone=True, bounds=(-1.7159, 1.7159), aliases=("scaled_tanh",))
def lecun_tanh(x: Expr) -> Expr:
    """tanh, scaled so that it is near 1 at 1."""
    return 1.7159 * op.tanh(2 / 3 * x)


@declare(paper="arXiv:1602.05980", monotone=True, bounds=(-0.25, 1.0), kinks=(0.0,),
         notes="The slope at 0 is the left one, as in leaky ReLU.")  # fmt: skip
def penalized_tanh(x: Expr) -> Expr:
    """tanh with a smaller slope on the left."""
    return op.where(x > 0, 1, 0.25) * op.tanh(x)


@declare(paper="arXiv:2503.10622", odd=True, monotone=True, bounds=(-1.0, 1.0), alpha=Param(0.5), aliases=("dyt",),
         notes="Without the affine map that follows it where it replaces a normalization.")  # fmt: skip
def dynamic_tanh(x: Expr, alpha: Expr) -> Expr:
    """tanh with a trained steepness."""
    return op.tanh(alpha * x)


@declare(paper="arXiv:1710.09967", odd=True, monotone=True, bounds=(-1.0, 1.0), alpha=Param(1.0, positive))
def isru(x: Expr, alpha: Expr) -> Expr:
    """The input over the root of 1 + alpha*x^2."""
    return x / op.hypot(1, op.sqrt(alpha) * x)


@declare(paper="arXiv:1710.09967", monotone=True, bounds=(-1.0, None), joints=(0.0,), alpha=Param(1.0, positive))
def isrlu(x: Expr, alpha: Expr) -> Expr:
    """The input on the right, isru on the left."""
    return op.where(x >= 0, x, isru.expr.substitute({"x": x, "alpha": alpha}))


@declare(paper="Wuraola and Patel, IJCNN 2018", odd=True, monotone=True, bounds=(-1.0, 1.0), joints=(-2.0, 0.0, 2.0))
def sqnl(x: Expr) -> Expr:
    """tanh from two parabolas."""
    t = op.clip(x, -2, 2)
    return t * (1 - op.abs(t) / 4)


@declare(paper="Gomes and Ludermir 2008", monotone=True, bounds=(0.0, 1.0))
def cloglog(x: Expr) -> Expr:
    """The complementary log-log, a sigmoid with a slow left and a fast right side."""
    return -op.expm1(-op.exp(op.min(x, 10)))


# -- smooth rectifiers ---------------------------------------------------------------------------------------------------


@declare(paper="arXiv:2112.11687", monotone=True, bounds=(0.0, None), b=Param(4.0, positive))
def squareplus(x: Expr, b: Expr) -> Expr:
    """A smooth ReLU from a root, (x + sqrt(x^2 + b))/2; on the left written without cancellation."""
    root = op.hypot(x, op.sqrt(b))
    return op.where(x > 0, x / 2 + root / 2, b / 2 / (root - x))


@declare(paper="arXiv:2109.08668", monotone=True, bounds=(0.0, None), joints=(0.0,),
         aliases=("relu2", "squared_relu", "square_relu"))  # fmt: skip
def relu_squared(x: Expr) -> Expr:
    """The square of ReLU."""
    return op.square(op.relu(x))


@declare(paper="arXiv:2210.13452", monotone=True, bounds=(-0.4472, None), joints=(0.0,), s=Param(0.8944), b=Param(-0.4472))
def star_relu(x: Expr, s: Expr, b: Expr) -> Expr:
    """The square of ReLU with a trained scale and offset; mean 0 and variance 1 for normal inputs at first."""
    return s * op.square(op.relu(x)) + b


@declare(paper="folklore", monotone=True)
def bent_identity(x: Expr) -> Expr:
    """The input plus half of sqrt(x^2 + 1) - 1, written without cancellation: slope 1/2 on the left, 3/2 on the right."""
    return x + x * (x / (op.hypot(x, 1) + 1)) / 2


# -- periodic, bumps and the rest ----------------------------------------------------------------------------------------


@declare(paper="arXiv:2006.08195", monotone=True, a=Param(1.0, positive))
def snake(x: Expr, a: Expr) -> Expr:
    """The input plus a squared sine: learns periodic functions."""
    return x + op.square(op.sin(a * x)) / a


@declare(paper="arXiv:2108.12943", odd=True, aliases=("growing_cosine",))
def gcu(x: Expr) -> Expr:
    """The input times its cosine."""
    return x * op.cos(x)


@declare(paper="folklore", even=True, bounds=(0.0, 1.0))
def gaussian(x: Expr) -> Expr:
    """The bell curve exp(-x^2)."""
    return op.exp(-op.square(op.clip(x, -64, 64)))


@declare(paper="arXiv:2301.04104", odd=True, monotone=True, joints=(0.0,))
def symlog(x: Expr) -> Expr:
    """The logarithm of 1 plus the absolute value, with the sign of the input."""
    return op.where(x >= 0, op.log1p(x), -op.log1p(-x))


@declare(paper="folklore", reference=F.tanhshrink, odd=True, monotone=True, aliases=("tanh_shrink",))
def tanhshrink(x: Expr) -> Expr:
    """The input minus its tanh; near 0, where that cancels, from Lambert's continued fraction of tanh."""
    s = op.square(x)
    above = _horner(s, (11486475, 810810, 12870, 44))
    below = _horner(s, (34459425, 16216200, 945945, 13860, 45))
    return op.where(op.abs(x) < 0.5, x * (s * (above / below)), x - op.tanh(x))


@declare(
    paper="arXiv:1907.06732", aliases=("pau", "pade"),
    a=Param((0.0, 0.5, 0.4103, 0.1132, 0.01116, 0.0001791)), b=Param((0.2264, 0.0003582), positive),
    notes="Initial values: GELU on [-5, 5], largest error 0.003; fitted by us. The published fits have odd coefficients near 0 "
          "in the denominator, so ours is 1 + b0*x^2 + b1*x^4 with b > 0: no pole, and no kink as from the paper's absolute "
          "values.")  # fmt: skip
def rational(x: Expr, a: tuple[Expr, ...], b: tuple[Expr, ...]) -> Expr:
    """A quotient of polynomials with trained coefficients (Padé); far out in powers of 1/x, so that no power overflows."""
    s, z = op.square(x), 1 / x
    near = _horner(x, a) / (1 + s * (b[0] + b[1] * s))
    far = _horner(z, a[::-1]) / (b[1] + op.square(z) * (b[0] + op.square(z)))
    return op.where(op.abs(x) <= 10, near, x * far)
