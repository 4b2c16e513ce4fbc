"""Hidden states -> token graph: the tokens of one text, joined where their states are alike.

GLOT (arXiv 2603.03389), section 3: S = cos(X, X), an edge j -> i where S[i, j] > tau. The graph is dense enough
that a boolean matrix is its cheapest form, and it serves as the mask of the graph layers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Rows of a (L, L) matrix that are worked on at once. Floats are held for these rows only, so the memory of a long
# text is L² bytes for the graph and BLOCK·L floats for the rest, not several L² floats.
BLOCK = 1024


def blockwise(rows: Callable[[slice], Tensor], length: int, block: int = BLOCK) -> Tensor:
    """Concatenate `rows(slice)` over blocks of 0..length along dimension 1. One call where everything fits."""
    if torch.compiler.is_compiling() or length <= block:  # an exported graph has one form for every length
        return rows(slice(0, length))
    return torch.cat([rows(slice(i, min(i + block, length))) for i in range(0, length, block)], dim=1)


def all_real(mask: Tensor) -> bool:
    """Whether there is no padding, so that masking, a copy of all states, can be left out.

    Asked on a CPU only: a GPU would have to be waited for. A graph that is traced has one form for every mask.
    """
    return mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all())


def token_graph(states: Tensor, mask: Tensor, threshold: float) -> Tensor:
    """Join the real tokens whose cosine similarity exceeds the threshold.

    Args:
        states: X, (B, L, D), any floating dtype.
        mask: (B, L) boolean, True for real tokens, wherever they stand (left or right padding).
        threshold: tau.

    Returns:
        (B, L, L) boolean A; A[b, i, j] where token j speaks to token i. Symmetric. The diagonal is set for every
        real token; padding has no edges. Similarities are computed in float32, since a flipped edge changes the vector.
    """
    unit = torch.nn.functional.normalize(states.float(), dim=-1)

    def rows(block: slice) -> Tensor:
        return torch.matmul(unit[:, block], unit.transpose(1, 2)) > threshold

    edges = blockwise(rows, states.shape[1])
    # A state's cosine with itself may round to less than a threshold close to 1: the diagonal is set, not computed.
    edges = edges | torch.eye(states.shape[1], dtype=torch.bool, device=states.device)
    return edges if all_real(mask) else edges & mask[:, :, None] & mask[:, None, :]
