import fastnmf

posts = fastnmf.read("posts.csv", text="text", strata="group", title="title", vectorizer={"stop_words": "english"})
model = fastnmf.StratifiedNMF(8, random_state=0).fit(posts.data, strata=posts.strata)
model.source_ = posts.source
top = model.top_features(6, posts.feature_names)
for group, words in top.strata.items():
    print(f"{group}: {' '.join(words)}")
model.save("model.npz", posts.feature_names)
new = fastnmf.read("new.csv", source=fastnmf.load("model.npz").source_)
print(model.transform(new.data, strata=new.strata).shape)
fastnmf.write_report(model, "report.html", X=posts.data, feature_names=posts.feature_names, row_names=posts.titles)
