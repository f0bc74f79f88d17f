"""The costs of PyTorch's elementwise ops: arithmetic, functions, comparisons, activations.

Each row says its formula where the name does not. N is the number of elements of the result. Where
a formula has branches that the data choose, the costlier is counted. A complex number counts as one
scalar.
"""

from __future__ import annotations

from autodiff.aten.call import Call, Rule, each, each_given
from autodiff.cost import Cost


def _scaled_sum(call: Call) -> Cost:
    """Return the cost of a ± α·b: N additions, and N multiplications unless α is 1."""
    alpha = call.kwargs.get("alpha", 1)
    return Cost(multiplications=call.size if alpha != 1 else 0, additions=call.size)


def _quotient(call: Call) -> Cost:
    """Return the cost of a / b; rounding selects one of two neighbors, N comparisons."""
    return Cost(
        multiplications=call.size, comparisons=call.size if call.kwargs.get("rounding_mode") else 0
    )


def _clamp(call: Call) -> Cost:
    """One comparison for each bound that is given."""
    bounds = [*call.args[1:], call.kwargs.get("min"), call.kwargs.get("max")]
    return Cost(comparisons=call.size * sum(bound is not None for bound in bounds))


def _scaled_product(call: Call) -> Cost:
    """Return the cost of a + v·b·c or a + v·b/c: N additions, 2N multiplications (N if v is 1)."""
    value = call.kwargs.get("value", call.arg(3, 1))
    return Cost(multiplications=call.size * (1 if value == 1 else 2), additions=call.size)


GELU, RELU = Cost(3, 1, 0, 1), Cost(comparisons=1)
"""Of one element: ½x(1 + erf(x/√2)); the greater of x and 0."""


def _gelu(call: Call) -> Cost:
    """½x(1 + erf(x/√2)); by tanh, ½x(1 + tanh(√(2/π)(x + 0.044715x³)))."""
    return (Cost(6, 2, 0, 1) if call.kwargs.get("approximate") == "tanh" else GELU) * call.size


def _gelu_backward(call: Call) -> Cost:
    """Return the cost of g(Φ(x) + xφ(x)).

    By tanh, with t the tanh: g(½(1 + t) + ½x(1 − t²)·√(2/π)(1 + 3·0.044715x²)), x² used twice.
    """
    return (
        Cost(12, 5, 0, 1) if call.kwargs.get("approximate") == "tanh" else Cost(7, 2, 0, 2)
    ) * call.size


def _elu_backward(call: Call) -> Cost:
    """g, or g(y + α) below zero; g·α·e^x where the input is given instead of the result."""
    return (Cost(1, 1, 1, 0) if call.arg(4) else Cost(2, 0, 1, 1)) * call.size


def _outer(call: Call) -> Cost:
    """Return the cost of β·c + α·a⊗b.

    N products, N additions unless β is 0, and multiplications by α and β where they are not 1.
    """
    alpha, beta = call.kwargs.get("alpha", 1), call.kwargs.get("beta", 1)
    scale = (call.size if alpha != 1 else 0) + (call.given if beta not in (0, 1) else 0)
    return Cost(multiplications=call.size + scale, additions=call.size if beta != 0 else 0)


def _searched(call: Call, boundaries: int) -> Cost:
    """Each value's place among k sorted ones, by halves: ⌈log₂(k + 1)⌉ comparisons."""
    return Cost(comparisons=call.size * int(call.args[boundaries][-1]).bit_length())


ARITHMETIC: dict[str, Rule] = {
    **dict.fromkeys(("add", "sub", "rsub", "subtract"), _scaled_sum),
    **dict.fromkeys(("neg", "negative"), each(add=1)),
    **dict.fromkeys(("mul", "multiply", "reciprocal", "ldexp"), each(mul=1)),
    **dict.fromkeys(("div", "divide", "true_divide"), _quotient),
    "floor_divide": each(mul=1, cmp=1),  # ⌊a/b⌋
    **dict.fromkeys(("remainder", "fmod"), each(mul=2, add=1, cmp=1)),  # a − b⌊a/b⌋
    "frac": each(add=1, cmp=1),  # x − ⌊x⌋
    "lerp": each(mul=1, add=2),  # a + w(b − a)
    **dict.fromkeys(("addcmul", "addcdiv"), _scaled_product),
    "hypot": each(mul=2, add=1, elem=1),  # √(a² + b²)
    **dict.fromkeys(
        ("logaddexp", "logaddexp2"), each(add=3, cmp=2, elem=2)
    ),  # max + log1p(e^(−|a − b|))
    **dict.fromkeys(
        ("xlogy", "special_xlog1py"), each(mul=1, cmp=1, elem=1)
    ),  # a·log b, a·log1p b, 0 where a is 0
    "special_entr": each(mul=1, add=1, cmp=1, elem=1),  # −x·log x, 0 where x is 0
    "sinc": each(mul=2, cmp=1, elem=1),  # sin(πx)/(πx), 1 where x is 0
    **dict.fromkeys(("deg2rad", "rad2deg"), each(mul=1)),
    **dict.fromkeys(
        (
            "__lshift__",
            "__rshift__",
            "__ilshift__",
            "__irshift__",
            "bitwise_left_shift",
            "bitwise_right_shift",
        ),
        each(mul=1),
    ),
    "polar": each(mul=2, elem=2),  # r·cos φ, r·sin φ
    "linalg_cross": each(mul=2, add=1),  # a·b′ − a′·b
    "addr": _outer,
}

ELEMENTARY: dict[str, Rule] = dict.fromkeys(
    (
        *(
            "pow",
            "float_power",
            "sqrt",
            "rsqrt",
            "exp",
            "exp2",
            "expm1",
            "log",
            "log2",
            "log10",
            "log1p",
            "sigmoid",
        ),
        *(
            "sin",
            "cos",
            "tan",
            "asin",
            "acos",
            "atan",
            "atan2",
            "sinh",
            "cosh",
            "tanh",
            "asinh",
            "acosh",
            "atanh",
        ),
        *(
            "erf",
            "erfc",
            "erfinv",
            "lgamma",
            "digamma",
            "polygamma",
            "special_ndtri",
            "special_log_ndtr",
            "special_erfcx",
        ),
        *("i0", "special_i0e", "special_i1", "special_i1e"),
    ),
    each(elem=1),
)

COMPARISONS: dict[str, Rule] = {
    **dict.fromkeys(
        (
            *(
                "eq",
                "ne",
                "lt",
                "le",
                "gt",
                "ge",
                "maximum",
                "minimum",
                "fmax",
                "fmin",
                "where",
                "masked_fill",
                "clamp_min",
                "clamp_max",
            ),
            *(
                "abs",
                "sign",
                "sgn",
                "signbit",
                "floor",
                "ceil",
                "round",
                "trunc",
                "heaviside",
                "copysign",
            ),
            *(
                "isnan",
                "isinf",
                "isposinf",
                "isneginf",
                "logical_and",
                "logical_or",
                "logical_not",
                "logical_xor",
            ),
            *(
                "bitwise_and",
                "bitwise_or",
                "bitwise_not",
                "bitwise_xor",
                "__and__",
                "__or__",
                "__xor__",
                "__iand__",
                "__ior__",
                "__ixor__",
            ),
            *("relu", "threshold", "threshold_backward"),
            "bernoulli",  # a draw u < p; drawing u is no operation on a value
        ),
        each(cmp=1),
    ),
    "clamp": _clamp,
    "nan_to_num": each(cmp=3),
    "bucketize": lambda call: _searched(call, 1),
    "searchsorted": lambda call: _searched(call, 0),
    **dict.fromkeys(("nonzero", "equal"), each_given(cmp=1)),
}

ACTIVATIONS: dict[str, Rule] = {
    **dict.fromkeys(
        ("tanh_backward", "sigmoid_backward"), each(mul=2, add=1)
    ),  # g(1 − y²); g·y(1 − y)
    "gelu": _gelu,
    "gelu_backward": _gelu_backward,
    "silu": each(mul=1, elem=1),  # x·σ(x)
    "silu_backward": each(mul=3, add=2, elem=1),  # g·s(1 + x(1 − s))
    "mish": each(mul=1, add=1, elem=3),  # x·tanh(log(1 + e^x))
    "mish_backward": each(mul=4, add=3, elem=4),  # g(t + x·σ(x)·(1 − t²)), t = tanh(log(1 + e^x))
    "elu": each(mul=1, add=1, cmp=1, elem=1),  # x, or α(e^x − 1)
    "elu_backward": _elu_backward,
    "celu": each(mul=2, add=1, cmp=1, elem=1),  # x, or α(e^(x/α) − 1)
    **dict.fromkeys(
        ("leaky_relu", "leaky_relu_backward", "_prelu_kernel"), each(mul=1, cmp=1)
    ),  # x, or a·x
    "rrelu_with_noise": each(mul=1, cmp=1),  # x, or r·x, r drawn and kept
    "rrelu_with_noise_backward": each(mul=1),
    "_prelu_kernel_backward": each(mul=2, cmp=2),  # g, or a·g; 0, or x·g
    **dict.fromkeys(("hardtanh", "hardtanh_backward"), each(cmp=2)),
    "hardsigmoid": each(mul=1, add=1, cmp=2),  # clamp(x + 3, 0, 6)/6
    "hardsigmoid_backward": each(mul=1, cmp=2),
    "hardswish": each(mul=2, add=1, cmp=2),  # x·clamp(x + 3, 0, 6)/6
    "hardswish_backward": each(mul=2, add=1, cmp=2),  # g(x/3 + ½)
    "softplus": each(mul=2, cmp=1, elem=2),  # log1p(e^(βx))/β, or x
    "softplus_backward": each(mul=3, add=1, cmp=1, elem=1),  # g·z/(1 + z), z = e^(βx)
    "softshrink": each(add=1, cmp=2),
    **dict.fromkeys(("hardshrink", "hardshrink_backward", "softshrink_backward"), each(cmp=2)),
    "log_sigmoid_forward": each(add=2, cmp=2, elem=2),  # min(x, 0) − log1p(e^(−|x|))
    "log_sigmoid_backward": each(mul=3, add=2, cmp=1),  # g(1 or 0 ∓ z/(1 + z)), z kept from forward
    "glu": each(mul=1, elem=1),  # a·σ(b)
    "glu_jvp": each(mul=3, add=2, elem=1),  # s = σ(b); da·s + db·(y − y·s)
    "glu_backward": each_given(mul=3, add=1, elem=1),  # u = g·s; u·a·(1 − s)
    "logit": each(mul=1, add=1, elem=1),  # log(x/(1 − x))
    "logit_backward": each(mul=2, add=1),  # g/(x(1 − x))
    "native_dropout": each(mul=2, cmp=1),  # x·mask·1/(1 − p), mask drawn
    "native_dropout_backward": each(mul=2),
}

POINTWISE: dict[str, Rule] = {**ARITHMETIC, **ELEMENTARY, **COMPARISONS, **ACTIVATIONS}
