"""`GlotLoader`: LangChain's document loader over the formats that this library reads."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from glot_rag.documents.loaders import HtmlText
from glot_rag.documents.reading import DocumentReader, ReadReport, read_documents

logger = logging.getLogger(__name__)


class GlotLoader(BaseLoader):
    """Load files and folders of any format that `glot-rag index` reads, one after the other, within .gz and .zip too.

    Lines are kept as they are in the file. A document's id is its file's absolute path (`path#number` for a row, line
    or message), and `metadata` hold `source`, `title` and whatever else the file says of itself.

    Args:
        paths: one path or several.
        html: "all" is the whole visible text of a web page, for `GlotDenoiser` to clean; "main" leaves navigation and
            footers out by the markup.
        encoding: of files that are not UTF-8 and do not declare a charset.
        rows: a row of CSV is a document; False: the file is one.
        strict: a file that cannot be read is an error; otherwise it is set aside, with the reason in `report`, and a
            warning is logged.

    Attributes:
        report: what became of the files of the last load.

    Raises:
        InputError: an unknown value of an option.
        DatasetError: while loading: a path that does not exist; with `strict`, what cannot be read.

    Example:
        >>> from langchain_glot import GlotLoader
        >>> documents = GlotLoader("docs/").load()  # doctest: +SKIP
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        html: HtmlText = "all",
        encoding: str | None = None,
        rows: bool = True,
        strict: bool = False,
    ) -> None:
        self._paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        self._html = html
        self._encoding = encoding
        self._rows = rows
        self._strict = strict
        self.report = ReadReport()

    def lazy_load(self) -> Iterator[Document]:
        """Read one document at a time."""
        reader = self._reader()
        self.report = reader.report
        for document in reader:
            yield Document(id=document.id, page_content=document.text, metadata=dict(document.metadata))
        if reader.report.set_aside:
            logger.warning("%s", "\n".join(reader.report.lines()))

    def _reader(self) -> DocumentReader:
        return read_documents(
            self._paths, html=self._html, encoding=self._encoding, rows=self._rows, strict=self._strict
        )
