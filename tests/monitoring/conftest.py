import copy

import pytest

from tests.made.guarded import Model, certificate_for, make_model
from tests.made.models import EXIT, Batch, make_batches


@pytest.fixture(scope="module")
def certified() -> Model:
    model = make_model(exit=EXIT)
    model.config.certificate = certificate_for(model)
    return model


@pytest.fixture
def model(certified: Model) -> Model:
    """Copy the certified model, which a test may change."""
    return copy.deepcopy(certified)


@pytest.fixture
def batch() -> Batch:
    return make_batches(16, 16, seed=3)[0]
