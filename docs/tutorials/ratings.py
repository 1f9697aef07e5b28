import numpy as np

import fastnmf

train = fastnmf.read("ratings.csv", triplets="user,item,rating,country")
held = fastnmf.read("held.csv", source=train.source).data.tocoo()
model = fastnmf.StratifiedNMF(10, missing_values="zeros", alpha_W=0.1, random_state=0).fit(train)
found = np.clip(model.predict_entries(held.row, held.col), 1, 5)
print(f"error {np.sqrt(np.mean((found - held.data) ** 2)):.2f}, of the mean {held.data.std():.2f}")
print(model.row_names_[7], "may like", *model.recommend(7, 3).names)
