"What a page shows."

from types import SimpleNamespace

import pytest

from probpose.core.errors import ConfigError
from probpose.ledger.results import Result, record
from probpose.studies.page import Page


def test_a_page_that_borrows_everything_says_what_it_waits_for(tmp_path, monkeypatch):
    alone = Result("head_to_head", "mine", "full", 0, [record("mdn_", "time", 3.0)])
    monkeypatch.setattr("probpose.studies.page.results_folders", lambda: [tmp_path])
    page = Page(SimpleNamespace(chapter="head_to_head", dataset="mine", done={}, result=lambda: alone))
    with pytest.raises(ConfigError, match="run those chapters first"):
        _ = page.results
