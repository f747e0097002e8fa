"""The kernels need Warp."""

import pytest

from probpose.core.errors import ConfigError

pytest.importorskip("warp")


def test_without_warp_the_error_says_what_to_install(monkeypatch):
    import probpose.rendering.kernels as module

    def missing(name, extra="mesh"):
        raise ConfigError(f"{name}: pip install 'probpose[{extra}]'")

    monkeypatch.setattr(module, "import_optional", missing)
    with pytest.raises(ConfigError, match="pip install"):
        module.import_warp.__wrapped__()
