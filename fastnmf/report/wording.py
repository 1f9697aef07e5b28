"""Choose the words by which the page calls features, topics and rows."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastnmf.data.annotated import is_annotated
from fastnmf.data.readings import Readings
from fastnmf.data.sentences import shown


@dataclass(frozen=True)
class Wording:
    """The words of one field, singular and plural."""

    kind: str
    feature: str
    features: str
    topic: str
    topics: str
    row: str
    rows: str


WORDINGS = {
    words[0]: Wording(*words)
    for words in (
        ("text", "word", "words", "topic", "topics", "document", "documents"),
        ("cells", "gene", "genes", "programme", "programmes", "cell", "cells"),
        ("ratings", "item", "items", "factor", "factors", "user", "users"),
        ("rows", "feature", "features", "component", "components", "row", "rows"),
    )
}
_OF_SOURCE = {"texts": "text", "cells": "cells", "triplets": "ratings"}


def wording_of(kind, model, X):
    """Return the `Wording` of a kind of data; None: of the kind that the model's `source_`, or X, tells, or of rows."""
    if kind is not None:
        if not isinstance(kind, str) or kind not in WORDINGS:
            raise ValueError(f"kind={shown(kind)} is not known; expected one of {', '.join(map(repr, WORDINGS))}.")
        return WORDINGS[kind]
    source = getattr(model, "source_", getattr(X, "source", None))
    found = _OF_SOURCE.get(source.get("kind")) if isinstance(source, Mapping) else None
    if found is None:
        found = "cells" if is_annotated(X) and not isinstance(X, Readings) else "rows"
    return WORDINGS[found]
