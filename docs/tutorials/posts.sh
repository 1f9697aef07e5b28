fastnmf fit posts.csv --text text --strata group --title title --stop-words english --components 8 --seed 0 -o model.npz
fastnmf top model.npz -n 6
fastnmf report model.npz --data posts.csv -o report.html
fastnmf transform model.npz new.csv --text text --strata group -o weights.csv
fastnmf export model.npz -o tables/
