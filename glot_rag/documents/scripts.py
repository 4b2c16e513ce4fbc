"""Scripts that put no spaces between words: their letters, and where sentences and clauses end in them."""

from __future__ import annotations

# Han, Hiragana and Katakana: a word has about two characters.
IDEOGRAPHS = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U0003fffd"
)
# Thai, Lao, Myanmar and Khmer: about four, vowel signs included. A space there ends a phrase or a sentence.
PHRASED = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u1049\u1050-\u109f\u1780-\u17d3"
FULL_STOPS = "。！？｡።។៕။"  # end a sentence without a space after them
CLOSERS = "」』】〉》〕）］｣”’"  # closing quotes and brackets that may follow them
CLAUSE_ENDS = "，、；：,;:"

# Single characters that prose is full of and menus are not: particles, pronouns, copulas, endings.
FUNCTION_CHARACTERS = frozenset(
    "的是在了和有我不这這他她它们們就也都到说說个個与與为為从從而及其或被把对對着著过過吗嗎呢吧啊"
    "がをにでとのもはへやかられただすまなうし"
)
