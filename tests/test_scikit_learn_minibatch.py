"""The tests of the installed scikit-learn for its `MiniBatchNMF`, run against ours.

Its module is read and executed with our names in place of theirs, and with this class alone where tests have cases of
several. Left out: tests that do not name it. Where ours departs, `DEVIATIONS` says why: these cases, and no others,
have to fail.
"""

import ast
from pathlib import Path

import pytest
import sklearn.decomposition

ZEROS = "Zeros are refused for the same beta_loss, in other words."
DEVIATIONS = {
    "test_convergence_warning[MiniBatchNMF-solver0]": "The warning has other words.",
    "test_parameter_checking": "Errors have other words; NNDSVD goes on with means of rows where singular vectors end.",
    "test_nmf_true_reconstruction": "The default start is not NNDSVD, from which this KL fit comes out exact.",
    "test_minibatch_nmf_negative_beta_loss[-0.5]": ZEROS,
    "test_minibatch_nmf_negative_beta_loss[0.0]": ZEROS,
    "test_nmf_float32_float64_consistency[MiniBatchNMF-solver0]": (
        "There are 10 components by default, and 7 features: many weights give the same model."
    ),
    "test_nmf_custom_init_dtype_error[MiniBatchNMF]": "A start of another floating dtype is converted, not refused.",
    "test_nmf_minibatchnmf_equivalence[1]": "NMF has another default start for Kullback-Leibler.",
    "test_nmf_minibatchnmf_equivalence[2]": "The squared error has coordinate descent here, not the updates of mu.",
    "test_minibatch_nmf_partial_fit": (
        "The batches differ; scikit-learn changes the H that is given, and so compares one array with itself."
    ),
}
REPLACED = {
    "from sklearn.decomposition import NMF, MiniBatchNMF, non_negative_factorization": (
        "import sklearn.decomposition\nfrom fastnmf import NMF, MiniBatchNMF, non_negative_factorization"
    ),
    '[[NMF, {"solver": "cd"}], [NMF, {"solver": "mu"}], [MiniBatchNMF, {}]]': "[[MiniBatchNMF, {}]]",
    "[NMF, MiniBatchNMF]": "[MiniBatchNMF]",
    "    nmf = NMF(\n": "    nmf = NMF(extrapolate=False, max_iter=200,\n",  # as many plain updates as batches have
    "model = NMF(": "model = sklearn.decomposition.NMF(",  # beside which a test has another fit, of this class
}

path = Path(sklearn.decomposition.__file__).parent / "tests" / "test_nmf.py"
if not path.exists():
    pytest.skip("this scikit-learn is installed without its tests", allow_module_level=True)
source = path.read_text(encoding="utf-8")
if not all(text in source for text in REPLACED):
    pytest.skip("this scikit-learn has its tests in another form", allow_module_level=True)
for text, ours in REPLACED.items():
    source = source.replace(text, ours)
tree = ast.parse(source)
tree.body = [
    node
    for node in tree.body
    if not (isinstance(node, ast.FunctionDef) and node.name.startswith("test")) or "MiniBatchNMF" in ast.unparse(node)
]
exec(compile(tree, str(path), "exec"))
