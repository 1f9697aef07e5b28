fastnmf fit ratings.csv --triplets user,item,rating,country --missing zeros --alpha-W 0.1 --components 10 --seed 0 -o ratings.npz
fastnmf top ratings.npz -n 5
fastnmf export ratings.npz -o tables/
