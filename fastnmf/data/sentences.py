"""Parts of the sentences in which a value is refused."""

import difflib


def shown(value):
    """Return the repr of a user's value for a sentence: on one line, and no longer than 100 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:96]} ..."


def nearest(word, known):
    """Return the known name that is most like a word, whatever its case; None where none is like it."""
    names = {str(name).lower(): name for name in known}
    near = difflib.get_close_matches(str(word).lower(), names, 1)
    return names[near[0]] if near else None
