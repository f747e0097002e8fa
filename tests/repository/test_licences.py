"""What the package and its extras `mesh`, `photo` and `data` install is free for every use.

The licences are those that the packages behind them state in their metadata. One that is not on the list below is
refused until somebody has read it: it may only be new, or forbid what people do with poses for a living.
"""

import configparser
import re
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]

# Anybody may use, change and sell what is under these; MPL and LGPL ask for the source of their own files only.
FREE = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "HPND", "ISC"),
    *("LGPL-2.1-or-later", "LGPL-3.0-or-later", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0"),
    *("Unlicense", "Zlib"),
}
# How packages that do not write SPDX expressions name them, in the field License or in a classifier.
SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
RESTRICTED = re.compile(r"non-?\s?commercial(?!ly)|research (purposes|use)", re.I)
# They come with builds of torch for NVIDIA's cards, which somebody has chosen, and not with an extra.
WITH_TORCH = ("nvidia-", "cuda-")


def is_free(expression: str) -> bool:
    "Does an SPDX expression leave a way that is on the list? An exception (WITH) only permits more."
    plain = re.sub(r"\s+WITH\s+\S+?(?=[\s)]|$)", "", expression)
    words = re.findall(r"[()]|[^\s()]+", plain)
    operators = {"(": "(", ")": ")", "AND": "and", "OR": "or"}
    try:
        return bool(eval(" ".join(operators.get(word, str(word in FREE)) for word in words)))
    except SyntaxError:
        return False


def statements(metadata: Message) -> list[str]:
    "What metadata say about the licence: an expression, or else the field (where it is short) and the classifiers."
    if metadata.get("License-Expression"):
        return [metadata["License-Expression"]]
    field = (metadata.get("License") or "").strip()
    classifiers = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    title = field.partition("\n")[0]
    short = [title] if title == field and field or title in SPELLINGS else []  # of a whole text its title, where known
    return [SPELLINGS.get(text, text) for text in short + classifiers]


def refusal(metadata: Message) -> str | None:
    "Why a package is refused; None: it is free for every use."
    said = statements(metadata)
    if not said:
        return "says nothing"
    if RESTRICTED.search(metadata.get("License") or ""):
        return "restricts its use"
    return next((text for text in said if not is_free(text)), None)


def settings() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def asked_for(found: Distribution, extras: set[str]) -> Iterator[Requirement]:
    "What a package needs on this machine."
    for requirement in map(Requirement, found.requires or []):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def installed_with(key: str) -> dict[str, Distribution]:
    "Everything that a line of settings.ini installs, packages behind packages too; skips where it is not installed."
    todo, seen, packages = [Requirement(text) for text in settings()[key].split()], set(), {}
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if (name, *sorted(wanted.extras)) in seen or name.startswith(WITH_TORCH):
            continue
        seen.add((name, *sorted(wanted.extras)))
        try:
            packages[name] = distribution(name)
        except PackageNotFoundError:
            pytest.skip(f"{name} of {key} is not installed")
        todo += asked_for(packages[name], wanted.extras)
    return packages


@pytest.mark.parametrize("key", ["requirements", "mesh_requirements", "photo_requirements", "data_requirements"])
def test_what_is_installed_is_free_for_every_use(key):
    packages = installed_with(key)
    refused = {name: refusal(found.metadata) for name, found in packages.items()}
    assert not {name: why for name, why in refused.items() if why}
    assert "smplx" not in packages and {"numpy"} <= set(packages)


def test_packages_behind_packages_are_read():
    assert {"timm", "huggingface-hub", "tqdm", "torch", "sympy", "mpmath"} <= set(installed_with("mesh_requirements"))


def test_every_extra_for_users_is_read():
    "An extra that is added must be read too, unless it is for those who work on the book."
    extras = {name.removesuffix("_requirements") for name in settings() if name.endswith("_requirements")}
    assert extras == {"mesh", "photo", "data", "smplx", "dev", "book"}


def test_smplx_is_refused():
    "It states no licence in its metadata, and the one in its files allows non-commercial research only."
    found = installed_with("smplx_requirements")["smplx"]
    assert refusal(found.metadata)


def written(**fields: str | list[str]) -> Message:
    message = Message()
    for name, value in fields.items():
        for each in [value] if isinstance(value, str) else value:
            message[name.replace("_", "-")] = each
    return message


APACHE, MIT = ("License :: OSI Approved :: Apache Software License", "License :: OSI Approved :: MIT License")


@pytest.mark.parametrize(
    "fields",
    [
        {"License_Expression": "MIT"},
        {"License_Expression": "(MIT OR GPL-3.0-only) AND Apache-2.0 WITH LLVM-exception"},
        {"License": "MPL-2.0 AND MIT"},
        {"License": "MIT License\n\nCopyright (c) 2025"},
        {"License": "BSD", "Classifier": ["Topic :: Utilities", APACHE]},
        {"License": "Copyright (c) 2001\nRedistribution and use are permitted", "Classifier": MIT},
    ],
)
def test_free_licences_pass(fields):
    assert refusal(written(**fields)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"License": "UNKNOWN"},
        {"License_Expression": "MIT AND LicenseRef-NVIDIA-Proprietary"},
        {"License_Expression": "CC-BY-NC-4.0"},
        {"License_Expression": "MIT AND"},
        {"License": "Copyright (c) 2019\nRedistribution and use are permitted"},
        {"License": "For non-commercial\nresearch", "Classifier": MIT},
        {"License": "MIT", "Classifier": "License :: Other/Proprietary License"},
        {"License": "Custom", "Classifier": MIT},
        {"Classifier": "License :: Free for non-commercial use"},
    ],
)
def test_other_licences_are_refused(fields):
    assert refusal(written(**fields))
