"""What the privacy layer's checks cost a request for which no policy is in force, timed by themselves.

Such a request meets: one look whether callers are to be identified, one look whether it is a stream, the rule for
`private_clip` in its sampling, twice, and on each token two looks for it and a mask of the rows that are not private.
Nothing else of the layer runs, or is imported. `off_against` counts what runs, here and in an older version.
"""

import timeit

import numpy as np

from hetero.server.calls import Calls
from hetero.server.interceptors import EdgeInterceptor
from hetero.types import SamplingParams

TOKENS = 4
_REPEATS = 20_000


def off_path_seconds() -> float:
    """Seconds a request of `TOKENS` tokens, the best of several passes."""
    edge, sampling, request = EdgeInterceptor(Calls(), _unused), SamplingParams(), object()
    winners = np.zeros(1, np.float32)

    def checks() -> None:
        if edge.identifies or hasattr(request, "__aiter__"):
            raise AssertionError("nothing of this holds without a policy")
        for _ in range(2):
            clip = sampling.private_clip
            if not (isinstance(clip, int | float) and not isinstance(clip, bool) and clip >= 0) or clip > 0:
                raise AssertionError("nothing of this holds without a policy")
        for _ in range(TOKENS):
            if sampling.private_clip > 0 or sampling.private_clip != 0:
                raise AssertionError("nothing of this holds without a policy")
            winners[np.array([row.private_clip == 0 for row in (sampling,)], np.bool_)]

    return min(timeit.repeat(checks, number=_REPEATS, repeat=5)) / _REPEATS


async def _unused(error: Exception) -> None:
    """Stands where a server is told of errors."""
