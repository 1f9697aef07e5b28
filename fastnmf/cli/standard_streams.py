"""Standard streams of the command line: a closed one is empty, and progress that nobody reads ends no command."""

import io
import os
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout

_OF_TERMINALS = ("surrogateescape", "utf-8")  # errors and encoding with which nothing is lost


@contextmanager
def standard_streams():
    """Run the block with standard streams that are there, and a standard error whose reader may be gone.

    Python has None for a stream that the caller closed. Files of the command would get its number, and what other
    packages print would go into them; so a closed one is opened again, in the order of the numbers.
    """
    before = sys.stdin
    sys.stdin = _there(sys.stdin, "r")
    try:
        with redirect_stdout(_there(sys.stdout, "w")), redirect_stderr(Diagnostics(_there(sys.stderr, "w"))):
            if isinstance(sys.stdout, io.TextIOWrapper) and (sys.stdout.errors, sys.stdout.encoding) != _OF_TERMINALS:
                sys.stdout.reconfigure(errors="backslashreplace")  # names need not be of the encoding of the terminal
            yield
    finally:
        sys.stdin = before


def _there(stream, mode):
    return open(os.devnull, mode, encoding="utf-8") if stream is None else stream


class Diagnostics:
    """Standard error, of which what cannot be written is dropped: a fit must not end because nobody reads of it.

    Parameters
    ----------
    stream : text file
    """

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        """Write a text, or drop it."""
        try:
            self._stream.write(text)
        except OSError:
            self._drop()
        return len(text)

    def flush(self):
        """Write what is in the buffer, or drop it."""
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self):
        """Let what is still in the buffer, and all that comes, go nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name):
        return getattr(self._stream, name)
