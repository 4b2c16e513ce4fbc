"""Classify noisy pages: GLOT against mean pooling, with and without noisy copies of the training texts.

    python examples/classify_noisy.py

Which topic is a piece of Python's documentation about? The classifiers learn from clean texts. Then they get texts in
which four of five words are menus, cookie notices and footers. Offline. Install `glot-rag[minilm,classify]` for it.
"""

from __future__ import annotations

import importlib
import inspect
import tempfile

from glot_rag import GlotClassifier
from glot_rag.evaluation import NoiseSpec, corrupt

TOPICS = {
    "numbers": ("statistics", "random", "fractions", "decimal", "math"),
    "network": ("socket", "ssl", "smtplib", "http.client", "http.cookiejar", "urllib.request", "ftplib"),
    "concurrency": ("threading", "asyncio", "multiprocessing.pool", "queue", "concurrent.futures", "selectors"),
    "files": ("pathlib", "shutil", "zipfile", "tarfile", "tempfile", "mmap"),
}
A_TOPIC = 40  # texts for each topic: few, so that it runs in a minute


def documentation() -> list[tuple[str, str]]:
    """(text, topic) of functions, classes and methods, without repetitions."""
    found: dict[str, str] = {}
    for topic, modules in TOPICS.items():
        for module in map(importlib.import_module, modules):
            for _, value in inspect.getmembers(module, callable):
                members = [value, *(vars(value).values() if inspect.isclass(value) else [])]
                for member in members:
                    text = " ".join((inspect.getdoc(member) or "").split()[:40]) if callable(member) else ""
                    if len(text.split()) >= 12 and str(getattr(member, "__module__", "")).startswith(module.__name__):
                        found.setdefault(text, topic)
    few = {topic: [text for text in found if found[text] == topic][:A_TOPIC] for topic in TOPICS}
    return [(text, topic) for topic, texts in few.items() for text in texts]


def main() -> None:
    pairs = documentation()
    texts, topics = [text for text, _ in pairs], [topic for _, topic in pairs]
    held_out = range(0, len(texts), 4)
    train = [number for number in range(len(texts)) if number % 4]
    clean = [texts[number] for number in held_out]
    noisy = [each.text for each in corrupt(clean, NoiseSpec.parse("boilerplate:0.8"), seed=0, max_words=0)]
    answers = [topics[number] for number in held_out]
    print(f"{len(train)} texts to learn from, {len(clean)} to classify, {len(TOPICS)} topics\n")
    print(f"A noisy text: {' '.join(noisy[0].split()[:24])} …\n")
    print("accuracy                        clean   80% boilerplate")
    for title, pooling, noisy_views in [("mean", "mean", 0), ("glot", "glot", 0), ("glot, noisy views", "glot", 1)]:
        classifier = GlotClassifier(
            "minilm",
            pooling,
            noisy_views=noisy_views,
            epochs=6,
            batch_size=16,
            learning_rate=2e-3,
            max_tokens=96,
        )
        classifier.fit([texts[number] for number in train], [topics[number] for number in train])
        scores = [classifier.score(given, answers) for given in (clean, noisy)]
        print(f"{title:30}  {scores[0]:5.1%}   {scores[1]:5.1%}")

    with tempfile.TemporaryDirectory() as folder:
        classifier.save(folder)  # JSON and safetensors; no pickle
        loaded = GlotClassifier.load(folder)
        assert list(loaded.predict(noisy[:8])) == list(classifier.predict(noisy[:8]))
    print("\nSaved and loaded: the same answers")


if __name__ == "__main__":
    main()
