fastnmf fit posts.csv --text text --stop-words english --components 6 --alpha-W 1e-4 --seed 0 -o plain.npz
fastnmf fit posts.csv --text text --stop-words english --components 6 --alpha-W 1e-4 --seed 0 --penalty H=penalty.py:Separation -o apart.npz
fastnmf top plain.npz -n 5
fastnmf top apart.npz -n 5
