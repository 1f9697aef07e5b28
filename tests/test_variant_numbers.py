"""Every fixed-seed case of `tests/data/variants.json`, by name: what of the package gives its numbers.

The numbers come from an independent program in plain NumPy, which shares nothing with this package; each case says how
its data and its start are drawn. Up to 100 iterations they must agree to 1e-8, later ones to 1e-5: sums in another
order grow along the way. Where H moves first there, the transposed data are fitted with W and H exchanged.

A case is a function in `oracle_cases.py` or `oracle_cases_models.py`, with the public call or the move that it checks
in its docstring; or it stands in `ELSEWHERE` here, with the reason.
"""

from pathlib import Path

import oracle_cases_models  # noqa: F401
import pytest
from oracle_cases import ALL, CASES

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence

# name -> why its numbers are not those of the package, and where what can be checked is checked
ELSEWHERE = {
    "nmu_planted_sparse": "The numbers come without a draw: no shape, density or seed is given, and none of 26,000 "
    "usual ones has them. test_discrete.py plants sparse parts, and checks that what is left falls and zeros are kept.",
}
# beginning of names -> the file that checks them, beside the other tests of their model
WITH_THEIR_MODEL = {
    "gnmf": "test_graph.py",
    "meta_nmf": "test_meta.py",
    "convolutive_beta": "test_convolutive.py",
    "bilinear_cd": "test_bilinear.py",
    "deep_chain_mu": "test_deep.py",
}


def test_every_case_has_its_place():
    with_model = {name for name in ALL if name.startswith(tuple(WITH_THEIR_MODEL))}
    places = [CASES, with_model, ELSEWHERE]
    assert len(ALL) == 61 and set().union(*places) == set(ALL)
    assert sum(map(len, places)) == 61, "a case has one place"
    assert all(function.__doc__ for function in CASES.values()) and all(ELSEWHERE.values())
    for beginning, file in WITH_THEIR_MODEL.items():
        assert beginning in Path(__file__).with_name(file).read_text(), f"{file} says nothing of {beginning}"


@pytest.mark.parametrize("name", CASES)
def test_the_case(name):
    CASES[name](name, ALL[name])
