"""`GlotLoader`: what the library reads, as LangChain's documents."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from langchain_glot import GlotLoader
from langchain_text_splitters import CharacterTextSplitter

from glot_rag.errors import DatasetError

PAGE = "<html><head><title>Kettles</title></head><body><nav><a>Home</a></nav><p>It boils a litre.</p></body></html>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docs"
    made.mkdir()
    (made / "kettle.html").write_text(PAGE, encoding="utf-8")
    (made / "rows.jsonl").write_text('{"id": "a", "text": "one", "lang": "en"}\n{"text": "two"}\n', encoding="utf-8")
    (made / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    return made


def test_documents_with_ids_titles_and_a_report(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    loader = GlotLoader(folder)
    page, first, second = loader.load()
    assert (page.id, page.metadata["title"]) == ((folder / "kettle.html").resolve().as_posix(), "Kettles")
    assert page.page_content.splitlines() == ["Home", "It boils a litre."]
    assert (first.page_content, first.metadata["lang"], second.page_content) == ("one", "en", "two")
    assert second.id == f"{(folder / 'rows.jsonl').resolve().as_posix()}#2"
    assert [Path(each.place).name for each in loader.report.set_aside] == ["broken.pdf"]
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert warning.startswith("3 documents from 2 files\n1 set aside:\n")
    assert "broken.pdf: " in warning
    assert asyncio.run(_ids(loader)) == [page.id, first.id, second.id]
    assert loader.load_and_split(CharacterTextSplitter())[0].metadata["title"] == "Kettles"


async def _ids(loader: GlotLoader) -> list[str | None]:
    return [document.id async for document in loader.alazy_load()]


def test_strict_and_wrong_paths_are_errors(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"broken\.pdf"):
        GlotLoader(folder, strict=True).load()
    with pytest.raises(DatasetError, match="there is no such file or folder"):
        GlotLoader(folder / "none").load()
