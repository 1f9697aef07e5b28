import fastnmf


class Separation:  # weight * sum over k != l of <h_k, h_l>
    value = staticmethod(lambda H: 0.5 * ((H.sum(0) ** 2).sum() - (H * H).sum()))
    half_gradient = staticmethod(lambda H: 0.5 * (H.sum(0) - H))


if __name__ == "__main__":
    posts = fastnmf.read("posts.csv", text="text", vectorizer={"stop_words": "english"})
    for penalties in (None, {"H": [Separation()]}):
        model = fastnmf.NMF(6, alpha_W=1e-4, penalties=penalties, random_state=0).fit(posts)
        print(model.top_features(5))
