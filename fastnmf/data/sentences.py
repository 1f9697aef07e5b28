"""Parts of the sentences in which a value is refused."""


def shown(value):
    """Return the repr of a user's value for a sentence: on one line, and no longer than 100 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:96]} ..."
