"""Where a model's files are: a folder, the embedded model, or a hub id fetched into the hub's own cache.

Knows names and places; does not read the files.
"""

import re
from importlib.resources import files
from pathlib import Path

from hetero.errors import ModelError

#: Half of an id as the hub allows it.
_ID_PART = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,94}\w)?", re.ASCII)
#: What is fetched of a hub's repository; weights in other formats stay there.
_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*/config.json"]
#: The same weights once more, under other names or in folders of other programs.
_COPIES = ["consolidated*", "*/*.safetensors"]


def resolve(model: str) -> Path:
    """The folder of `model`: an existing folder, "tiny" (the embedded model) or a hub id OWNER/NAME.

    The hub is asked only for an id; HF_HUB_OFFLINE=1 keeps to what was fetched before. Raises ModelError.
    """
    path = _path(model)
    if path.is_dir():
        return path.resolve()
    if model == "tiny":
        return _embedded()
    if path.exists():
        raise ModelError(f"{model} is a file: give the folder that holds the model's config.json.")
    if not _is_hub_id(model):
        raise ModelError(f"{model} is neither a folder, nor 'tiny', nor a hub id of the form OWNER/NAME.")
    return _fetch(model)


def _path(model: str) -> Path:
    """The path of that name. Raises ModelError where one cannot even look whether something is there."""
    try:
        path = Path(model).expanduser()
        path.exists()
        return path
    except (OSError, RuntimeError) as error:  # a name too long, a folder that is shut, a home that nobody has
        why = getattr(error, "strerror", None) or error
        raise ModelError(f"{model} cannot be looked at ({why}): give a folder, or a hub id.") from None


def _embedded() -> Path:
    folder = Path(str(files("hetero") / "tiny"))
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} lacks the embedded model: install the package again.")
    return folder


def _is_hub_id(model: str) -> bool:
    owner, slash, name = model.partition("/")
    return bool(slash) and all(_ID_PART.fullmatch(part) and ".." not in part for part in (owner, name))


def _fetch(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=_PATTERNS, ignore_patterns=_COPIES))
    except GatedRepoError:
        raise ModelError(f"{model} is gated: accept its terms on the hub and log in with 'hf auth login'.") from None
    except RepositoryNotFoundError:
        raise ModelError(f"{model} is not on the hub, or not visible without 'hf auth login'.") from None
    except LocalEntryNotFoundError:
        raise ModelError(
            f"{model} is not in the local hub cache and the hub cannot be reached: fetch it while online, "
            "or give a folder."
        ) from None
    except Exception as error:
        raise ModelError(f"{model} could not be fetched from the hub ({error}): give a folder instead.") from error
