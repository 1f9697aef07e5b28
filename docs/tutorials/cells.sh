fastnmf fit cells.h5ad --strata batch --layer counts --beta-loss kullback-leibler --components 4 --n-init 4 --seed 0 -o cells.npz
fastnmf top cells.npz -n 6
fastnmf select-rank tenx/ --ranks 2,4,6 -o ranks.csv
fastnmf export cells.npz -o programmes/
