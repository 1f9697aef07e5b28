import fastnmf

posts = fastnmf.read("posts.csv", text="text", strata="group", title="title", vectorizer={"stop_words": "english"})
model = fastnmf.StratifiedNMF(8, random_state=0).fit(posts)
for group, words in model.top_features(6).strata.items():
    print(f"{group}: {' '.join(words)}")
model.save("model.npz")
new = fastnmf.read("new.csv", source=fastnmf.load("model.npz").source_)
print(model.transform(new).shape)
fastnmf.write_report(model, "report.html", X=posts)
