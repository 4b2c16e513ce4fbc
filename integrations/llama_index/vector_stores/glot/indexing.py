"""Documents into a `GlotVectorStore`: denoised, cut into nodes, embedded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

from llama_index.core import Settings, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import run_transformations
from llama_index.core.schema import Document, MetadataMode, TransformComponent
from llama_index.embeddings.glot import GlotEmbedding
from llama_index.node_parser.glot import GlotDenoiser
from llama_index.vector_stores.glot.base import GlotVectorStore
from llama_index.vector_stores.glot.nodes import SOURCE_ID

from glot_rag.documents.groups import groups_of
from glot_rag.errors import InputError
from glot_rag.index.kept_denoiser import choose_denoiser
from glot_rag.index.store.directory import DENOISER_NAME

if TYPE_CHECKING:
    from glot_rag import Denoiser


def index_documents(
    documents: Sequence[Document],
    store: GlotVectorStore,
    *,
    embed_model: BaseEmbedding,
    transformations: Sequence[TransformComponent] | None = None,
    denoise: Union[bool, Denoiser, GlotDenoiser, None] = None,  # noqa: UP007
    show_progress: bool = False,
    **kwargs: Any,
) -> VectorStoreIndex:
    """As `VectorStoreIndex.from_documents`, with the noise dropped before documents are cut into nodes.

    A new store of 50 documents or more fits a `Denoiser` to them: what recurs from one to the next, such as the menu of
    their site, is dropped. A document's group is its sender, the host of its URL or its folder, as its metadata have
    it. Nodes hold the clean text, and where it stood in the document, as `GlotDenoiser` says.

    The nodes of a document that is in the store already, by its id, are replaced once the new ones are stored.

    The denoiser is kept in the store's directory. The index that is returned has it as its first transformation, so
    `index.insert` takes it as well; so does another call over the same store, with more documents or with none:
    `index_documents([], store, embed_model=…)` opens the index again.

    Args:
        documents: N of them.
        store: Where their nodes go.
        embed_model: The store's embedding.
        transformations: What cuts the clean documents; None is `Settings.transformations`, a sentence splitter.
        denoise: False indexes documents as they are. True drops noise from fewer than 50 as well, by a denoiser that is
            not fitted. A `Denoiser` or `GlotDenoiser` is used as it is. None fits one to 50 documents or more, unless
            `GlotEmbedding(denoise=False)` embeds them or torch is not installed, which is logged.
        show_progress: Draw LlamaIndex's progress bars.
        kwargs: As `VectorStoreIndex.from_documents`.

    Raises:
        InputError: A document without text, such as an image; `denoise` is not what the store was filled with; another
            kind of store.
        MissingExtraError, ModelNotFoundError: `denoise=True` without torch, or without the model.
        IndexReadOnlyError: The store is read-only.
    """
    if not isinstance(store, GlotVectorStore):
        raise InputError(
            f"store must be a GlotVectorStore, got {type(store).__name__}; for others put "
            "llama_index.node_parser.glot.GlotDenoiser before the node parser"
        )
    cut = list(transformations or Settings.transformations)
    index = store.client or store._index.of_dimension(len(embed_model.get_text_embedding("dimension")))
    chosen = choose_denoiser(
        index,
        denoise.denoiser if isinstance(denoise, GlotDenoiser) else denoise,
        [document.get_content(metadata_mode=MetadataMode.NONE) for document in documents],
        groups_of([document.metadata for document in documents]),
        wanted=not (isinstance(embed_model, GlotEmbedding) and embed_model.denoise is False),
    )
    if chosen is not None:
        cut.insert(0, GlotDenoiser(model_name=str(index.path / DENOISER_NAME)))
    before = index.ids({SOURCE_ID: {"$in": [each.id_ for each in documents]}}) if documents else []
    storage = StorageContext.from_defaults(vector_store=store)
    for each in documents:
        storage.docstore.set_document_hash(each.id_, each.hash)
    nodes = run_transformations(list(documents), cut, show_progress=show_progress, **kwargs)
    made: VectorStoreIndex = VectorStoreIndex(
        nodes=nodes,
        storage_context=storage,
        show_progress=show_progress,
        transformations=cut,
        embed_model=embed_model,
        **kwargs,
    )
    if replaced := set(before) - {node.node_id for node in nodes}:
        index.delete(sorted(replaced))
    return made
