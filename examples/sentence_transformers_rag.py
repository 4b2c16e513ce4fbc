"""GLOT inside sentence-transformers: what mean pooling and GLOT find in noisy notes. Offline, seconds.

The notes are a support team's: one useful line each, between log output and mail footers. GLOT is fitted to the notes
first: it counts what recurs in them, and drops it inside the transformer. The module `GlotTransformer` does that, in
the place of sentence-transformers' `Transformer`. At the end the model is saved and loaded again.

Some sixty notes show how it is used, not how much better it is. For that, see `glot-rag evaluate`.
"""

from __future__ import annotations

import random
import tempfile
import warnings

from sentence_transformers_glot import from_encoder, load
from transformers.utils import logging

from glot_rag import TorchEncoder

SEED = 0
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
# Most tickets are about something else: a thing in a room.
THINGS = ["A lamp", "A chair", "The heating", "A window", "The blind", "A socket", "The clock"]
ROOMS = [
    "in the canteen",
    "in room 101",
    "in room 207",
    "in the lobby",
    "in the workshop",
    "in the archive",
    "upstairs",
]
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
    notes = NOTES | {f"{thing} {room}": f"{thing} {room} was repaired." for thing in THINGS for room in ROOMS}
    documents = [noisy(text, source) for text in notes.values()]
    print(f"One of {len(documents)} notes:\n{documents[7]}\n")

    encoder = TorchEncoder.from_pretrained(denoise=False)
    models = {
        "mean": from_encoder(encoder.with_pooling("mean")),
        "glot": from_encoder(encoder),
        "fitted": from_encoder(encoder.fit(documents)),
    }
    print(f"Modules: {', '.join(type(module).__name__ for module in models['fitted'])}\n")

    names, texts = list(notes), list(notes.values())
    vectors = {name: model.encode_document(documents) for name, model in models.items()}
    right = dict.fromkeys(models, 0)
    for question, answer in QUESTIONS.items():
        print(question)
        for name, model in models.items():
            scores = model.similarity(model.encode_query(question), vectors[name])[0]
            best = int(scores.argmax())
            right[name] += names[best] == answer
            if name != "glot":
                print(f"  {name:7} {'*' if names[best] == answer else ' '} {scores[best]:.2f} {texts[best]}")
    print(f"\nThe answer (*) first: {', '.join(f'{name} {n} of {len(QUESTIONS)}' for name, n in right.items())}.")

    with tempfile.TemporaryDirectory() as folder:
        models["fitted"].save(folder)  # with the counts, without any text
        again = load(folder)  # SentenceTransformer(folder) would want trust_remote_code=True
    same = float(abs(again.encode_document(documents) - vectors["fitted"]).max())
    print(f"Saved and loaded: the largest difference of a number is {same:.0e}.")


if __name__ == "__main__":
    main()
