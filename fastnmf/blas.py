"""BLAS beside our kernels: one thread, so that its bits do not depend on the machine and its threads do not spin."""

import threading
from contextlib import contextmanager

import threadpoolctl


class _Blas:
    """Hold BLAS at one thread while anyone inside a block needs it; the last to leave restores what was set.

    A product on several threads leaves OpenBLAS's others spinning for a tenth of a second: as long as a whole fit,
    and until then each of our launches waits for the core that they hold (iterations of 7 ms took 16).

    OpenBLAS has one setting for the whole process, and recent threadpoolctl lets only the first Python thread that
    used it change it; here one lock serves all threads, so that claim is cleared.
    """

    def __init__(self):
        self.lock, self.users, self.limit, self.controller = threading.Lock(), 0, None, None

    @contextmanager
    def __call__(self):
        with self.lock:
            if self.users == 0:
                self.controller = self.controller or threadpoolctl.ThreadpoolController()
                _clear_claim()
                self.limit = self.controller.limit(limits=1, user_api="blas")
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if self.users == 0:
                    _clear_claim()
                    self.limit.restore_original_limits()
                    _clear_claim()


def _clear_claim():
    openblas = getattr(threadpoolctl, "OpenBLASController", None)
    clear = getattr(openblas, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


single_threaded_blas = _Blas()
