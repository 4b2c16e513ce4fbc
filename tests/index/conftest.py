import functools

import pytest
from hash_encoder import HashEncoder

from glot_rag.index import GlotIndex


@pytest.fixture
def encoder():
    return HashEncoder()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def index(path, encoder):
    with GlotIndex.create(path, encoder) as made:
        yield made


@pytest.fixture
def figures(record_property):
    """Takes the counts that a test reports; they are printed at the end of the run."""
    return functools.partial(record_property, "figure")
