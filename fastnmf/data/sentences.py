"""Parts of the sentences in which a value is refused, and names that are cut to a length."""

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


def cut(name, longest, mark="\u2026"):
    """Return a name of at most `longest` characters, whose end gives way to a mark where it has more."""
    return name if len(name) <= longest else name[: max(longest - len(mark), 1)] + mark


def cut_all(names, longest, mark="\u2026"):
    """Return names as `cut`, or cut in the middle where names that differ at their ends would look the same."""
    found = [cut(name, longest, mark) for name in names]
    if len(set(found)) == len(set(names)):
        return found
    end = max((longest - len(mark)) // 2, 1)
    begin = max(longest - len(mark) - end, 1)
    return [name if len(name) <= longest else name[:begin] + mark + name[-end:] for name in names]
