"""Where calibration reports lie beside their model, and how they are read and written: one, or one for each mode.

Knows files; what a report says is `adaptive.report`'s.
"""

from pathlib import Path

from adaptive.errors import AdaptiveError
from adaptive.modes import ExitMode
from adaptive.report import CalibrationReport, read_report
from hetero.errors import ModelError
from hetero.exits.storage import REPORT, exits_folder


def read_stored_report(folder: Path, mode: ExitMode | None = None) -> CalibrationReport | None:
    """The report beside the model, of a decoder that of `mode`; None where there is none.

    Raises AdaptiveError where it cannot be read.
    """
    path = _path(folder, mode)
    try:
        return read_report(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise AdaptiveError(f"{path} cannot be read ({error}); run `hetero calibrate` again") from None


def write_report(folder: Path, report: CalibrationReport, mode: ExitMode | None = None) -> Path:
    """Write the report beside the exits, whole or not at all. Raises ModelError where that cannot be."""
    path = _path(folder, mode)
    draft = path.with_suffix(".new")
    try:
        path.parent.mkdir(exist_ok=True)
        draft.write_text(report.text(), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be written ({error.strerror}); copy the model to a folder of yours") from None
    return path


def _path(folder: Path, mode: ExitMode | None) -> Path:
    return exits_folder(folder) / (REPORT if mode is None else f"report-{mode}.json")
