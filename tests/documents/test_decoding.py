from __future__ import annotations

from io import BytesIO

import pytest

from glot_rag.documents import decoding
from glot_rag.documents.decoding import check_encoding, decode, decode_stream
from glot_rag.errors import DatasetError, InputError

TEXT = "Grüße, 5 € — 水 😀\nline two\n"


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be"])
def test_a_byte_order_mark_comes_first(name: str) -> None:
    mark = b"\xfe\xff" if name == "utf-16-be" else b""
    assert decode(mark + TEXT.encode(name), declared="cp1252", encoding="latin-1")[::2] == (TEXT, 0)


def test_then_utf8_then_what_is_declared_then_what_is_given() -> None:
    assert decode(TEXT.encode(), declared="cp1252", encoding="cp1252").text == TEXT
    data = "It’s “fine”".encode("cp1252")
    assert decode(data, declared="windows-1252", encoding="cp1251").text == "It’s “fine”"
    assert decode(data, declared="iso-8859-1").text == "It’s “fine”"  # as every browser takes it
    assert decode(data, declared="no-such-charset", encoding="cp1252").text == "It’s “fine”"
    assert decode("Москва".encode("koi8-r"), encoding="koi8-r") == ("Москва", "koi8-r", 0)
    # A declaration that can be read as ASCII is not in UTF-16.
    assert decode(data, declared="utf-16", encoding="cp1252").text == "It’s “fine”"


def test_nothing_is_guessed() -> None:
    with pytest.raises(DatasetError, match=r"not UTF-8: byte 0xe9 at offset 3, and no charset is declared; pass"):
        decode(b"caf\xe9 au lait")


def test_damaged_utf8_is_read_and_counted() -> None:
    data = ("Grüße " * 100).encode() + b"\xff" + b" end"
    assert decode(data, declared="utf-8") == ("Grüße " * 100 + "\ufffd end", "utf-8", 1)


@pytest.mark.parametrize("name", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_stream_is_decoded_in_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for piece in (5, 16, 64):
        monkeypatch.setattr(decoding, "PIECE", piece)
        found = list(decode_stream(BytesIO((TEXT * 20).encode(name))))
        assert "".join(each.text for each in found) == TEXT * 20
        assert len(found) > 1
        assert sum(each.replaced for each in found) == 0
    monkeypatch.setattr(decoding, "PIECE", 7)  # a line longer than a piece
    assert "".join(each.text for each in decode_stream(BytesIO(("水😀ü" * 50).encode(name)))) == "水😀ü" * 50


def test_unknown_encodings_are_refused() -> None:
    assert check_encoding(None) is None
    with pytest.raises(InputError, match="unknown encoding 'utf9'"):
        check_encoding("utf9")
    with pytest.raises(InputError, match="unknown encoding 'base64'"):
        check_encoding("base64")
