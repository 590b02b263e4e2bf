"""The time that windows of budgets and audit records go by: it does not follow a wall clock that is set meanwhile.

That it never goes back over a restart is the ledger's and the audit log's matter: they know the latest time they saw.
"""

import time

_WALL_AT_START = time.time()
#: Goes on while the machine sleeps, where there is such a clock.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_STEADY_AT_START = time.clock_gettime(_STEADY)


def steady_clock() -> float:
    """Unix seconds: the wall clock as this process found it, advanced by time that nobody can set."""
    return _WALL_AT_START + time.clock_gettime(_STEADY) - _STEADY_AT_START
