import fastnmf
from fastnmf.datasets import load_docstrings


class Separation:  # weight * sum over k != l of <h_k, h_l>
    value = staticmethod(lambda H: 0.5 * ((H.sum(0) ** 2).sum() - (H * H).sum()))
    half_gradient = staticmethod(lambda H: 0.5 * (H.sum(0) - H))


data = load_docstrings(packages=["numpy", "scipy"])
for penalties in (None, {"H": [Separation()]}):
    print(fastnmf.NMF(6, penalties=penalties, random_state=0).fit(data.data).top_features(5, data.feature_names))
