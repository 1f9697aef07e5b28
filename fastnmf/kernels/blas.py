"""Keep BLAS on one thread during a fit: its bits then do not depend on the machine, and idle threads do not spin."""

import threading
from contextlib import contextmanager

import threadpoolctl


class _Blas:
    """Context manager that sets BLAS to one thread; when the last open block ends, it restores the previous setting.

    After a product on several threads, the other threads of OpenBLAS spin for a tenth of a second, which is as long as
    a whole fit. Until then they occupy cores that the kernels need: iterations of 7 ms took 16 ms.

    OpenBLAS has one setting for the whole process, so one lock and one record serve all Python threads. An interrupt
    can come between any two lines. The previous setting is therefore recorded before it is changed, and `_enter` and
    `_leave` can both be repeated: a second call of `_leave` restores what a first, interrupted call did not.
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
        with self.lock: self._hold(user)  # fmt: skip  # noqa: E701 (as in `jit.Kernel.__call__`)

    def _leave(self, user):
        with self.lock: self._release(user)  # fmt: skip  # noqa: E701

    def _hold(self, user):
        self.users.add(user)
        if self.before is None:
            self.libraries = self.libraries or _libraries()
            self.before = [library.num_threads for library in self.libraries]
            for library in self.libraries:
                _set(library, 1)

    def _release(self, user):
        self.users.discard(user)
        if not self.users and self.before is not None:
            for library, n_threads in zip(self.libraries, self.before, strict=True):
                _set(library, n_threads)
            self.before = None


def _libraries():
    """Return the controllers that threadpoolctl has for the loaded BLAS libraries."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


def _set(library, n_threads):
    """Set the number of threads of a library.

    Recent versions of threadpoolctl let only the Python thread that set the number first set it again. The record of
    that thread is therefore cleared before and after.
    """
    _clear_claim()
    library.set_num_threads(n_threads)
    _clear_claim()


def _clear_claim():
    openblas = getattr(threadpoolctl, "OpenBLASController", None)
    clear = getattr(openblas, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


single_threaded_blas = _Blas()


def single_threaded_openmp():
    """Return a context in which OpenMP has one thread, on whose number sums of k-means of scikit-learn depend."""
    return threadpoolctl.threadpool_limits(1, user_api="openmp")
