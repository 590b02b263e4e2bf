"""What the privacy layer's checks cost a request for which no policy is in force, timed by themselves.

Such a request meets: one look whether callers are to be identified, one look whether it is a stream, the rule for
`private_clip` in its sampling, and one look for it on each token. Nothing else of the layer runs, or is imported.
"""

import timeit

from hetero.server.calls import Calls
from hetero.server.interceptors import EdgeInterceptor
from hetero.types import SamplingParams

TOKENS = 4
_REPEATS = 20_000


def off_path_seconds() -> float:
    """Seconds a request of `TOKENS` tokens, the best of several passes."""
    edge, sampling, request = EdgeInterceptor(Calls(), _unused), SamplingParams(), object()

    def checks() -> None:
        if edge.identifies or hasattr(request, "__aiter__") or sampling.private_clip < 0:
            raise AssertionError("nothing of this holds without a policy")
        for _ in range(TOKENS):
            if sampling.private_clip > 0:
                raise AssertionError("nothing of this holds without a policy")

    return min(timeit.repeat(checks, number=_REPEATS, repeat=5)) / _REPEATS


async def _unused(error: Exception) -> None:
    """Stands where a server is told of errors."""
