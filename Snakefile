# The one engine for chapters, data sets and seeds.
#
#   snakemake -c2                               the book: every page executed at the smoke tier, then the site
#   snakemake -c1 _build/executed/book/poseflow.ipynb --config tier=laptop dataset=cmu path=…    one chapter at one tier
#   snakemake -c2 laptop --config path=…        the committed results, laptop tier: every study, data set and seed
#   snakemake full --executor slurm             the same with the papers' settings, one cluster job for each;
#                                               --dry-run lists them
#
# `make` calls it with the environment of .venv; without make, use .venv/bin/snakemake.
import os
import sys
from pathlib import Path

from probpose.book.pages import is_executed, page_source, toc_pages
from probpose.studies.plans import RESOURCES, STUDIES

ROOT = Path(workflow.basedir)


def absolute(path):
    "Chapters run in book/: a path given relative to here is made absolute."
    return str(Path(path).expanduser().resolve())


if "path" in config:
    config["path"] = absolute(config["path"])
for folder in ("PROBPOSE_CMU", "PROBPOSE_PHOTOS"):
    if os.environ.get(folder):
        os.environ[folder] = absolute(os.environ[folder])
CHOSEN = {name: config[name] for name in ("tier", "dataset", "seed", "path", "device") if name in config}
PARAMETERS = {"tier": "smoke", "dataset": "synthetic", "seed": 0} | CHOSEN

LIBRARY = sorted(str(p) for p in Path("probpose").rglob("*.py"))
RECORDS = sorted(str(p) for p in Path("book").rglob("*") if p.suffix in {".json", ".csv", ".yml"})
STATIC = sorted(str(p) for p in Path("_static").rglob("*") if p.is_file())


SOURCES = {page: page_source(page) for page in toc_pages("_toc.yml")}
EXECUTED = [f"_build/executed/{page}.ipynb" for page, source in SOURCES.items() if is_executed(source)]
PROSE = [str(source) for source in SOURCES.values() if not is_executed(source)]


def papermill_options(parameters):
    return " ".join(f"-p {name} '{value}'" for name, value in parameters.items())


def chosen_variants(wildcards):
    "The option that leaves variants out where a seed does not get them all."
    chosen = STUDIES[wildcards.chapter].variants_of(int(wildcards.seed))
    return f" -y 'variants: [{', '.join(chosen)}]'" if chosen else ""


def study_options(wildcards):
    "Papermill's options for a chapter under the circumstances that its result file names."
    named = {name: getattr(wildcards, name) for name in ("tier", "dataset", "seed")}
    return papermill_options(PARAMETERS | named) + chosen_variants(wildcards)


def trained_before(wildcards):
    "Results of the chapters whose models a chapter takes."
    circumstances = f"{wildcards.dataset}-{wildcards.tier}-{wildcards.seed}"
    return [f"_build/studies/{chapter}-{circumstances}.json" for chapter in STUDIES[wildcards.chapter].after]


# Every shell command sees the programs beside this Python, one thread for each job that runs at the same time, figures
# as data, and nobody's personal IPython start-up files.
shell.prefix(
    "set -euo pipefail; "
    f'export PATH="{Path(sys.executable).parent}:$PATH" PYTHONNOUSERSITE=1 PYTHONHASHSEED=0 '
    "JUPYTER_PREFER_ENV_PATH=1 NO_COLOR=1 "
    f'PROBPOSE_PROGRESS=0 PROBPOSE_ROOT="{ROOT}" IPYTHONDIR="{ROOT}/_build/ipython" PLOTLY_RENDERER=plotly_mimetype; '
)
PAPERMILL = "papermill --kernel python3 --no-progress-bar"
# A kernel that died before it answered has executed nothing and is started once more; what fails later has failed.
START_AGAIN = "execute || {{ grep -q 'Kernel died before replying to kernel_info' {log} && execute; }}"

wildcard_constraints:
    chapter=r"[\w]+",
    page=r"[\w/]+",
    dataset=r"[a-z0-9_]+",
    tier="smoke|laptop|full",
    seed=r"\d+",


localrules: book, laptop, full


rule book:
    input: "_build/html/index.html"


rule chapter:
    input: source="book/{chapter}.md", library=LIBRARY, records=RECORDS
    output: "_build/executed/book/{chapter}.ipynb"
    log: "_build/logs/book/{chapter}.log"
    params: options=papermill_options(PARAMETERS)
    priority: 10  # chapters train; library pages fill the gaps
    threads: 1
    shell:
        "echo 'executing {input.source} {params.options}'; mkdir -p _build/results; "
        "export OMP_NUM_THREADS={threads} PROBPOSE_RESULTS={ROOT}/_build/results; "
        "execute() {{ (jupytext --quiet --to ipynb {input.source} -o - | "
        "{PAPERMILL} --cwd book {params.options} - {output}) > {log} 2>&1; }}; " + START_AGAIN


rule library_page:
    input: source="nbs/{page}.ipynb", library=LIBRARY
    output: "_build/executed/nbs/{page}.ipynb"
    log: "_build/logs/nbs/{page}.log"
    threads: 1
    shell:
        "echo 'executing {input.source}'; export OMP_NUM_THREADS={threads}; "
        "execute() {{ (python -m probpose.book.site page {input.source} | {PAPERMILL} --cwd nbs - {output}) "
        "> {log} 2>&1; }}; " + START_AGAIN


rule site:
    input: pages=EXECUTED, prose=PROSE, static=STATIC, toc="_toc.yml", config="_config.yml"
    output: "_build/html/index.html"
    log: "_build/logs/site.log"
    shell:
        "echo 'building the site'; (rm -rf _build/html && "
        "python -m probpose.book.site site _build/executed _build/site && "
        "jupyter-book build _build/site --path-output . --all -W -n --keep-going) > {log} 2>&1"


# A cluster's partition and account go on the command line (--default-resources slurm_partition=… slurm_account=…).
rule study:
    input: trained_before, source="book/{chapter}.md", library=LIBRARY
    output:
        result="_build/studies/{chapter}-{dataset}-{tier}-{seed}.json",
        notebook="_build/studies/{chapter}-{dataset}-{tier}-{seed}.ipynb",
    log: "_build/logs/studies/{chapter}-{dataset}-{tier}-{seed}.log"
    params:
        options=study_options,
    threads: int(config.get("threads", 2))
    resources:
        runtime=lambda wc: RESOURCES[wc.tier]["runtime"],
        mem_mb=lambda wc: RESOURCES[wc.tier]["mem_mb"],
        gpu=lambda wc: RESOURCES[wc.tier]["gpu"],
    shell:  # the committed result is replaced only by a complete one
        "echo 'executing {input.source} {params.options}'; "
        "export OMP_NUM_THREADS={threads} PROBPOSE_RESULTS={ROOT}/_build/studies; "
        "(jupytext --quiet --to ipynb {input.source} -o - | "
        "{PAPERMILL} --cwd book {params.options} - {output.notebook} && "
        "cp {output.result} book/results/) > {log} 2>&1"


def studies(tier):
    return [
        f"_build/studies/{chapter}-{dataset}-{tier}-{seed}.json"
        for chapter, study in STUDIES.items()
        for dataset in study.datasets
        for seed in study.seeds
    ]


rule laptop:
    input: studies("laptop")


rule full:
    input: studies("full")
