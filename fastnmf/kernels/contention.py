"""Tell when one thread is faster than several: beside other programs that keep the cores busy.

The result of a kernel does not depend on the number of threads, so that a fit may change it at any moment.
"""

import os
import time

WINDOW = 0.02  # seconds of launches that are judged together: one late thread alone decides nothing
# Seconds in one thread after a window in which several did not pay; they double as long as the next windows are alike.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
# Cores that several threads must have had together. One thread has one core; the rest pays for launches and waits.
LEAST_CORES = 1.25
IS_MEASURED = os.name == "posix"  # Windows counts processor time in steps of 16 ms, whatever resolution it names


class Contention:
    """Measures how many cores launches in several threads had, and tells when kernels should run in one thread.

    A launch ends when all its threads have. One that shares a core with another program, or with another thread of the
    launch, comes milliseconds late: two threads beside one busy core then had less than one core together, where one
    thread has a core to itself.

    Attributes
    ----------
    paused_until : float
        Time (``time.perf_counter``) until which kernels run in the calling thread alone.
    """

    def __init__(self):
        self.paused_until, self._pause, self._launched, self._used = 0.0, FIRST_PAUSE, 0.0, 0.0

    @property
    def is_paused(self):
        """Whether kernels run in the calling thread alone at the moment."""
        return self.paused_until > 0.0 and time.perf_counter() < self.paused_until

    def note(self, seconds, processor_seconds):
        """Note a launch, and judge those since the last judgement where they suffice.

        Parameters
        ----------
        seconds, processor_seconds : float
            Of the launch, and of all threads of the process meanwhile.
        """
        self._launched += seconds
        self._used += processor_seconds
        if self._launched < WINDOW:
            return
        if IS_MEASURED and self._used < LEAST_CORES * self._launched:
            self.paused_until, self._pause = time.perf_counter() + self._pause, min(2.0 * self._pause, LONGEST_PAUSE)
        else:
            self._pause = FIRST_PAUSE
        self._launched = self._used = 0.0
