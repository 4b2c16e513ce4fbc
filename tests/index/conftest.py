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


_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def figures(request):
    """Takes the counts that a test reports; they are printed at the end of the run."""
    return request.config.stash.setdefault(_FIGURES, []).append


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(_FIGURES, []):
        terminalreporter.write_line(f"index: {line}")
