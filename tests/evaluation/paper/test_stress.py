"""The stress test's texts keep what their protocol promises; the run trains every pooling on real states."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from rich.console import Console

from glot_rag.classification.classifier import build_pooling
from glot_rag.errors import DatasetError, InputError
from glot_rag.evaluation.paper.experiment import ExperimentSettings
from glot_rag.evaluation.paper.results import ExperimentReport, print_experiment
from glot_rag.evaluation.paper.stress import StressSettings, run_stress
from glot_rag.evaluation.paper.stress_texts import CONTEXTS, MODIFIERS, NOUNS, noise_words, stress_texts
from glot_rag.evaluation.report.charts import save_stress_picture
from glot_rag.head.fit import FitConfig
from glot_rag.models.backbone import Backbone

NOISE = {0.2: 25, 0.5: 64, 0.9: 115}  # of 128


@pytest.mark.parametrize("ratio", NOISE)
@pytest.mark.parametrize("task", ["negation", "binding"])
def test_strict_texts_give_nothing_away_by_length_or_noise(ratio: float, task: str) -> None:
    drawn = stress_texts(200, ratio, seed=3, task=task)
    assert Counter(drawn.labels) == {0: 100, 1: 100}
    phrases = {*NOUNS, *MODIFIERS, *" ".join(CONTEXTS).split()}
    for text, label in zip(drawn.texts, drawn.labels, strict=True):
        words = text.split()
        assert len(words) == NOISE[ratio] + 6
        nouns = [word for word in words if word in NOUNS]
        modifiers = [word for word in words if word in MODIFIERS]
        [context] = [context for context in CONTEXTS if f" {context} " in f" {text} "]
        noise = [word for word in words if word not in phrases]
        assert len(words) == len(noise) + len(nouns) + len(modifiers) + len(context.split())
        if task == "negation":
            assert (len(nouns), len(modifiers)) == (1, 1 - label)
        else:
            assert (len(nouns), len(modifiers)) == (2, 1)
            assert sorted(noun in NOUNS[:3] for noun in nouns) == [False, True]
            bound = words[words.index(modifiers[0]) + 1]
            assert label == int(bound in NOUNS[:3])


def test_the_papers_texts_leak_as_the_authors_do() -> None:
    drawn = stress_texts(400, 0.5, seed=0, protocol="paper")
    lengths = {
        label: {
            len(text.split()) - len(next(c for c in CONTEXTS if c in text).split())
            for text, own in zip(drawn.texts, drawn.labels, strict=True)
            if own == label
        }
        for label in (0, 1)
    }
    assert lengths == {1: {64 + 1}, 0: {64 + 1 + 11}}
    positive = [text for text, label in zip(drawn.texts, drawn.labels, strict=True) if label == 1]
    assert any(" not " in text for text in positive)
    assert "not" in noise_words("paper")
    assert not {*MODIFIERS} & {*noise_words("strict")}


def test_a_long_text_of_the_paper_is_128_words_of_its_count() -> None:
    drawn = stress_texts(100, 0.95, seed=0, protocol="paper")
    for text, label in zip(drawn.texts, drawn.labels, strict=True):
        context = next(c for c in CONTEXTS if c in text)
        assert len(text.split()) - len(context.split()) + 1 == (123 if label else 128)


def test_the_seed_decides() -> None:
    assert stress_texts(20, 0.5, seed=1) == stress_texts(20, 0.5, seed=1)
    assert not {*stress_texts(20, 0.5, seed=1).texts} & {*stress_texts(20, 0.5, seed=2).texts}


BINDING = stress_texts(6, 0.2, seed=1, task="binding").texts


@pytest.mark.parametrize("pooling", ["mean", "max", "adapool", "glot"])
def test_where_states_know_no_context_no_pooling_can_tell_what_a_modifier_binds_to(pooling: str) -> None:
    words = {word: number for number, word in enumerate(sorted(set(" ".join(BINDING).split())))}
    table = torch.nn.functional.normalize(torch.randn(len(words), 24, generator=torch.Generator().manual_seed(0)))

    def vector(text: list[str]) -> torch.Tensor:
        states = table[[words[word] for word in text]][None]
        with torch.no_grad():
            return net(states, torch.ones(states.shape[:2], dtype=torch.bool)).vector[0]

    torch.manual_seed(0)
    net = build_pooling(pooling, 24)
    for text in BINDING:
        one = text.split()
        (modifier,) = (word for word in one if word in MODIFIERS)
        first, second = (word for word in one if word in NOUNS)
        bound = one[one.index(modifier) + 1]
        other = [word for word in one if word != modifier]
        other.insert(other.index(second if bound == first else first), modifier)  # a text of the other class
        assert sorted(other) == sorted(one)
        assert other != one
        torch.testing.assert_close(vector(other), vector(one), atol=1e-5, rtol=0)
        assert not torch.allclose(vector(one[::2]), vector(one), atol=1e-4)  # another bag of words


@pytest.fixture(scope="module")
def report(minilm: Backbone) -> ExperimentReport:
    settings = ExperimentSettings(
        ("mean", "adapool", "glot"),
        seeds=2,
        fit=FitConfig(epochs=2),
        learning_rates=(1e-3, 5e-3),
        head={"hidden_size": 16, "num_layers": 1},
    )
    return run_stress(minilm, StressSettings((0.2, 0.5), train=32, validation=16, test=16, experiment=settings))


def test_each_pooling_is_measured_at_each_ratio_with_each_seed(report: ExperimentReport) -> None:
    results = json.loads(report.to_json())["results"]
    assert [(each["ratio"], each["pooling"]) for each in results] == [
        (ratio, pooling) for ratio in (0.2, 0.5) for pooling in ("mean", "adapool", "glot")
    ]
    for each in results:
        assert each["metric"] == "accuracy"
        assert each["value"] == pytest.approx(sum(each["values"]) / 2)
        assert each["spread"] == pytest.approx(abs(each["values"][0] - each["values"][1]) / 2**0.5)
        assert all(value * 16 == int(value * 16) for value in each["values"])
        assert set(each["epochs"]) <= {1, 2}
        assert set(each["learning_rates"]) <= {1e-3, 5e-3}
    # 384·128 + 128 and 128 + 1 of the readout; a GAT layer of 16: 384·16, four vectors of 16 (att_src, att_dst,
    # att_edge, bias) and lin_edge; its readout reads 400.
    assert [each["parameters"] for each in results[:3]] == [0, 49409, 400 * 128 + 257 + 384 * 16 + 5 * 16]


def test_the_table_and_the_picture(report: ExperimentReport, tmp_path: Path) -> None:
    console = Console(width=100, record=True, file=open(tmp_path / "out", "w"))  # noqa: SIM115
    print_experiment(report, console)
    shown = console.export_text()
    assert "20%" in shown
    value = report.result("glot", 0.5)
    assert f"{100 * value.value:.1f} ± {100 * value.spread:.1f}" in shown
    report.save(tmp_path / "report.json")
    assert ExperimentReport.load(tmp_path / "report.json") == report
    with pytest.raises(DatasetError, match="is not a report of `glot-rag stress` or `glue`"):
        ExperimentReport.load(tmp_path / "out")
    save_stress_picture([report, report], tmp_path / "stress.png")
    assert (tmp_path / "stress.png").read_bytes().startswith(b"\x89PNG")
    for name in ("a.svg", "b.svg"):
        save_stress_picture([report], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        save_stress_picture([report], tmp_path / "stress.gif")


def test_the_global_random_state_is_left_alone(minilm: Backbone) -> None:
    settings = ExperimentSettings(("glot",), 1, fit=FitConfig(epochs=1), learning_rates=(1e-3,))
    before = torch.random.get_rng_state()
    run_stress(minilm, StressSettings((0.2,), train=8, validation=4, test=4, experiment=settings))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_in_the_papers_protocol_the_epoch_is_chosen_on_the_test_texts(minilm: Backbone) -> None:
    config = StressSettings(
        (0.2,),
        "paper",
        train=16,
        validation=2,
        test=8,
        experiment=ExperimentSettings(("mean",), 1, fit=FitConfig(epochs=3), learning_rates=(1e-3,)),
    )
    report = run_stress(minilm, config)
    assert "epoch chosen on the test texts" in report.title
    assert report.settings["protocol"] == "paper"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratios": (1.0,)}, "ratio of distractors must be between 0 and 1; got 1.0"),
        ({"ratios": (0.5, 0.5)}, "different ratios"),
        ({"protocol": "loose"}, "protocol must be one of strict, paper; got 'loose'"),
        ({"task": "rhyme"}, "task must be one of"),
        ({"task": "binding", "protocol": "paper"}, "binding task is not the paper's"),
        ({"train": 1}, "at least 2 texts; got 1"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StressSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"poolings": ("mean", "median")}, "pooling must be one of"),
        ({"poolings": ("mean", "mean")}, "different names"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"learning_rates": (0.0,)}, "learning_rate must be above 0"),
        ({"head": {"threshold": 3.0}}, r"threshold \(tau\) must be in"),
        ({"layers": (2, -1)}, "several layers are for glot and adapool alone"),
    ],
)
def test_experiment_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExperimentSettings(**settings)  # type: ignore[arg-type]
