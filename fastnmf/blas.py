"""BLAS beside our kernels: one thread, so that its bits do not depend on the machine and its threads do not spin."""

import threading
from contextlib import contextmanager

import threadpoolctl


class _Blas:
    """Hold BLAS at one thread while anyone inside a block needs it; the last to leave restores what was set.

    A product on several threads leaves OpenBLAS's others spinning for a tenth of a second: as long as a whole fit,
    and until then each of our launches waits for the core that they hold (iterations of 7 ms took 16).

    OpenBLAS has one setting for the whole process, so one lock and one record serve all Python threads. An interrupt
    may come between any two lines: what was set is recorded before it is changed, and both ways in and out can be run
    again, so leaving twice restores what a first, interrupted leaving did not.
    """

    def __init__(self):
        self.lock, self.users, self.libraries, self.before = threading.Lock(), set(), None, None

    @contextmanager
    def __call__(self):
        user = object()
        try:
            try:
                self._enter(user)
                yield
            finally:
                self._leave(user)
        finally:
            self._leave(user)

    def _enter(self, user):
        with self.lock:
            self.users.add(user)
            if self.before is None:
                self.libraries = self.libraries or _libraries()
                self.before = [library.num_threads for library in self.libraries]
                for library in self.libraries:
                    _set(library, 1)

    def _leave(self, user):
        with self.lock:
            self.users.discard(user)
            if not self.users and self.before is not None:
                for library, n_threads in zip(self.libraries, self.before, strict=True):
                    _set(library, n_threads)
                self.before = None


def _libraries():
    """Return what threadpoolctl knows of the BLAS libraries that are loaded."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


def _set(library, n_threads):
    """Set the threads of a library; recent threadpoolctl lets only the Python thread that did so first do it again."""
    _clear_claim()
    library.set_num_threads(n_threads)
    _clear_claim()


def _clear_claim():
    openblas = getattr(threadpoolctl, "OpenBLASController", None)
    clear = getattr(openblas, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


single_threaded_blas = _Blas()
