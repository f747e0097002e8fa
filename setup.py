"Package metadata lives in settings.ini (nbdev); this file hands it to setuptools."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

settings = ConfigParser(delimiters=["="])
settings.read("settings.ini", encoding="utf-8")
config = settings["DEFAULT"]
extras = {
    name.removesuffix("_requirements"): value.split()
    for name, value in config.items()
    if name.endswith("_requirements") and value
}
setup(
    name=config["lib_name"],
    version=config["version"],
    description=config["description"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author=config["author"],
    url=config["git_url"],
    keywords=config["keywords"],
    packages=find_packages(include=["probpose", "probpose.*"]),
    package_data={"probpose": ["assets/*", "weights/**/*", "studies/cards/*"]},
    python_requires=f">={config['min_python']},<3.14",
    install_requires=config["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": config["console_scripts"].split(),
        "nbdev": ["probpose=probpose._modidx:d"],
        "myst_nb.mime_renderers": config["myst_nb_renderers"].split(),
    },
    zip_safe=False,
)
