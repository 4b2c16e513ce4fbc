"""Token pruning in every family of transformers that it accepts, against the model's own forward pass.

The models are random and tiny; sliding windows are shorter than the texts, so that they have a say.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from glot_rag.errors import UnsupportedError
from glot_rag.models.layers import FAMILIES, LayerCalls, Layers, in_two_dtypes
from glot_rag.models.pruning import Pruning, mix, run_layers

NUM_LAYERS, WIDTH, LENGTH = 4, 32, 21
_ENCODER = {"hidden_size": WIDTH, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": NUM_LAYERS}
_DECODER = {**_ENCODER, "num_key_value_heads": 2, "head_dim": 8}
_WINDOWS = {"sliding_window": 5}
_ALTERNATING = {**_WINDOWS, "layer_types": ["sliding_attention", "full_attention"] * 2}
_POSITIONS = {"max_position_embeddings": 64}
# name of the test -> model type, settings
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", _ENCODER),
    "roberta": ("roberta", _ENCODER),
    "xlm-roberta": ("xlm-roberta", _ENCODER),
    "camembert": ("camembert", _ENCODER),
    "electra": ("electra", {**_ENCODER, "embedding_size": 16}),
    "mpnet": ("mpnet", _ENCODER),
    "distilbert": ("distilbert", {"dim": WIDTH, "hidden_dim": 48, "n_heads": 4, "n_layers": NUM_LAYERS}),
    "modernbert": ("modernbert", {**_ENCODER, "local_attention": 6, "global_attn_every_n_layers": 2}),
    "gpt2": ("gpt2", {"n_embd": WIDTH, "n_layer": NUM_LAYERS, "n_head": 4, "n_positions": 64}),
    "llama": ("llama", _DECODER),
    "mistral": ("mistral", {**_DECODER, **_WINDOWS}),
    "qwen2": ("qwen2", {**_DECODER, **_ALTERNATING, "use_sliding_window": True}),
    "qwen3": ("qwen3", {**_DECODER, **_ALTERNATING, "use_sliding_window": True}),
    "smollm3": ("smollm3", {**_DECODER, "no_rope_layer_interval": 2}),
    "gemma": ("gemma", _DECODER),
    "gemma2": ("gemma2", {**_DECODER, **_ALTERNATING}),
    "gemma3": ("gemma3_text", {**_DECODER, **_ALTERNATING}),
    "embeddinggemma": ("gemma3_text", {**_DECODER, **_ALTERNATING, "use_bidirectional_attention": True}),
}
PADDING = {"none": (LENGTH,) * 3, "right": (LENGTH, 13, 1), "left": (LENGTH, 13, 1)}
AFTER = 1  # tokens leave before this layer; both kinds of layer lie above it

Make = Callable[[str, str], nn.Module]


@pytest.fixture(scope="module")
def make() -> Make:
    """A model of a family under an attention implementation, with the same weights for both."""
    made: dict[str, nn.Module] = {}

    def make_model(name: str, attention: str) -> nn.Module:
        if (key := f"{name} {attention}") not in made:
            kind, settings = MODELS[name]
            config = transformers.AutoConfig.for_model(
                kind, vocab_size=99, pad_token_id=0, bos_token_id=1, eos_token_id=2, **_POSITIONS, **settings
            )
            model = transformers.AutoModel.from_config(config, attn_implementation=attention)
            generator = torch.Generator().manual_seed(0)
            with torch.no_grad():  # larger than a fresh model's, whose attention is flat
                for path, parameter in model.named_parameters():
                    scale = 0.2 if parameter.ndim > 1 else 0.1
                    middle = 1.0 if parameter.ndim == 1 and path.endswith("weight") else 0.0  # of a normalisation
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale + middle)
            made[key] = model.eval().requires_grad_(False)
        return made[key]

    return make_model


def batch(padding: str) -> dict[str, Tensor]:
    lengths = PADDING[padding]
    ids = torch.randint(3, 99, (len(lengths), LENGTH), generator=torch.Generator().manual_seed(1))
    place = torch.arange(LENGTH)
    rows = [place >= LENGTH - length if padding == "left" else place < length for length in lengths]
    mask = torch.stack(rows)
    return {"input_ids": ids.where(mask, 0), "attention_mask": mask.long()}


def some(states: Tensor, mask: Tensor) -> Tensor:
    """Two tokens of three and the ends; but all of the second text."""
    generator = torch.Generator().manual_seed(2)
    keep = torch.rand(mask.shape, generator=generator) < 0.6
    keep[:, 0] = keep[:, -1] = True
    keep[1] = True
    return keep


def with_hidden(model: nn.Module, inputs: dict[str, Tensor], stays: Tensor, after: int) -> Tensor:
    """The oracle: the model's own forward pass, in which layers from `after` on see only some of the tokens."""
    layers = next(m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == NUM_LAYERS)

    def hide(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        given = dict(zip(inspect.signature(layer.forward).parameters, args, strict=False)) | kwargs
        first = next(iter(given))
        for name in ("attention_mask", "sliding_window_mask"):
            if name in given:
                mask = torch.zeros(()) if given[name] is None else given[name]
                given[name] = mask.masked_fill(~stays[:, None, None, :], torch.finfo(torch.float32).min)
        return (given.pop(first),), given

    handles = [layer.register_forward_pre_hook(hide, with_kwargs=True) for layer in layers[after:]]
    try:
        return model(**inputs).last_hidden_state
    finally:
        for handle in handles:
            handle.remove()


def difference(one: Tensor, expected: Tensor, where: Tensor) -> float:
    """The largest, relative to states that are larger than 1, as they are between a decoder's layers."""
    return float((one - expected)[where].abs().max() / expected[where].abs().max().clamp(min=1))


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_a_family(name: str, attention: str, padding: str, make: Make) -> None:
    if name in ("mpnet", "gemma2") and attention == "sdpa":
        pytest.skip("transformers has no such attention for this family")
    layers, inputs = Layers(make(name, attention)), batch(padding)
    model, mask = make(name, "eager"), inputs["attention_mask"].bool()
    out = model(**inputs, output_hidden_states=True)
    assert len(out.hidden_states) == NUM_LAYERS + 1
    expected = [*out.hidden_states[:-1], out.last_hidden_state]

    # Every layer's states are the model's own.
    states, _ = run_layers(layers, inputs, range(NUM_LAYERS + 1))
    for number in range(NUM_LAYERS + 1):
        assert difference(states[number], expected[number], mask) < 1e-5, number

    # A text of which nothing is dropped is as it was; one of which something is, as with those tokens masked.
    everything = Pruning((AFTER,), lambda _, mask: mask)
    pruning = Pruning((AFTER,), some)
    for shorten in (True, False):
        for wanted in ((), (NUM_LAYERS,)):
            _, (whole, pruned) = run_layers(layers, inputs, wanted, [everything, pruning], shorten=shorten)
            assert torch.equal(whole.stays, mask)
            assert 0 < pruned.stays.sum() < mask.sum()
            masked = with_hidden(model, inputs, pruned.stays, AFTER)
            assert difference(masked, expected[-1], pruned.stays) > 1e-2  # the dropped tokens had a say
            assert difference(whole.states, expected[-1], mask) < 1e-5
            assert difference(pruned.states, masked, pruned.stays) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_a_family_with_its_lower_layers_in_float32(name: str, make: Make) -> None:
    """A choice is made on states in float32; above it the layers run in bfloat16, over the tokens that stay."""
    attention = "eager" if name in ("mpnet", "gemma2") else "sdpa"
    exact, inputs = make(name, attention), batch("right")
    half = copy.deepcopy(exact).to(torch.bfloat16)
    seen: list[Tensor] = []

    def choose(states: Tensor, mask: Tensor) -> Tensor:
        seen.append(states)
        return some(states, mask)

    results = [
        run_layers(Layers(model), inputs, (NUM_LAYERS,), [Pruning((AFTER,), choose)])
        for model in (exact, in_two_dtypes(exact, half, AFTER), half)
    ]
    (whole, pruned), (mixed_whole, mixed), _ = ((states[0], kept[0].states) for states, kept in results)
    assert torch.equal(seen[1], seen[0])
    assert not torch.equal(seen[2].float(), seen[0])
    mask, stays = inputs["attention_mask"].bool(), results[0][1][0].stays
    for given, expected, where in ((mixed_whole, whole, mask), (mixed, pruned, stays)):
        assert not torch.equal(given.float(), expected)  # it was bfloat16
        assert torch.nn.functional.cosine_similarity(given.float(), expected, dim=-1)[where].min() > 0.99


def test_the_families_are_tested() -> None:
    assert {kind for kind, _ in MODELS.values()} == set(FAMILIES)


def test_other_families_are_refused() -> None:
    config = transformers.AlbertConfig(vocab_size=99, embedding_size=8, **_ENCODER)
    with pytest.raises(
        UnsupportedError, match=r"models of type 'albert' cannot be run layer by layer.*use one of bert"
    ):
        Layers(transformers.AlbertModel(config))
    with pytest.raises(UnsupportedError, match=r"BertForMaskedLM has no layers at 'encoder\.layer': expected the bare"):
        Layers(transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=99, **_ENCODER)))


def test_attention_without_a_mask_over_pairs_is_refused(make: Make) -> None:
    model = copy.deepcopy(make("bert", "sdpa"))
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UnsupportedError, match=r"attention is 'flash_attention_2'.*attn_implementation='sdpa'"):
        Layers(model)


def test_an_argument_that_cannot_be_narrowed_is_refused(make: Make) -> None:
    """A later version of transformers may give its layers something new: better no vector than a wrong one."""
    layers = Layers(make("llama", "sdpa"))
    prepare = layers.prepare

    def with_offsets(**inputs: Tensor) -> LayerCalls:
        calls = prepare(**inputs)
        calls.arguments[2]["offsets"] = torch.zeros(3, LENGTH)
        return calls

    layers.prepare = with_offsets  # type: ignore[method-assign]
    with pytest.raises(UnsupportedError, match="'offsets', which cannot be narrowed"):
        run_layers(layers, batch("right"), (), [Pruning((AFTER,), some)])


def test_layers_above_those_that_are_wanted_do_not_run(make: Make) -> None:
    model = make("llama", "sdpa")
    ran: list[int] = []
    handles = [
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, layer in enumerate(model.layers)
    ]
    run_layers(Layers(model), batch("right"), (0, 2))
    assert ran == [0, 1]
    run_layers(Layers(model), batch("right"), (1,), [Pruning((1,), some)])
    assert ran == [0, 1, 0, 1, 2, 3]
    for handle in handles:
        handle.remove()


def test_a_text_that_loses_nothing_is_not_run_again_beside_the_whole_texts(make: Make) -> None:
    model = make("bert", "sdpa")
    sizes: list[tuple[int, ...]] = []
    handle = model.encoder.layer[3].register_forward_hook(lambda _, args, __: sizes.append(tuple(args[0].shape)))
    run_layers(Layers(model), batch("none"), (NUM_LAYERS,), [Pruning((AFTER,), some)])
    handle.remove()
    assert sizes[0] == (3, LENGTH, WIDTH)
    assert sizes[1][0] == 2
    assert sizes[1][1] < LENGTH


def test_mixing() -> None:
    kept, whole = torch.tensor([1.0, 4.0]), torch.tensor([3.0, 0.0])
    assert mix(kept, whole, 0.25).tolist() == [2.5, 1.0]
    assert torch.equal(mix(kept, whole, 0.0), whole)
