import pytest


@pytest.fixture
def no_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the interval on the reported split, which is most of a certificate's time."""
    monkeypatch.setattr("eat.traces.quality.paired_share_interval", lambda *_: (0.0, 0.0))
