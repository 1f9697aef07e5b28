"""The tests of the installed scikit-learn for its NMF and `non_negative_factorization`, run against ours.

Its module is read and executed with our names in place of theirs. Left out: tests of its private helpers and of its
`MiniBatchNMF` (`conftest.py` drops the cases of that class). Where ours departs, `DEVIATIONS` says why: these cases,
and no others, have to fail.
"""

from pathlib import Path

import pytest
import sklearn.decomposition

NAMES = "from sklearn.decomposition import NMF, MiniBatchNMF, non_negative_factorization"
HELPERS = {
    "test_initialize_nn_output",
    "test_initialize_close",
    "test_initialize_variants",
    "test_beta_divergence",
    "test_special_sparse_dot",
    "test_nmf_multiplicative_update_sparse",
    "test_nmf_underflow",
}
OF_MINIBATCH = {
    "test_minibatch_nmf_transform",
    "test_mbnmf_inverse_transform",
    "test_minibatch_nmf_negative_beta_loss",
    "test_nmf_minibatchnmf_equivalence",
    "test_minibatch_nmf_partial_fit",
    "test_minibatch_nmf_verbose",
}
WORDS = "The warning has other words; and of a matrix of ones one exact sweep of cd leaves nothing."
ZEROS = "Zeros are refused for the same beta_loss, in other words."
DEVIATIONS = {
    "test_convergence_warning[NMF-solver0]": WORDS,
    "test_convergence_warning[NMF-solver1]": WORDS,
    "test_parameter_checking": "Errors have other words; NNDSVD goes on with means of rows where singular vectors end.",
    "test_nmf_true_reconstruction": "The default start is not NNDSVD, from which this KL fit comes out exact.",
    "test_nmf_negative_beta_loss[csr_matrix]": ZEROS,
    "test_nmf_negative_beta_loss[csr_array]": ZEROS,
    "test_nmf_decreasing[cd]": "cd balances W and H for the documented alpha / 2 of L2; this objective has alpha.",
    "test_nmf_float32_float64_consistency[NMF-solver1]": "mu keeps float32 entries above 1e-15, lest they lock.",
    "test_nmf_custom_init_dtype_error[NMF]": "A start of another floating dtype than X is converted, not refused.",
}
OTHERS = "MiniBatchNMF"  # cases of scikit-learn's own class

path = Path(sklearn.decomposition.__file__).parent / "tests" / "test_nmf.py"
if not path.exists():
    pytest.skip("this scikit-learn is installed without its tests", allow_module_level=True)
source = path.read_text(encoding="utf-8")
if NAMES not in source:
    pytest.skip("this scikit-learn imports the tested names in another way", allow_module_level=True)
ours = "from fastnmf import NMF, non_negative_factorization\nfrom sklearn.decomposition import MiniBatchNMF"
exec(compile(source.replace(NAMES, ours), str(path), "exec"))
for name in HELPERS | OF_MINIBATCH:
    globals().pop(name)
