"""Which worker a stage gets. Knows the two kinds; imports engines, so that it comes last."""

from hetero.backends.base import SliceSpec
from hetero.pipeline.worker import StageWorker


def make_worker(spec: SliceSpec, engine: str, is_first: bool, is_last: bool) -> StageWorker:
    """A worker that stops rows at exits where the spec names some. Raises ModelError or BackendError."""
    if spec.exits is None:
        return StageWorker(spec, engine, is_first, is_last)
    from hetero.pipeline.exiting import ExitingWorker

    return ExitingWorker(spec, engine, is_first, is_last)
