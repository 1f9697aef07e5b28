"""Generated cases over everything that is public; `tests/fuzz.py` has the cases and the property.

FASTNMF_FUZZ=20000 runs as many (``make fuzz``), and others with checked indices and without the compiler; 300
otherwise. FASTNMF_FUZZ_SEED begins elsewhere, FASTNMF_FUZZ_KIND=StratifiedNMF draws cases of one estimator only.
"""

import os

import fuzz
import numba
import numpy as np
import pytest
from fuzz_cases import Case

import fastnmf
from fastnmf.core import options
from fastnmf.models.base import estimator

N_CASES = int(os.environ.get("FASTNMF_FUZZ", "0"))
FIRST = int(os.environ.get("FASTNMF_FUZZ_SEED", "0"))
SIZE = 1000  # cases of a process
PLAIN = pytest.mark.skipif(numba.config.DISABLE_JIT and not N_CASES, reason="takes minutes under NUMBA_DISABLE_JIT=1")
LONG = pytest.mark.skipif(not N_CASES, reason="a part of `make fuzz`")


def check(number, n_cases, folder, **environment):
    outcome = fuzz.batch(number, n_cases, folder, **environment)
    print(f"{outcome['cases']} cases: {outcome['returned']} calls returned, {outcome['refused']} were refused")
    assert not outcome["wrong"], f"seed {number}\n{fuzz.told(outcome)}"
    assert outcome["cases"] >= 0.99 * n_cases and min(outcome["returned"], outcome["refused"]) > n_cases / 3


@PLAIN
@pytest.mark.parametrize("number", range(FIRST, FIRST + max(1, -(-N_CASES // SIZE))))
def test_what_is_called_returns_what_it_promises_or_refuses_in_a_sentence(number, tmp_path):
    check(number, SIZE if N_CASES else 300, tmp_path)


@LONG
@pytest.mark.parametrize("number", range(FIRST + 10_000, FIRST + 10_000 + -(-N_CASES // SIZE // 5)))
def test_no_kernel_goes_beyond_its_arrays(number, tmp_path):
    check(number, SIZE, tmp_path, NUMBA_BOUNDSCHECK="1")


@LONG
@pytest.mark.parametrize("number", range(FIRST + 20_000, FIRST + 20_000 + -(-N_CASES // SIZE // 10)))
def test_vector_code_in_plain_python_does_not_either(number, tmp_path):
    check(number, SIZE // 2, tmp_path, NUMBA_DISABLE_JIT="1")


@PLAIN
def test_the_death_of_the_process_is_told_with_its_case(tmp_path):
    planted = "from fastnmf.models.base.estimator import Estimator; Estimator._fit = lambda *a, **k: os.abort()"
    outcome = fuzz.batch(0, 300, tmp_path, planted)
    ((_, _, _, said, case),) = outcome["wrong"].values()
    assert "Abort" in said and "('fit" in case


def case_of(*calls):
    X = "data('counts', 4, 3, 0, 'float64', 'dense', ())"
    return Case(X, X, "NMF", (("n_components", "2"), ("max_iter", "2"), ("random_state", "0")), calls)


def changes_its_argument(self, X):
    X[0] = 5
    return np.ones((len(X), 2))


PLANTED = {
    "transform is not finite": lambda self, X: np.full((len(X), 2), np.nan),
    "it is negative": lambda self, X: np.full((len(X), 2), -1.0),
    "it has shape": lambda self, X: np.ones((1, 2)),
    "it changes ['X']": changes_its_argument,
    "it changes the parameters": lambda self, X: vars(self).update(tol=0.5),
    "ZeroDivisionError at outside": lambda self, X: 1 / 0,
    "raw TypeError at models": lambda self, X: estimator.without_zeros(np.array(["x"])),
    "no sentence": lambda self, X: options.check_integer("a\nb", 0),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_wrong_is_found(what, monkeypatch):
    case = case_of(("fit", (("X", "X"),)), ("transform", (("X", "X"),)))
    assert fuzz.run(case) == (2, 0, [])
    monkeypatch.setattr(fastnmf.NMF, "transform", PLANTED[what])
    _, _, (found,) = fuzz.run(case)
    assert found[0] == "NMF.transform" and what.removeprefix("transform ").strip() in found[1]


def test_a_wrong_factor_is_found(monkeypatch):
    whole = fastnmf.NMF.fit

    def fit(self, X):
        whole(self, X)
        self.components_[0, 0] = -1
        return self

    monkeypatch.setattr(fastnmf.NMF, "fit", fit)
    assert fuzz.run(case_of(("fit", (("X", "X"),)))) == (0, 0, [("NMF.fit", "components_ is negative")])
