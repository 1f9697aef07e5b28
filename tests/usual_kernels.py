"""The list of the kernels of usual fits, `fastnmf/kernels/usual.txt`.

``FASTNMF_NUMBA_CACHE=0 python tests/usual_kernels.py --write`` writes it, from the fits of `fastnmf.warmup`. In a group
the kernels that take longest to compile stand first, so that several processes end at about the same time; without the
variable they would be loaded from the disk cache, in no time.
"""

import argparse
import re
import sys
import time
from contextlib import contextmanager
from types import ModuleType

import numba

from fastnmf.kernels import ahead, jit


def word_of(kind):
    """Return the word of the list that stands for a Numba type."""
    if isinstance(kind, numba.types.BaseNamedTuple):
        return f"{kind.instance_class.__name__}({','.join(map(word_of, kind))})"
    if isinstance(kind, numba.types.Array):
        return f"{kind.dtype}:{kind.ndim}{kind.layout}{'' if kind.mutable else 'r'}"
    return str(kind)


def line_of(kernel, tasks, args):
    """Return the line of the list for a kernel and its arguments."""
    module = kernel.__wrapped__.__module__.rpartition(".")[2]
    return " ".join([f"{module}.{kernel.__name__}", *(word_of(numba.typeof(each)) for each in (tasks, *args))])


@contextmanager
def recorded():
    """Yield a dict of the lines of the kernels used in the block: line -> seconds that it took to load or compile."""
    lines, load, launcher, kernels = {}, jit.Kernel._load, jit._launcher, []

    def load_and_record(self, key, tasks, args):
        began = time.process_time()
        found = load(self, key, tasks, args)
        lines[line_of(self, tasks, args)] = time.process_time() - began
        return found

    def launcher_recorded():
        lines.setdefault("jit._launcher", 0.0)
        return launcher()

    for name, module in list(sys.modules.items()):
        if name.startswith("fastnmf.kernels.") and isinstance(module, ModuleType):
            kernels += [each for each in vars(module).values() if isinstance(each, jit.Kernel)]
    entries = {id(kernel): kernel._entries for kernel in kernels}
    for kernel in kernels:
        kernel._entries = {}
    jit.Kernel._load, jit._launcher = load_and_record, launcher_recorded
    try:
        yield lines
    finally:
        jit.Kernel._load, jit._launcher = load, launcher
        for kernel in kernels:
            kernel._entries = entries[id(kernel)] | kernel._entries


def groups_of(dtype):
    """Return group -> lines -> seconds, for fits of data of a type; a line is in the first group that needs it."""
    from fastnmf.cli.warmup import FITS

    found = {}
    for name, fit in FITS.items():
        with recorded() as lines:
            fit(dtype)
        before = {line for known in found.values() for line in known}
        found[name] = {line: took for line, took in lines.items() if line not in before}
    return found


def main():
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    is_written, text = parser.parse_args().write, []
    for group, lines in groups_of("float32").items():
        ordered = sorted(lines, key=lines.get, reverse=True)
        text += [f"[{group}]", *(re.sub(r"\bfloat32\b", "X", line) for line in ordered)]
    if is_written:
        ahead.LIST.write_text("\n".join(text) + "\n", encoding="ascii")
    print("\n".join(text))


if __name__ == "__main__":
    main()
