"""The search space, its mutations, and the screening of what they give."""

import collections
import importlib.util
import math
import random
from pathlib import Path

import pytest
import scipy.special
import scipy.stats
import torch

import actune
from actune.catalogue.registry import FAMILIES, Family, Param, resolve
from actune.discovery.proposers.screening import LARGEST_VALUE, screen
from actune.discovery.proposers.space import (
    BINARY,
    MITTAG_LEFFLER,
    MUTATIONS,
    UNARY,
    Space,
    _catalogue,
    apply_template,
    arity,
    bare_formula,
    candidate_family,
    change,
    edges,
    fits,
    insert,
    mutate,
    operator_nodes,
    parametrise,
    random_formula,
    regenerate,
    remove,
)
from actune.kernels.operators import evaluate
from actune.language.expr import const

_SPEC = importlib.util.spec_from_file_location("mutations", Path(__file__).parents[2] / "benchmarks/mutations.py")
mutations = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(mutations)

X = actune.parse("x")
SPACE = Space()
# No identity, no constants, no families: every drawn operator stays visible in the formula.
PLAIN = Space(unary=("tanh(x)", "erf(x)", "exp(x)", "atan(x)"), families=0.0)


def values(e, at=(-2.0, -0.7, 0.3, 1.9)):
    y = evaluate(e, {"x": torch.tensor(at, dtype=torch.float64)})
    return y.expand(len(at)).tolist()


def uniform(counts, outcomes, p=1e-4):
    """Whether these counts may come from equally likely outcomes."""
    assert set(counts) == set(outcomes)
    return scipy.stats.chisquare([counts[o] for o in outcomes]).pvalue > p


def shape(e):
    """The formula with its operators forgotten; a constant counts as unary(x)."""
    if e.op == "symbol":
        return "x"
    return tuple(map(shape, e.children)) or ("x",)


# -- the table -------------------------------------------------------------------------------------------------------------

REFERENCE = {
    "0": lambda x: 0, "1": lambda x: 1, "x": lambda x: x, "-x": lambda x: -x, "abs(x)": abs, "reciprocal(x)": lambda x: 1 / x,
    "square(x)": lambda x: x**2, "exp(x)": math.exp, "erf(x)": math.erf, "erfc(x)": math.erfc, "sinh(x)": math.sinh,
    "cosh(x)": math.cosh, "tanh(x)": math.tanh, "expm1(x)": math.expm1, "sigmoid(x)": scipy.special.expit,
    "log_sigmoid(x)": scipy.special.log_expit, "asinh(x)": math.asinh, "atan(x)": math.atan, "i0e(x)": scipy.special.i0e,
    "i1e(x)": scipy.special.i1e, "relu(x)": lambda x: max(x, 0), "elu(x)": lambda x: x if x > 0 else math.expm1(x),
    "selu(x)": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "silu(x)": lambda x: x * scipy.special.expit(x), "softplus(x)": lambda x: math.log1p(math.exp(x)),
    "softsign(x)": lambda x: x / (1 + abs(x)), "keras_hard_sigmoid(x)": lambda x: min(max(0.2 * x + 0.5, 0), 1),
    "x + y": lambda x, y: x + y, "x - y": lambda x, y: x - y, "x*y": lambda x, y: x * y, "x/y": lambda x, y: x / y,
    "x^y": lambda x, y: x**y, "max(x, y)": max, "min(x, y)": min,
}  # fmt: skip


def test_the_operators_are_those_of_the_paper():
    assert (len(set(UNARY)), len(set(BINARY))) == (27, 7)
    assert {*UNARY, *BINARY} == set(REFERENCE)


@pytest.mark.parametrize("text", UNARY)
def test_unary_operator(text):
    at = (-3.1, -0.7, 0.3, 2.9)
    assert values(apply_template(actune.parse(text), X), at) == pytest.approx([REFERENCE[text](x) for x in at], rel=1e-12)


@pytest.mark.parametrize("text", BINARY)
def test_binary_operator(text):
    e = apply_template(actune.parse(text), actune.parse("x"), actune.parse("2.5"))
    at = (0.4, 2.9)
    assert values(e, at) == pytest.approx([REFERENCE[text](x, 2.5) for x in at], rel=1e-12)


# -- random formulas -------------------------------------------------------------------------------------------------------


def test_start_is_uniform():
    rng = random.Random(1)
    shapes, unary, binary = collections.Counter(), collections.Counter(), collections.Counter()
    for _ in range(4000):
        e = random_formula(rng, PLAIN)
        shapes[shape(e)] += 1
        for _, node in edges(e):
            (unary if arity(node) == 1 else binary)[node.op] += node.op != "symbol"
    assert uniform(shapes, [(("x",),), (("x",), ("x",))])
    assert uniform(+unary, ["tanh", "erf", "exp", "atan"])
    assert uniform(binary, ["add", "sub", "mul", "div", "pow", "max", "min"])


def test_parameters_are_redrawn_uniformly_and_change_no_value():
    rng = random.Random(2)
    e = actune.parse("max(x*tanh(x), erf(x) + 1)")
    counts, places = collections.Counter(), collections.Counter()
    for _ in range(2000):
        f = candidate_family(parametrise(e, rng, SPACE))
        counts[len(f.params)] += 1
        places[str(f.expr)] += len(f.params) == 1
        assert list(f.params) == list("abc"[: len(f.params)])
        assert set(f.params.values()) <= {Param(1.0)}
        assert bare_formula(f, rng, SPACE) is e
    assert uniform(counts, [0, 1, 2, 3])
    once = +places
    assert len(once) == len(list(edges(e))) == 9
    assert uniform(once, list(once))


def test_no_parameter_on_zero():
    rng = random.Random(3)
    texts = {str(parametrise(actune.parse("x + 0"), rng, SPACE)) for _ in range(200)}
    assert len(texts) == 4
    assert not any("*0" in t for t in texts)


def test_number_of_parameters_is_a_setting():
    rng = random.Random(3)
    e = actune.parse("tanh(erf(x))")
    assert {len(candidate_family(parametrise(e, rng, Space(parameters=1))).params) for _ in range(99)} == {0, 1}


# -- bare formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_family_is_material_for_mutation(name):
    f = actune.family(name)
    rng = random.Random(name)
    expected = values(f.expr.substitute(dict(f.initial())))
    forms = {bare_formula(f, rng, SPACE) for _ in range(30)}
    assert actune.parse(f"{name}(x)") in forms
    for e in forms:
        assert e.symbols() in (("x",), ())
        assert fits(e, SPACE)
        assert values(e) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    for _ in range(40):
        _, e = mutate(rng.choice(sorted(forms, key=str)), rng, SPACE)
        check(e)


def test_small_families_come_written_out_too():
    rng = random.Random(0)
    forms = {str(bare_formula(actune.family("swish"), rng, SPACE)) for _ in range(30)}
    assert forms == {"swish(x)", "x*sigmoid(x)"}


def test_other_initial_values_stay_in_the_bare_formula():
    assert str(bare_formula(resolve("a*tanh(b*x); a=2, b=1"), random.Random(0), SPACE)) == "2*tanh(x)"
    assert str(bare_formula(resolve("tanh(x + c); c=-1"), random.Random(0), SPACE)) == "tanh(x + -1)"


# -- mutations -------------------------------------------------------------------------------------------------------------


def check(e, space=SPACE):
    assert actune.parse(str(e)) is e
    assert set(e.symbols()) <= {"x"}
    assert fits(e, space)


def test_thousands_of_mutations_are_valid_and_equally_likely():
    rng = random.Random(4)
    kinds = collections.Counter()
    operators_seen = collections.Counter()
    for _ in range(60):
        e = random_formula(rng, SPACE)
        for _ in range(60):
            kind, e = mutate(e, rng, SPACE)
            kinds[kind] += 1
            check(e)
            f = candidate_family(parametrise(e, rng, SPACE))
            assert bare_formula(f, rng, SPACE) is e
            again = resolve(f.text)
            assert (again.expr, again.params) == (f.expr, f.params)
            operators_seen.update(node.op for _, node in edges(e))
    assert uniform(kinds, list(MUTATIONS))
    roots = {actune.parse(text).op for text in (*UNARY, *BINARY)} | {"zorro_tanh", "apalu", "sau"}
    assert roots <= set(operators_seen)


@pytest.mark.parametrize("start", ["tanh(erf(x))", "max(tanh(x), exp(x))", "apalu", "zorro_asymmetric", "x"])
def test_mutations_from_a_start(start):
    """A sample of what `python benchmarks/mutations.py` does with every start, 100,000 times."""
    found = mutations.mutations(start, 1200)
    assert set(found["kinds"]) == set(found["walked"]) == set(MUTATIONS)
    assert found["largest"] <= SPACE.size
    assert found["p"] is None or found["p"] > 1e-4


def test_what_fits_is_counted_with_functions_written_out_and_parts_shared():
    """Beside the definition itself, at limits that about half of the formulas pass."""
    rng, outcomes = random.Random(0), collections.Counter()
    for _ in range(400):
        e = random_formula(rng, Space(families=0.5))
        for _ in range(rng.randint(0, 3)):
            e = mutate(e, rng, Space(families=0.5))[1]
        size, work = rng.randint(1, 12), rng.randint(1, 20)
        fit = e.size() <= size and sum(not n.is_leaf for n in e.expand().nodes()) <= work
        assert fits(e, Space(size=size, work=work)) == fit, (e, size, work)
        outcomes[fit] += 1
    assert min(outcomes[True], outcomes[False]) > 100


def test_frequencies_are_not_judged_where_not_every_mutation_fits():
    assert mutations.mutations("tanh(erf(x))", 100)["p"] is not None
    assert mutations.mutations("tanh(erf(x))", 100, space=Space(size=4))["p"] is None


def test_every_family_and_both_shapes_are_starts():
    assert set(mutations.starts()) == {*FAMILIES, "tanh(erf(x))", "max(tanh(x), exp(x))"}


def test_growth_stays_within_the_limits():
    rng = random.Random(5)
    small = Space(size=8)
    e, largest = X, 0
    for _ in range(1500):
        _, new = mutate(e, rng, small)
        check(new, small)
        largest = max(largest, new.size())
        e = new if new.size() >= e.size() or rng.random() < 0.2 else e
    assert largest == 8


def test_a_formula_far_over_the_limit_gives_way_to_a_random_one():
    e = actune.parse("tanh(" * 40 + "x" + ")" * 40)
    small = Space(unary=("tanh(x)", "erf(x)"), families=0.0, size=8)
    kinds = set()
    for seed in range(20):
        kind, new = mutate(e, random.Random(seed), small)
        kinds.add(kind)
        check(new, small)
    assert kinds == {"random"}


def test_an_inserted_binary_operator_changes_no_value():
    rng = random.Random(6)
    only_binary = Space(unary=(), families=0.0)
    seen = set()
    for text in ("x*tanh(x)", "elu(x) - erf(x)", "where(x >= 0, x, 0.1*x)", "x"):
        e = actune.parse(text)
        for _ in range(150):
            new = insert(e, rng, only_binary)
            assert new is not e
            assert values(new) == values(e)
            seen |= {node.op for _, node in edges(new)}
    assert {"add", "sub", "mul", "div", "pow", "max", "min"} <= seen


def test_insert_draws_every_operator_alike():
    rng = random.Random(7)
    counts = collections.Counter(insert(X, rng, PLAIN).op for _ in range(3300))
    assert uniform(counts, ["tanh", "erf", "exp", "atan", "add", "sub", "mul", "div", "pow", "max", "min"])


def test_insert_reaches_every_edge():
    e = actune.parse("tanh(x) + erf(x)")
    found = {str(insert(e, random.Random(seed), Space(unary=("exp(x)",), binary=("x + y",), families=0.0))) for seed in range(200)}
    assert {t for t in found if "exp" in t} == {
        "exp(tanh(x) + erf(x))", "exp(tanh(x)) + erf(x)", "tanh(exp(x)) + erf(x)", "tanh(x) + exp(erf(x))", "tanh(x) + erf(exp(x))",
    }  # fmt: skip


def test_remove_keeps_one_argument():
    e = actune.parse("tanh(x) + erf(exp(x))")
    found = {str(remove(e, random.Random(seed), SPACE)) for seed in range(200)}
    assert found == {"tanh(x)", "erf(exp(x))", "x + erf(exp(x))", "tanh(x) + exp(x)", "tanh(x) + erf(x)"}


def test_remove_of_a_choice_keeps_a_value_not_the_condition():
    e = actune.parse("where(x > 0, tanh(x), erf(x))")
    found = {str(remove(e, random.Random(seed), SPACE)) for seed in range(200)}
    assert found == {"tanh(x)", "erf(x)", "where(x > 0, x, erf(x))", "where(x > 0, tanh(x), x)", "where(x > x, tanh(x), erf(x))"}


def test_change_keeps_arity_and_draws_alike():
    rng = random.Random(8)
    counts = collections.Counter(change(actune.parse("tanh(x)"), rng, PLAIN).op for _ in range(1500))
    assert uniform(counts, ["erf", "exp", "atan"])
    counts = collections.Counter(change(actune.parse("x + x"), rng, PLAIN).op for _ in range(3000))
    assert uniform(counts, ["sub", "mul", "div", "pow", "max", "min"])


def test_change_leaves_three_arguments_alone():
    e = actune.parse("clip(x, x, x)")
    assert all(change(e, random.Random(seed), SPACE) is e for seed in range(50))
    e = actune.parse("where(x > 0, x, tanh(x))")
    found = [change(e, random.Random(seed), PLAIN) for seed in range(50)]
    assert all(new.op == "where" and new.args[0].op == ">" for new in found)


def test_a_constant_can_be_changed_back():
    rng = random.Random(9)
    found = {str(change(const(1), rng, SPACE)) for _ in range(400)}
    assert {"tanh(x)", "x", "0", "-x"} <= found
    assert "1" not in found


def test_regenerate_keeps_the_shape():
    rng = random.Random(10)
    e = actune.parse("max(tanh(erf(x)), exp(x)) - atan(x)")
    for _ in range(200):
        assert shape(regenerate(e, rng, PLAIN)) == shape(e)
    assert shape(regenerate(X, rng, PLAIN)) == ("x",)
    choice = regenerate(actune.parse("where(x > 0, tanh(x), 1)"), rng, PLAIN)
    assert shape(choice) == (("x", ("x",)), ("x",), ("x",))
    assert (choice.op, choice.args[0].op) == ("where", ">")


def test_a_lone_x_can_change_and_cannot_shrink():
    assert operator_nodes(X) == [((), X)]
    assert remove(X, random.Random(0), SPACE) is X
    assert {change(X, random.Random(seed), PLAIN).op for seed in range(60)} == {"tanh", "erf", "exp", "atan"}


# -- screening -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x", None),
        ("relu", None),
        ("zorro_tanh", None),
        ("a*tanh(x) + erf(erf(expm1(b*x))); a=1, b=1", None),
        ("exp(x)", None),
        ("1/x", "not finite"),
        ("x/x", "not finite"),
        ("x^x", "not finite"),
        ("log(x)", "not finite"),
        ("sqrt(abs(x))", "not finite"),  # its slope at 0
        ("exp(exp(x))", "not finite"),
        ("exp(x)^2", "not finite"),  # beyond |x| = 44 in float32
        ("tanh(c*x); c=1e39", "not finite"),  # in float32
        ("1", "constant"),
        ("x - x", "constant"),
        ("square(tanh(x)) - square(tanh(-x))", "constant"),
        ("1e5 + tanh(x)", "exploding"),
        ("100 + 0.001*tanh(x)", "constant"),
        ("tanh(1e5*x)", "exploding"),  # its slope
        ("square(square(square(x)))", "exploding"),
        ("tanh(x) + a - a; a=1", "the parameter a changes nothing"),
        ("max(x, b - 100); b=1", "the parameter b changes nothing"),
        ("x + tanh(a*x*1e5); a=1", "exploding"),
    ],
)
def test_screening(text, reason):
    assert screen(resolve(text)).reason == reason


def test_an_exploding_gradient_of_a_parameter_is_seen():
    f = resolve("tanh(1e-3*x) + 0*x*(exp(b) - exp(b)); b=60")
    assert screen(f).reason == "the parameter b changes nothing"
    assert screen(resolve(f"tanh(x)*(1 + {LARGEST_VALUE}*2*(b - 1)); b=1")).reason == "exploding"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x*sigmoid(x)", "silu"),
        ("softplus(x)", "-log_sigmoid(-x)"),
        ("tanh(x)", "2*sigmoid(2*x) - 1"),
        ("erf(x) + tanh(x)", "0 + tanh(x) + erf(x)"),
        ("exp(x) - 1", "expm1(x)"),
        ("relu(x)", "max(x, 0)"),
        ("relu(a*x); a=1", "b*relu(x); b=1"),
        ("a*tanh(b*x); a=1, b=1", "b*tanh(a*x); a=1, b=1"),
        ("a*tanh(b*x) + c; a=2, b=1, c=0.5", "c*tanh(a*x) + b; c=2, a=1, b=0.5"),
        ("swish", "x*sigmoid(c*x); c=1"),
    ],
)
def test_equal_functions_have_one_fingerprint(one, other):
    assert screen(resolve(one)).fingerprint == screen(resolve(other)).fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tanh(x)", "a*tanh(x); a=1"),
        ("a*tanh(x); a=1", "tanh(a*x); a=1"),
        ("a*tanh(x); a=1", "a*tanh(b*x); a=1, b=1"),
        ("a*(b*x); a=1, b=1", "a*x; a=1"),
        ("tanh(x)", "-tanh(x)"),
        ("tanh(x)", "1.0001*tanh(x)"),
        ("x*sigmoid(b*x); b=1", "x*sigmoid(b*x); b=1.001"),
        ("gelu", "0.5*x*(1 + tanh(0.7978845608*(x + 0.044715*x^3)))"),
    ],
)
def test_different_candidates_have_different_fingerprints(one, other):
    assert screen(resolve(one)).fingerprint != screen(resolve(other)).fingerprint


def test_a_frozen_parameter_counts_as_a_number():
    frozen = Family("f", actune.parse("x*sigmoid(b*x)"), {"b": Param(1.0, trainable=False)})
    assert screen(frozen).fingerprint == screen(resolve("silu")).fingerprint != screen(resolve("swish")).fingerprint


def test_random_formulas_fit_into_the_space():
    for seed in range(200):
        assert random_formula(random.Random(seed), Space(size=4)).size() <= 4
        assert fits(random_formula(random.Random(seed), Space(families=0.0, work=3)), Space(work=3))
    with pytest.raises(ValueError, match=r"no random formula fits into Space\(size=0, work=120\); make them larger"):
        random_formula(random.Random(0), Space(size=0))


def test_many_random_formulas_are_rejected():
    rng = random.Random(11)
    seen, kept = set(), 0
    for _ in range(400):
        s = screen(candidate_family(random_formula(rng, SPACE)))
        kept += s.reason is None and s.fingerprint not in seen
        seen.add(s.fingerprint)
    assert 0.4 < kept / 400 < 0.7


def test_mittag_leffler_is_an_operator_of_the_search():
    """E_{α,β} is drawn, filled and changed as a unary operator; no mutation touches α and β."""
    space, rng, texts = Space(families=1.0), random.Random(5), set()
    for _ in range(3000):
        e = random_formula(rng, PLAIN)
        for _ in range(3):
            _, e = mutate(e, rng, space)
        f = candidate_family(parametrise(e, rng, space))
        for node in f.expr.nodes():
            if node.op == "mittag_leffler":
                assert f"mittag_leffler(x, {node.args[1]}, {node.args[2]})" in MITTAG_LEFFLER
                texts.add(str(node))
    assert len(texts) > 20
    inner = actune.parse("mittag_leffler(tanh(x), 0.8, 1)")
    assert {str(node) for _, node in edges(inner)} == {str(inner), "tanh(x)", "x"}
    assert str(remove(inner, random.Random(0), space)) in ("tanh(x)", "mittag_leffler(x, 0.8, 1)")


def test_a_family_with_another_name_is_no_second_operator():
    assert "ml_mish(x)" not in _catalogue(tuple(FAMILIES))
    assert "mish(x)" in _catalogue(tuple(FAMILIES))
