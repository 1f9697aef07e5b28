"""`fastnmf.read`: the same data from every kind of file, how they were read is kept, one sentence for the rest."""

import csv
import gzip
import json

import altered
import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer

import fastnmf
from fastnmf import read

TEXTS = ["the cat sat", "a dog, a cat", 'he said "sit"\nand sat', "", "dogs sat; cats sit", "the the dog"]
GROUPS = ["b", "a", "b", "a", "b", "a"]
TITLES = ["one", "two", "three", "four", "five", "ünf"]
POSTS = {"text": TEXTS, "group": GROUPS, "title": TITLES}


def write_table(path, columns, *, delimiter=",", encoding="utf-8"):
    """Write a dict of columns as the ending says."""
    names, rows = list(columns), list(zip(*columns.values(), strict=True))
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(dict(columns)), path)
        return path
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding=encoding, newline="") as file:
        if ".jsonl" in path.name:
            file.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
        else:
            csv.writer(file, delimiter=delimiter).writerows([names, *rows])
    return path


def same(found, want):
    assert found.shape == want.shape and found.dtype == want.dtype
    assert isinstance(found, sp.csr_array) and (abs(found - want).max() if found.nnz else 0) == 0


ENDINGS = ["csv", "csv.gz", "tsv", "jsonl", "jsonl.gz", "parquet"]

# ---------------------------------------------------------------- texts


@pytest.mark.parametrize("ending", ENDINGS)
def test_texts_are_those_of_the_vectorizer_from_every_table(ending, tmp_path):
    path = write_table(tmp_path / f"posts.{ending}", POSTS, delimiter="\t" if ending == "tsv" else ",")
    found = read(path, text="text", strata="group", title="title")
    vectorizer = TfidfVectorizer()
    same(found.data, sp.csr_array(vectorizer.fit(TEXTS).transform(TEXTS)))
    assert found.feature_names.tolist() == vectorizer.get_feature_names_out().tolist()
    assert found.strata.tolist() == GROUPS and found.strata.dtype.kind == "U"
    assert found.titles.tolist() == TITLES and found.texts.tolist() == TEXTS and found.row_names is None
    assert found.source["kind"] == "texts" and found.source["strata"] == "group"


VECTORIZERS = [
    {"counts": True},
    {"min_df": 2},
    {"max_df": 0.4, "stop_words": "english"},
    {"max_features": 4, "ngram_range": (1, 2)},
    {"max_features": 3, "binary": True, "counts": True},
    {"sublinear_tf": True, "norm": "l1", "smooth_idf": False},
    {"use_idf": False, "dtype": np.float32},
    {"analyzer": "char_wb", "ngram_range": [2, 3], "lowercase": False},
    {"vocabulary": ["sat", "cat", "zebra"], "norm": None},
    {"stop_words": ["the", "sat"], "token_pattern": r"\b[a-z]{2,}\b"},
]


@pytest.mark.parametrize("options", VECTORIZERS, ids=str)
@pytest.mark.filterwarnings("ignore:Upper case")
def test_options_new_texts_and_chunks_give_what_scikit_learn_gives(options, tmp_path):
    path = write_table(tmp_path / "posts.csv", POSTS)
    options = options | ({"ngram_range": tuple(options["ngram_range"])} if "ngram_range" in options else {})
    plain = {name: value for name, value in options.items() if name != "counts"}
    vectorizer = CountVectorizer(**plain) if "counts" in options else TfidfVectorizer(**plain)
    want = sp.csr_array(vectorizer.fit(TEXTS).transform(TEXTS)).astype(plain.get("dtype", np.float64))
    found = read(path, text="text", vectorizer=options)
    same(found.data, want)
    same(read(path, text="text", vectorizer=vectorizer).data, want)
    on_disk = read(path, text="text", vectorizer=options, folder=tmp_path / "csr")
    assert on_disk.texts is None and on_disk.feature_names.tolist() == found.feature_names.tolist()
    same(on_disk.data[:], want)
    new = write_table(tmp_path / "new.csv", {"text": ["a cat and a zebra sat", "nothing", "dogs"]})
    again = sp.csr_array(vectorizer.transform(["a cat and a zebra sat", "nothing", "dogs"])).astype(want.dtype)
    for source in (found.source, on_disk.source):
        same(read(new, source=source).data, again)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tfidf_of_textbooks_is_its_formula_and_stays_in_the_file(dtype, tmp_path):
    path = write_table(tmp_path / "posts.csv", POSTS | {"text": [text + " the the" for text in TEXTS]})
    options = {"tfidf": "max", "dtype": dtype}
    found = read(path, text="text", vectorizer=options)
    counts = read(path, text="text", vectorizer={"counts": True}).data.toarray()
    n_texts, weights = len(counts), np.zeros(counts.shape)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            weights[i, j] = count / max(row) * np.log2(n_texts / sum(other > 0 for other in counts[:, j]))
    assert found.data.dtype == dtype and found.data.nnz == np.count_nonzero(weights)  # "the" is in all texts
    np.testing.assert_allclose(found.data.toarray(), weights, rtol=1e-6)
    same(read(path, text="text", vectorizer=options, folder=tmp_path / "csr").data[:], found.data)
    model = fastnmf.NMF(1, max_iter=2, tol=0).fit(found.data)
    model.source_ = found.source
    model.save(tmp_path / "model.npz")
    same(read(path, source=fastnmf.load(tmp_path / "model.npz").source_).data, found.data)
    del found.source["vectorizer"]["tfidf"]  # a file of an earlier version
    found.source["idf"] += 1
    assert read(path, source=found.source).data.nnz == np.count_nonzero(counts)


def test_a_model_keeps_how_its_texts_were_read(tmp_path):
    path = write_table(tmp_path / "posts.csv", POSTS)
    posts = read(path, text="text", strata="group", title="title", vectorizer={"ngram_range": (1, 2)})
    model = fastnmf.StratifiedNMF(2, random_state=0, max_iter=5, tol=0).fit(posts.data, strata=posts.strata)
    model.source_ = posts.source
    model.save(tmp_path / "model.npz", posts.feature_names)
    loaded = fastnmf.load(tmp_path / "model.npz")
    for name, value in posts.source.items():
        np.testing.assert_equal(loaded.source_[name], value)
    again = read(path, source=loaded.source_)
    same(again.data, posts.data)
    assert again.strata.tolist() == GROUPS and again.titles.tolist() == TITLES
    assert (loaded.transform(again.data, strata=again.strata) == model.transform(posts.data, strata=GROUPS)).all()
    bare = write_table(tmp_path / "bare.csv", {"text": TEXTS[:2]})  # without the columns that the record names
    again = read(bare, source=loaded.source_)
    assert again.strata is None and again.titles is None
    other = write_table(tmp_path / "other.csv", {"body": TEXTS, "stratum": GROUPS})
    same(read(other, text="body", strata="stratum", source=loaded.source_).data, posts.data)
    assert not hasattr(model.fit(posts.data, strata=GROUPS), "source_")  # another fit is of other data


def test_a_function_cannot_be_saved(tmp_path):
    path = write_table(tmp_path / "posts.csv", POSTS)
    for options in (
        {"tokenizer": str.split, "token_pattern": None},
        {"analyzer": str.split},
        {"preprocessor": str.upper},
    ):
        posts = read(path, text="text", vectorizer=options)
        assert read(path, source=posts.source).data.shape == posts.data.shape
        model = fastnmf.NMF(1, max_iter=2, tol=0, random_state=0).fit(posts.data)
        model.source_ = posts.source
        with pytest.raises(TypeError, match=f"{next(iter(options))} is a function, which files do not hold"):
            model.save(tmp_path / "model.npz")
        model.source_ = {"kind": "texts"}
        with pytest.raises(ValueError, match="source_ is not a source of fastnmf.read"):
            model.save(tmp_path / "model.npz")
        assert not (tmp_path / "model.npz").exists()


@pytest.mark.parametrize("kind", ["NMF", "StratifiedNMF"])
def test_estimators_take_no_texts(kind):
    model = getattr(fastnmf, kind)(1, max_iter=2, tol=0, random_state=0).fit(np.eye(3))
    for method in (model.transform, model.fit):
        for texts in (TEXTS, np.array(TEXTS), np.array(TEXTS, dtype=object)):
            with pytest.raises(ValueError, match=r"fastnmf.read \(.*source=model.source_\) or a vectorizer"):
                method(texts)


def read_and_use(path, folder):
    """Load a file and read texts and a table by its source; return None where a sentence refuses one of these."""
    try:
        with altered.no_more_memory_than(path):
            source = fastnmf.load(path).source_
        found = [read(folder / name, source=source) for name in ("posts.csv",)]
    except ValueError as error:
        said = str(error)
        assert "\n" not in said and said.isprintable() and len(said) < 500 and said[-1] in ".?", said
        return None
    assert all(np.isfinite(each.data.data).all() for each in found)
    return found


@pytest.mark.parametrize("is_counts", [False, True])
def test_an_altered_source_is_refused_or_read(is_counts, tmp_path):
    path = write_table(tmp_path / "posts.csv", POSTS)
    posts = read(path, text="text", strata="group", vectorizer={"counts": is_counts, "stop_words": ["the"]})
    model = fastnmf.NMF(1, max_iter=2, tol=0, random_state=0).fit(posts.data)
    model.source_ = posts.source
    model.save(tmp_path / "model")
    names = [name for name in altered.opened(tmp_path / "model")[0] if name.startswith("source_")]
    assert len(names) == 2 + (not is_counts)
    cases, whole = [], altered.opened(tmp_path / "model")
    for what, parts, facts in altered.alterations(tmp_path / "model"):
        if facts["values"].get("source_") != whole[1]["values"]["source_"] or what.startswith("source_"):
            cases.append((what, parts, facts))
    chosen = np.random.default_rng(0).permutation(len(cases))[:25]
    n_refused = 0
    for at in chosen:
        what, parts, facts = cases[at]
        altered.sealed(tmp_path / "model", parts, facts)
        try:
            n_refused += read_and_use(tmp_path / "model", tmp_path) is None
        except AttributeError as error:  # there is no source_ in the file any more
            assert "source_" in str(error) and what.startswith("source_ "), what
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__} {error}") from error
    assert n_refused > 12
    altered.sealed(tmp_path / "model", *whole)
    same(read_and_use(tmp_path / "model", tmp_path)[0].data, posts.data)


# ---------------------------------------------------------------- tables of numbers, matrices

NUMBERS = {"": ["x1", "x2", "x3"], "a": [1.0, 0.0, 2.5], "site": ["n", "s", "n"], "b": [0, 3, 0]}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_wide_table(ending, tmp_path):
    path = write_table(tmp_path / f"wide.{ending}", NUMBERS)
    found = read(path, strata="site")
    same(found.data, sp.csr_array([[1.0, 0], [0, 3], [2.5, 0]]))
    assert found.feature_names.tolist() == ["a", "b"] and found.row_names.tolist() == ["x1", "x2", "x3"]
    assert found.strata.tolist() == ["n", "s", "n"] and found.source["kind"] == "table"
    same(read(path, strata="site", folder=tmp_path / "csr").data[:], found.data)
    other = {"b": [7], "site": ["n"], "c": [9], "a": [8]}
    new = read(write_table(tmp_path / f"new.{ending}", other), source=found.source)
    assert new.data.toarray().tolist() == [[8, 7]] and new.strata.tolist() == ["n"]
    with pytest.raises(ValueError, match="lacks the feature 'b' of the 2 that source names"):
        read(write_table(tmp_path / f"few.{ending}", {"a": [1]}), source=found.source)


def test_a_transposed_table_has_its_strata_elsewhere(tmp_path):
    path = write_table(tmp_path / "genes.csv", {"gene": ["g1", "g2"], "c1": [1, 2], "c2": [0, 4], "c3": [5, 0]})
    (tmp_path / "batch.txt").write_text("2\n1\n2\n")
    found = read(path, names="gene", transpose=True, strata=tmp_path / "batch.txt")
    same(found.data, sp.csr_array([[1.0, 2], [0, 4], [5, 0]]))
    assert found.feature_names.tolist() == ["g1", "g2"] and found.row_names.tolist() == ["c1", "c2", "c3"]
    assert found.strata.tolist() == [2, 1, 2]
    turned = {"gene": ["g2", "g1"], "d": [3, 4]}
    again = read(write_table(tmp_path / "new.csv", turned), names="gene", source=found.source)
    assert again.data.toarray().tolist() == [[4, 3]]


def test_matrices(tmp_path):
    X = sp.random_array((6, 4), density=0.5, rng=np.random.default_rng(0), format="csr")
    sp.save_npz(tmp_path / "x.npz", X)
    np.save(tmp_path / "x.npy", X.toarray().astype(np.float32))
    scipy.io.mmwrite(tmp_path / "x.mtx", X.T)
    (tmp_path / "x.mtx.gz").write_bytes(gzip.compress((tmp_path / "x.mtx").read_bytes()))
    fastnmf.save_csr(X, tmp_path / "csr")
    np.save(tmp_path / "labels.npy", np.arange(6) % 2)
    same(read(tmp_path / "x.npz").data, X)
    for name in ("x.mtx", "x.mtx.gz"):
        same(read(tmp_path / name, transpose=True).data, X)
    dense = read(tmp_path / "x.npy", strata=tmp_path / "labels.npy")  # dense files stay dense, and float32
    assert dense.data.dtype == np.float32 and isinstance(dense.data, np.ndarray) and dense.strata.tolist() == [0, 1] * 3
    same(read(tmp_path / "csr", strata=list("aabbab")).data[:], X)
    same(read(tmp_path / "x.npz", folder=tmp_path / "copy").data[:], X)
    assert read(tmp_path / "x.npz").source["kind"] == "matrix"


# ---------------------------------------------------------------- ratings

RATINGS = {"who": [7, 5, 7, 9, 7], "what": ["a", "b", "c", "b", "a"], "stars": [3, 1, 2.5, 4, 1], "in": list("zyzxz")}


@pytest.mark.parametrize("ending", ENDINGS)
def test_triplets(ending, tmp_path):
    path = write_table(tmp_path / f"ratings.{ending}", RATINGS, delimiter="\t" if ending == "tsv" else ",")
    found = read(path, triplets="who,what,stars,in")
    same(found.data, sp.csr_array([[4, 0, 2.5], [0, 1, 0], [0, 4, 0]]))
    assert found.row_names.tolist() == ["7", "5", "9"] and found.feature_names.tolist() == ["a", "b", "c"]
    assert found.strata.tolist() == ["z", "y", "x"]
    assert read(path, triplets=("who", "what", "stars"), duplicates="mean").data[0, 0] == 2
    with pytest.raises(ValueError, match="2 ratings of 'a' by '7'; keep one"):
        read(path, triplets="who,what,stars", duplicates="raise")
    assert read(path, triplets="who, what", strata="in").data.sum() == 5
    same(read(path, triplets="who,what,stars", folder=tmp_path / "csr").data[:], found.data)
    new = write_table(
        tmp_path / f"new.{ending}", {"who": [1, 2], "what": ["d", "c"], "stars": [5, 6], "in": list("yy")}
    )
    with pytest.warns(UserWarning, match="1 items of .* are not among the 3 of the source"):
        again = read(new, source=found.source)
    assert again.data.toarray().tolist() == [[0, 0, 0], [0, 0, 6]] and again.strata.tolist() == ["y", "y"]


def test_many_ratings_are_read_in_chunks(tmp_path):
    rng = np.random.default_rng(0)
    rows, columns, ratings = rng.integers(300, size=25_000), rng.integers(80, size=25_000), rng.integers(1, 6, 25_000)
    path = write_table(tmp_path / "r.csv", {"u": rows.tolist(), "i": columns.tolist(), "r": ratings.tolist()})
    found = read(path, triplets="u,i,r")
    want = sp.csr_array((ratings.astype(float), (rows, columns)), shape=(300, 80))
    at = found.row_names.astype(int), found.feature_names.astype(int)
    assert (found.data.toarray() == want.toarray()[np.ix_(*at)]).all()


# ---------------------------------------------------------------- one sentence for the rest

CSV = "text,group,n\nab cd,x,1\nef,y,2\n"
BAD = {
    "an ending": (
        "a.xls",
        b"x",
        {},
        r"ends in '.xls'; expected a folder of 10x Genomics or one of .csv.*\.parquet.*\.mtx",
    ),
    "no ending": ("posts", b"x", {}, "ends in ''; expected"),
    "a column": ("a.csv", CSV, {"text": "txet"}, "'txet' is not a column of .*did you mean 'text'?"),
    "a column in other case": ("a.csv", CSV, {"text": "TEXT"}, "did you mean 'text'?"),
    "no such column": ("a.csv", CSV, {"text": "zz"}, "available: 'text', 'group', 'n'.; give one of them"),
    "strata": ("a.csv", CSV, {"text": "text", "strata": "grup"}, "'grup' is not a column of .*did you mean 'group'?"),
    "a line after others": (
        "a.csv",
        'text,group\n"ab\r\n\ncd",x\n\nef,\n',
        {"text": "text", "strata": "group"},
        "Line 6 of",
    ),
    "a title": ("a.csv", CSV, {"text": "text", "title": "head"}, "'head' is not a column"),
    "a missing stratum": ("a.csv", CSV + "gh,,3\n", {"text": "text", "strata": "group"}, "Line 4 of .* has no 'group'"),
    "a missing text": (
        "a.jsonl",
        '{"t": "a b"}\n{"t": null}\n',
        {"text": "t"},
        "Line 2 of .* has no text: 't' is missing",
    ),
    "a number for a text": ("a.jsonl", '{"t": 3}\n', {"text": "t"}, "Line 1 of .* has no text: 't' is 3"),
    "a missing rating": ("a.csv", "u,i,r\na,b,1\na,c,\n", {"triplets": "u,i,r"}, "Line 3 .* no number: 'r' is missing"),
    "a missing user": ("a.csv", "u,i,r\n,b,1\n", {"triplets": "u,i,r"}, "Line 2 of .* has no 'u'"),
    "a negative rating": (
        "a.csv",
        "u,i,r\na,b,1\na,c,-2\n",
        {"triplets": "u,i,r"},
        "Line 3 .* has the rating -2; expect",
    ),
    "words for a rating": (
        "a.csv",
        "u,i,r\na,b,good\n",
        {"triplets": "u,i,r"},
        "Line 2 of .*'r' is 'good'; expected a fin",
    ),
    "an infinite rating": (
        "a.csv",
        "u,i,r\na,b,inf\n",
        {"triplets": "u,i,r"},
        "'r' is 'inf'; expected a finite number",
    ),
    "two strata": (
        "a.csv",
        "u,i,s\na,b,x\na,c,y\n",
        {"triplets": "u,i", "strata": "s"},
        "'a' in .* has two strata, 'x' and 'y'; a row",
    ),
    "duplicates": ("a.csv", "u,i\na,b\n", {"triplets": "u,i", "duplicates": "max"}, "duplicates='max' is not valid"),
    "one triplet": ("a.csv", "u,i\na,b\n", {"triplets": "u"}, "triplets='u' is not valid; expected"),
    "the same twice": ("a.csv", "u,i\na,b\n", {"triplets": "u,u,i"}, "expected names of different columns"),
    "text for a number": (
        "a.csv",
        CSV,
        {},
        "Line 2 of .*'text' is 'ab cd'; expected a finite number; .* such as text='text', and that of their",
    ),
    "an empty cell": ("a.csv", "a,b\n1,\n", {}, "Line 2 of .* has no number: 'b' is missing"),
    "labels for numbers": ("a.csv", "a,b\n1,x\n", {}, "'b' is 'x'.*; name a column of groups by strata='NAME', of row"),
    "Latin-1": (
        "a.csv",
        "text\nab\nf\xfcr\n".encode("latin-1"),
        {"text": "text"},
        "byte 0xfc in line 3 .* encoding='latin-1'",
    ),
    "UTF-16": ("a.csv", CSV.encode("utf-16"), {"text": "text"}, "not a text file in UTF-8.*encoding='utf-16'"),
    "ASCII": (
        "a.csv",
        "text\n\xfc\n",
        {"text": "text", "encoding": "ascii"},
        "not a text file in ascii: the byte 0xc3",
    ),
    "an encoding": ("a.csv", CSV, {"text": "text", "encoding": "latin-99"}, "encoding='latin-99' is not an encoding"),
    "a ragged row": ("a.csv", CSV + "gh,z\n", {"text": "text"}, "Line 4 of .* has 2 fields and the header 3"),
    "a long row": ("a.csv", CSV + "g,h,z,1\n", {"text": "text"}, "Line 4 of .* has 4 fields and the header 3"),
    "mixed delimiters": (
        "a.csv",
        CSV + "gh;z;1\n",
        {"text": "text"},
        "Line 4 .* 1 field .*seems to be delimited by ';'",
    ),
    "an open quote": (
        "a.csv",
        'text,n\n"ab,1\nc,2\n',
        {"text": "text"},
        "Line 3 of .* cannot be read .*close its quotes",
    ),
    "a delimiter": (
        "a.csv",
        CSV,
        {"text": "text", "delimiter": "::"},
        "delimiter='::' is not valid; expected one char",
    ),
    "nothing": ("a.csv", "", {"text": "text"}, "is empty; give a table whose first line names the columns"),
    "blank lines": ("a.csv", "\n\n", {"text": "text"}, "is empty"),
    "nothing in JSON": ("a.jsonl", "", {"text": "text"}, "is empty; give JSON Lines"),
    "a header": ("a.csv", "text,group\n", {"text": "text"}, "has column names but no rows"),
    "a header of numbers": ("a.csv", "a,b\n", {}, "has column names but no rows"),
    "two columns of a name": ("a.csv", "a,a\n1,2\n", {}, "has 2 columns 'a'; give each its own name"),
    "no JSON": ("a.jsonl", '{"t": "a"}\n{"t": \n', {"text": "t"}, "Line 2 of .* is not JSON"),
    "a JSON array": ("a.jsonl", '[{"t": "a"}]\n', {"text": "t"}, "Line 1 of .* is a list; give one object per line"),
    "other keys": (
        "a.jsonl",
        '{"a": 1}\n{"a": 1, "b": 2}\n',
        {},
        "Line 2 of .* has different keys from the first, such as 'b'",
    ),
    "no gzip": ("a.csv.gz", CSV, {"text": "text"}, "ends in .gz and is not a whole gzip file"),
    "half a gzip": ("a.csv.gz", gzip.compress(CSV.encode() * 99)[:-20], {"text": "text"}, "is not a whole gzip file"),
    "gzip by another name": ("a.csv", gzip.compress(CSV.encode()), {"text": "text"}, "is compressed with gzip"),
    "only stop words": (
        "a.csv",
        "t\nthe\n",
        {"text": "t", "vectorizer": {"stop_words": "english"}},
        "yield no matrix: empty voc",
    ),
    "an option": (
        "a.csv",
        CSV,
        {"text": "text", "vectorizer": {"min_dff": 2}},
        "'min_dff' is not a parameter .*did you mean 'min_df'",
    ),
    "a value": (
        "a.csv",
        CSV,
        {"text": "text", "vectorizer": {"min_df": "two"}},
        "The 'min_df' parameter of CountVectorizer",
    ),
    "counts": ("a.csv", CSV, {"text": "text", "vectorizer": {"counts": 1}}, "counts=1 is not valid"),
    "formula": ("a.csv", CSV, {"text": "text", "vectorizer": {"tfidf": "log"}}, "tfidf='log' is not known"),
    "two formulas": (
        "a.csv",
        CSV,
        {"text": "text", "vectorizer": {"tfidf": "max", "norm": "l1"}},
        "tfidf='max' is a formula of its own, to which norm",
    ),
    "files of texts": ("a.csv", CSV, {"text": "text", "vectorizer": {"input": "file"}}, "has input='file'"),
    "text and triplets": ("a.csv", CSV, {"text": "text", "triplets": "a,b"}, "text and triplets are both given"),
    "a kind": ("a.csv", CSV, {"kind": "words"}, "kind='words' is not valid; expected one of 'texts'"),
    "no text": ("a.csv", CSV, {"kind": "texts"}, "kind='texts' needs text"),
    "a layer of a table": (
        "a.csv",
        CSV,
        {"layer": "counts"},
        "layer='counts' is for cells, but .* is read as table",
    ),
    "a vectorizer of numbers": ("a.csv", CSV, {"vectorizer": {}}, "vectorizer={} is for texts"),
    "a text of a matrix": ("a.npy", b"", {"text": "text"}, "text='text' is for texts, but .* is read as matrix"),
    "a source": ("a.csv", CSV, {"source": {"kind": "texts"}}, "expected the source of what fastnmf.read returned"),
    "labels": ("a.csv", "a\n1\n2\n", {"strata": np.array([1, 2, 3])}, "strata has 3 labels for 2 rows"),
    "an empty matrix file": ("a.npy", b"", {}, "cannot be read as a .npy matrix"),
    "other arrays": ("a.npz", altered.npy(np.eye(2)), {}, "cannot be read as a .npz matrix"),
    "text in a matrix": ("a.npy", altered.npy(np.array([["a"]])), {}, "only real numbers"),
    "no HDF5": ("a.h5", b"junk", {}, "cannot be read as HDF5"),
    "no AnnData": ("a.h5ad", b"junk", {}, "cannot be read as HDF5"),
    "no Parquet": ("a.parquet", b"junk", {"text": "text"}, "cannot be read as Parquet"),
}


@pytest.mark.parametrize(("name", "content", "options", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(name, content, options, message, tmp_path):
    for ending, package in ((".h5ad", "anndata"), (".h5", "h5py"), (".parquet", "pyarrow")):
        if name.endswith(ending):
            pytest.importorskip(package)
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises((ValueError, TypeError), match=message) as refused:
        read(path, **options)
    said = str(refused.value)
    assert "\n" not in said and said.endswith((".", "?")) and len(said) < 400, said
    folder = tmp_path / "csr"
    if name.endswith((".csv", ".jsonl")):
        with pytest.raises((ValueError, TypeError)):
            read(path, **options, folder=folder)
        assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize(
    ("vectorizer", "message"),
    [(HashingVectorizer(), "vectorizer is a HashingVectorizer; expected a dict"), ("english", "vectorizer is a str")],
)
def test_other_vectorizers_are_refused(vectorizer, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        read(write_table(tmp_path / "posts.csv", POSTS), text="text", vectorizer=vectorizer)


def test_a_name_that_is_a_column_and_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "posts.csv", POSTS)
    (tmp_path / "group").write_text("1\n2\n3\n1\n2\n3\n")
    with pytest.raises(ValueError, match="strata='group' is both a column of posts.csv and a file; write './group'"):
        read("posts.csv", text="text", strata="group")
    assert read("posts.csv", text="text", strata="./group").strata.tolist() == [1, 2, 3, 1, 2, 3]
    with pytest.raises(ValueError, match="group has 6 labels for 1 rows"):
        read(write_table(tmp_path / "short.csv", {"text": ["ab cd"]}), text="text", strata=tmp_path / "group")
    with pytest.raises(FileNotFoundError):
        read("nowhere.csv", text="text")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("a.parquet", "pyarrow.parquet", "io"), ("a.h5ad", "anndata", "anndata"), ("a.h5", "h5py", "anndata")],
)
def test_a_missing_package_is_named_with_its_command(name, package, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModuleNotFoundError, match=rf"not installed: pip install fastnmf\[{extra}\]\.$") as refused:
        read(tmp_path / name)
    assert refused.value.name == package.split(".")[0]


def test_delimiters_encodings_and_marks(tmp_path):
    for name, options in (
        ("a.csv", {"delimiter": ";"}),
        ("b.csv", {"delimiter": "\t"}),
        ("c.csv", {"encoding": "utf-8-sig"}),
        ("d.csv", {"encoding": "utf-16"}),
    ):
        path = write_table(tmp_path / name, POSTS, **options)
        found = read(path, text="text", strata="group", encoding={"d.csv": "utf-16"}.get(name))
        assert found.texts.tolist() == TEXTS and found.strata.tolist() == GROUPS
    long = write_table(tmp_path / "long.csv", {"text": ["word " * 40_000, "b c"]})  # Python's limit is 131,072
    assert read(long, text="text", vectorizer={"counts": True}).data.max() == 40_000


def test_what_a_header_declares_takes_no_memory(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    head = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        file.write(bytes(64))
    sp.save_npz(tmp_path / "a.npz", sp.coo_array(([1.0], ([0], [0])), shape=(2 * 10**9, 2)))
    market = "%%MatrixMarket matrix {} real general\n{}\n1 1 1.0\n"
    for name, form, sizes in (
        ("entries.mtx", "coordinate", "5 5 2000000000"),
        ("dense.mtx", "array", "1000000 1000000"),
        ("rows.mtx", "coordinate", "2000000000 5 1"),
    ):
        (tmp_path / name).write_text(market.format(form, sizes))
    for path in sorted(tmp_path.iterdir()):
        with (
            pytest.raises(ValueError, match=r"declares|cannot be read as a .npy") as refused,
            altered.no_more_memory_than(path),
        ):
            read(path)
        assert "memory" not in str(refused.value)
