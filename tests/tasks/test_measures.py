"""CSR, ISR and SSR by hand, and what their intervals promise."""

from __future__ import annotations

import random
import statistics

import pytest

from tasks.measures import Bootstrap, Outcome, Total, mean, paired_test, tally
from tasks.measuring import as_outcome


def session(
    role: str, turns: list[str], *, polarity: str = "original", sample: int = 0, kind: str = "k"
) -> list[Outcome]:
    """A dialogue: a string of verdicts a turn, f(ollowed), v(iolated), u(nscored), n(ot applicable)."""
    names = {"f": "followed", "v": "violated", "u": "unscored", "n": "not_applicable"}
    return [
        as_outcome((role, polarity, f"{role}-{polarity}", sample, turn, kind, names[letter]))
        for turn, verdicts in enumerate(turns, start=1)
        for letter in verdicts
    ]


def values(outcomes: list[Outcome]) -> dict[str, tuple[float, int]]:
    return {
        metric: (round(mean(totals), 6), sum(total.n for total in totals.values()))
        for metric, totals in tally(outcomes).items()
    }


def test_by_hand() -> None:
    outcomes = [
        # 7 of 9 followed; 2 of 4 responses whole; one leading turn of 4
        *session("a", ["fff", "fv", "ff", "vf"]),
        # all of it: 2 of 2 leading turns
        *session("b", ["f", "ff"], polarity="reversed", kind="other"),
        # the first turn fails: no leading turn, whatever follows
        *session("b", ["v", "ff"], polarity="reversed", sample=1, kind="other"),
    ]
    assert values(outcomes) == {
        "csr": (round((7 + 3 + 2) / (9 + 3 + 3), 6), 15),
        "csr/original": (round(7 / 9, 6), 9),
        "csr/reversed": (round(5 / 6, 6), 6),
        "csr/kind/k": (round(7 / 9, 6), 9),
        "csr/kind/other": (round(5 / 6, 6), 6),
        "isr": (round((2 + 2 + 1) / 8, 6), 8),
        "isr/original": (0.5, 4),
        "isr/reversed": (0.75, 4),
        "ssr": (round((1 / 4 + 1 + 0) / 3, 6), 3),
        "ssr/original": (0.25, 1),
        "ssr/reversed": (0.5, 2),
    }


def test_turns_count_in_their_order_whatever_the_order_of_the_rows() -> None:
    outcomes = session("a", ["f", "f", "v", "f"])
    random.Random(0).shuffle(outcomes)
    assert values(outcomes)["ssr"] == (0.5, 1)


def test_what_is_not_scored_is_nobodys_success_or_failure() -> None:
    found = values([*session("a", ["fu", "f"]), *session("b", ["fn", "vu"])])
    assert found["csr"] == (0.75, 4)
    # "fu" and "fn" may be whole or not; "vu" is not, and to count it alone would make a failure of every gap
    assert found["isr"] == (1, 1)
    assert "ssr" not in found


def test_gaps_do_not_make_a_model_worse() -> None:
    rng = random.Random(0)
    turns = ["".join(rng.choices("fv", [0.9, 0.1], k=3)) for _ in range(20_000)]
    gaps = ["".join("u" if rng.random() < 0.1 else letter for letter in turn) for turn in turns]
    whole = values(session("a", turns))["isr"][0]
    assert whole == pytest.approx(0.9**3, abs=0.01)
    assert values(session("a", gaps))["isr"][0] == pytest.approx(whole, abs=0.01)


def test_a_difference_is_paired_by_role() -> None:
    rng = random.Random(0)
    before = {f"role{i}": Total(10 * rng.random(), 10) for i in range(30)}
    after = {role: Total(total.sum + 0.5, total.n) for role, total in before.items()}
    bootstrap = Bootstrap(before, resamples=500, seed=1)
    alone, paired = bootstrap.measure(after), bootstrap.compare(before, after)
    assert alone.low is not None and alone.high is not None and alone.high - alone.low > 0.1
    assert paired == pytest.approx((0.05, 0.05, 0.05, 300))
    assert bootstrap.compare(before, before) == (0, None, None, 300)


def test_the_interval_is_that_of_the_roles_and_the_seed_decides_it() -> None:
    rng = random.Random(0)
    totals = {f"role{i}": Total(float(rng.random() < 0.4) * 20, 20) for i in range(100)}
    first, again, other = (Bootstrap(totals, resamples=1000, seed=seed).measure(totals) for seed in (1, 1, 2))
    assert first == again != other
    # 20 equal items a role say no more than one: the interval is that of 100 items, not of 2,000
    error = statistics.pstdev(total.sum / total.n for total in totals.values()) / 10
    assert first.low == pytest.approx(first.value - 1.96 * error, abs=0.015)
    assert first.high == pytest.approx(first.value + 1.96 * error, abs=0.015)


def test_one_role_has_no_interval() -> None:
    one = {"a": Total(1.0, 2)}
    assert Bootstrap(["a"], resamples=100, seed=0).measure(one) == (0.5, None, None, 2)
    # of a kind that one of many roles has, nothing is known either
    assert Bootstrap(["a", "b", "c"], resamples=100, seed=0).measure(one) == (0.5, None, None, 2)


def test_where_all_roles_agree_nothing_is_known_of_others() -> None:
    never = {role: Total(0.0, 4) for role in "abcd"}
    assert Bootstrap(never, resamples=100, seed=0).measure(never) == (0.0, None, None, 16)


def test_an_average_is_the_mean_of_means_with_an_interval_of_its_own() -> None:
    rng = random.Random(0)
    one = {f"role{i}": Total(float(rng.random() < 0.3), 1) for i in range(60)}
    two = {role: Total(4 * rng.random(), 4) for role in list(one)[:30]}
    bootstrap = Bootstrap(one, resamples=400, seed=1)
    both = bootstrap.measure(one, two)
    assert both.value == pytest.approx((mean(one) + mean(two)) / 2)
    assert both.n == 60
    assert both.low is not None and both.high is not None and both.low < both.value < both.high
    # what is averaged with itself is itself
    assert bootstrap.measure(one, one)[:3] == pytest.approx(bootstrap.measure(one)[:3])
    assert bootstrap.compare_averages([one, two], [one, two]) == (0, None, None, 60)


def prompts(followed: str) -> dict[str, Total]:
    return {f"prompt{place}": Total(float(letter == "f"), 1) for place, letter in enumerate(followed)}


def test_of_prompts_that_are_followed_or_not_the_test_is_mcnemars() -> None:
    """McNemar's exact p is the binomial one of the prompts on which the two models differ."""
    # 6 against 1 of 7 that differ: 2 * (1 + 7) / 2^7
    p = paired_test([prompts("vvvvvvf" + "f" * 9)], [prompts("ffffffv" + "f" * 9)], resamples=100, seed=0)
    assert p == pytest.approx(2 * 8 / 128)
    # 3 against 3: never more equal than that
    assert paired_test([prompts("fffvvv")], [prompts("vvvfff")], resamples=100, seed=0) == 1.0
    assert paired_test([prompts("fv")], [prompts("fv")], resamples=100, seed=0) is None


def test_elsewhere_roles_are_swapped() -> None:
    rng = random.Random(1)
    before = {f"role{i}": Total(10 * rng.random(), 10) for i in range(40)}
    near = {role: Total(total.sum + rng.uniform(-2, 2), 10) for role, total in before.items()}
    far = {role: Total(total.sum + rng.uniform(-1, 3), 10) for role, total in before.items()}
    found = {name: paired_test([before], [after], resamples=2000, seed=0) for name, after in
             {"near": near, "far": far}.items()}  # fmt: skip
    assert found["near"] is not None and found["near"] > 0.05
    assert found["far"] is not None and found["far"] < 0.01
    assert found["far"] == paired_test([far], [before], resamples=2000, seed=0), "neither model comes first"
    # p is never 0: the swap that was observed is one of them
    apart = {role: Total(total.sum + 5 + rng.random(), 10) for role, total in before.items()}
    assert paired_test([before], [apart], resamples=99, seed=0) == pytest.approx(0.01)


def test_where_models_do_not_differ_p_is_uniform() -> None:
    rng = random.Random(2)
    found = []
    for trial in range(200):
        one, two = ({f"r{i}": Total(rng.gauss(5, 2), 10) for i in range(25)} for _ in range(2))
        found.append(paired_test([one], [two], resamples=200, seed=trial))
    below = sum(p is not None and p < 0.1 for p in found) / len(found)
    assert below == pytest.approx(0.1, abs=0.06)
