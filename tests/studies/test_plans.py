"The table of studies agrees with the studies."

import subprocess
import sys

import pytest

from probpose.core.errors import UnknownNameError
from probpose.ledger.results import TIERS
from probpose.models import build
from probpose.models.pretrained import BUILDABLE, MODELS, TRAINABLE
from probpose.studies.plans import PLANS, RESOURCES, STUDIES, borrowed_records, recipe_class, study_plan


def test_every_lender_of_records_has_a_study_with_that_variant():
    for chapter, lenders in borrowed_records().items():
        for lender, variant in lenders:
            assert variant in recipe_class(lender).variants, (chapter, lender, variant)


def test_main_variants_exist_and_tiers_are_the_ledgers():
    assert tuple(PLANS) == tuple(RESOURCES) == TIERS
    for chapter, entry in STUDIES.items():
        kind = recipe_class(chapter)
        assert kind.chapter == chapter and set(entry.main) <= set(kind.variants)
        assert set(entry.changes) <= set(PLANS) and set(entry.after) <= set(STUDIES)


def test_variants_that_train_as_regressors_exist():
    for chapter, entry in STUDIES.items():
        assert set(entry.regressors) <= set(recipe_class(chapter).variants)
    plan = study_plan("poseflow", "laptop")
    assert [STUDIES["poseflow"].iterations_of(plan, name) for name in ("martinez", "full")] == [6000, 4000]


def test_every_model_is_built_by_name_trained_in_a_chapter_and_loaded_again():
    made = {type(build(name, "smoke")).__name__ for name in BUILDABLE}
    assert made == set(MODELS) - {"MeanPose"}, "a mean needs no iterations and no settings"
    assert set(BUILDABLE) == set(TRAINABLE)


def test_the_table_is_read_without_pytorch():
    code = "import sys, probpose.studies.plans; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_unknown_studies_and_tiers_are_refused():
    for mistake in (("posflow", "smoke"), ("poseflow", "huge")):
        with pytest.raises(UnknownNameError):
            study_plan(*mistake)


def test_seeds_get_all_variants_the_main_ones_or_a_few():
    entry = STUDIES["humr"]
    assert [entry.variants_of(seed) for seed in entry.seeds] == [(), (), entry.main, ("full",), ("full",)]
    assert [STUDIES["poseflow"].variants_of(seed) for seed in (0, 1)] == [(), STUDIES["poseflow"].main]
    assert STUDIES["baselines"].variants_of(0) == () and "full" in entry.main
