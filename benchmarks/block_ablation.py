"""What each part of the block graph head is worth: the same data and steps with one part left out or replaced.

    python benchmarks/block_ablation.py --documents documents.jsonl.gz --cache DIR --json block_ablation.json

Learns from the training pages, measures on the validation pages: the head is calibrated on half of their hosts, and a
block stays below its document's own threshold. Parts of the blocks' level are compared on block means (one token a
block), which is many times as fast; the token graph and its readout on all tokens, from the same head.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from train_blocks import MEANS_TOKENS, calibrated, prepared, read, states_of

from glot_rag.denoise.block_noise import SKIM
from glot_rag.evaluation.block_measures import WEB
from glot_rag.head.block_graph import BlockGraphConfig, BlockGraphHead
from glot_rag.models.backbone import Backbone
from glot_rag.training.block_noise import BlockDocument, BlockTraining, block_means, train_blocks

logger = logging.getLogger("block_ablation")


class PlainTransformer(BlockGraphHead):
    """Every block hears every other: a transformer in the place of convolutions and graph. Place is in the layout."""

    def __init__(self, config: BlockGraphConfig) -> None:
        super().__init__(replace(config, block_graph=False))
        size = config.hidden_size
        layer = nn.TransformerEncoderLayer(size, 4, 2 * size, config.dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, config.block_layers, enable_nested_tensor=False)
        self.neighbours = self.norms = self.whole = nn.ModuleList()

    def _rounds(self, nodes: Tensor, mask: Tensor, graph: Tensor | None) -> Tensor:
        heard: Tensor = self.encoder(nodes, src_key_padding_mask=~mask)
        return heard * mask[..., None]


class AdaPoolReadout(BlockGraphHead):
    """AdaPool's readout in the place of the token graph and its gates: a softmax over the tokens of a block."""

    def __init__(self, config: BlockGraphConfig) -> None:
        super().__init__(replace(config, token_layers=0))
        self.scores = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size), nn.Tanh(), nn.Linear(config.hidden_size, 1, bias=False)
        )

    def _weights(self, tokens: Tensor) -> Tensor:
        return torch.exp(self.scores(tokens).clamp(max=20))


FULL = BlockGraphConfig(state_size=384, dropout=0.3)
BLOCK_LEVEL: dict[str, Callable[[], BlockGraphHead]] = {
    "full": lambda: BlockGraphHead(FULL),
    "without layout": lambda: BlockGraphHead(replace(FULL, layout_size=0)),
    "without states": lambda: BlockGraphHead(replace(FULL, state_size=0)),
    "without the block graph": lambda: BlockGraphHead(replace(FULL, block_graph=False)),
    "without counts": lambda: BlockGraphHead(replace(FULL, count_size=0)),
    "plain transformer over blocks": lambda: PlainTransformer(FULL),
}
TOKEN_LEVEL: dict[str, Callable[[], BlockGraphHead]] = {
    "full": lambda: BlockGraphHead(FULL),
    "without the token graph": lambda: BlockGraphHead(replace(FULL, token_layers=0)),
    "AdaPool readout": lambda: AdaPoolReadout(FULL),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, required=True, help="what gather_blocks.py wrote")
    parser.add_argument("--cache", type=Path, required=True, help="folder of hidden states")
    parser.add_argument("--epochs", type=int, default=5, help="over block means")
    parser.add_argument("--token-epochs", type=int, default=1, help="over all tokens; 0 leaves that level out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    records = [r for r in read(options.documents) if r["kind"] in WEB]
    documents = prepared(records, states_of(records, options.cache, FULL.layer, Backbone.load("minilm"), SKIM))
    rows = [
        [i for i, r in enumerate(records) if r["part"] == part and len(documents[i].block)]
        for part in ("train", "validation")
    ]
    train, held = ([documents[i] for i in each] for each in rows)
    held_records = [records[i] for i in rows[1]]
    results: dict[str, dict[str, Any]] = {"blocks": {}, "tokens": {}}

    def measured(level: str, name: str, head: BlockGraphHead, on: list[BlockDocument]) -> None:
        found = calibrated(head, on, held_records)
        results[level][name] = {
            "f1": found["f1"]["pages"],
            "news": found["f1"]["news"],
            "calibration_error": found["calibration_error"][1],
            "parameters": sum(each.numel() for each in head.parameters()),
        }
        logger.info("%s, %s: %s", level, name, json.dumps(results[level][name]))
        if options.json:
            options.json.write_text(json.dumps({"seed": options.seed, **results}, indent=1) + "\n", encoding="utf-8")

    def fresh(make: Callable[[], BlockGraphHead]) -> BlockGraphHead:
        torch.manual_seed(options.seed)
        return make()

    means, held_means = ([block_means(each) for each in part] for part in (train, held))
    by_means = BlockTraining(options.epochs, batch_tokens=MEANS_TOKENS, seed=options.seed)
    for name, make in BLOCK_LEVEL.items():
        head = fresh(make)
        measured("blocks", name, train_blocks(head.config, means, by_means, start=head), held_means)
    if options.token_epochs:
        by_tokens = BlockTraining(options.token_epochs, 1e-3, seed=options.seed)
        for name, make in TOKEN_LEVEL.items():
            head = fresh(make)
            head = train_blocks(head.config, means, replace(by_means, epochs=2), start=head)
            measured("tokens", name, train_blocks(head.config, train, by_tokens, start=head), held)


if __name__ == "__main__":
    main()
