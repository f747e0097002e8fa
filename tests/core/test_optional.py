"""Packages that only some parts need."""

import pytest

from probpose.core.errors import ConfigError
from probpose.core.optional import import_optional, import_torchvision_users


@pytest.mark.parametrize("importer", [import_optional, import_torchvision_users])
def test_a_missing_package_says_how_to_install_it(importer):
    with pytest.raises(ConfigError, match=r"no_such_package: expected an installed package.*probpose\[mesh\]"):
        importer("no_such_package")


def test_the_extra_is_named():
    with pytest.raises(ConfigError, match=r"probpose\[book\]"):
        import_optional("no_such_package", "book")
