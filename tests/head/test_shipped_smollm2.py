"""The head that ships for SmolLM2: its vectors lie in MiniLM's space. Waits about 20 s for the decoder to load."""

from __future__ import annotations

from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.head import BaselinePooling, load_head
from glot_rag.models.backbone import Backbone
from glot_rag.models.registry import PRETRAINED

TEXTS = [
    "The Danube flows through ten countries, more than any other river in the world.",
    "The central bank raised interest rates again to bring inflation down.",
    "A sorting algorithm that compares elements cannot be faster than n log n.",
    "The lift of a thin wing grows with the angle of attack until the flow separates.",
    "Bread dough rises because yeast turns sugar into carbon dioxide.",
]
QUERIES = ["river in Europe", "monetary policy", "complexity of sorting", "aerodynamics of a wing", "baking with yeast"]


def test_documents_and_queries_find_each_other_and_minilms(smollm2: Backbone, minilm: Backbone) -> None:
    head, details = load_head(PRETRAINED / "smollm2")
    assert details["backbone_fingerprint"] == smollm2.fingerprint
    assert details["teacher_fingerprint"] == minilm.fingerprint
    student, teacher = TorchEncoder(smollm2, head), TorchEncoder(minilm, BaselinePooling("mean", 384))
    documents = student.encode_documents(TEXTS)
    own = list(range(len(TEXTS)))
    for other in (
        student.encode_queries(QUERIES),
        teacher.encode_queries(QUERIES),
        teacher.encode_documents(TEXTS),
    ):
        assert (other @ documents.T).argmax(axis=1).tolist() == own
