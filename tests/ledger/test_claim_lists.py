"Claims as lines that open, and the words of their comparisons."

import html

import pytest
import yaml

from probpose.core.errors import UnknownNameError
from probpose.ledger.claim_lists import count_verdicts, list_claims, name_variants, word_comparison
from probpose.ledger.claims import comparisons_of, load_claims


def test_every_claim_has_its_line_its_verdict_and_its_intervals(results):
    shown = list_claims(results, "poseflow")
    page = shown._repr_html_()
    for entry in load_claims():
        assert (html.escape(entry["statement"]) in page) == (entry["paper"] == "poseflow"), entry["id"]
    assert page.count("<details") == len(shown.entries) and "+15.0 [+15.0, +15.0] mm" in page
    assert "cmu (laptop)" in page and "synthetic" not in page
    assert "– no data" in list_claims(results, "humr")._repr_html_()
    assert "no verdict: smoke" in list_claims(results[results["tier"] == "smoke"], "poseflow")._repr_html_()


def test_decided_claims_come_first(make_claim, results, tmp_path):
    first = make_claim()["comparisons"][0]
    swapped = {"left": first["right"], "right": first["left"]}
    claims = [make_claim(id=name, comparisons=[c]) for name, c in (("falls", swapped), ("holds", first))]
    (tmp_path / "artifacts.yml").write_text("[]")
    (tmp_path / "claims.yml").write_text(yaml.safe_dump(claims))
    assert list(list_claims(results, "poseflow", folder=tmp_path).entries["id"]) == ["holds", "falls"]


def test_counts_are_those_of_the_lists(results):
    counts = count_verdicts(results)
    assert counts.loc["PoseFlow"].sum() == sum(entry["paper"] == "poseflow" for entry in load_claims())
    listed = list_claims(results, "poseflow").entries["verdict"].value_counts().to_dict()
    assert counts.loc["PoseFlow"][lambda number: number > 0].to_dict() == listed


def test_a_conjunction_says_how_many_hold(make_claim, results, tmp_path):
    first = make_claim()["comparisons"][0]
    swapped = {"left": first["right"], "right": first["left"]}
    never = {"left": {"variant": "nobody"}, "right": first["right"]}
    (tmp_path / "artifacts.yml").write_text("[]")
    (tmp_path / "claims.yml").write_text(yaml.safe_dump([make_claim(comparisons=[first, swapped, never])]))
    page = list_claims(results, "poseflow", folder=tmp_path)._repr_html_()
    assert "1 of 3 hold (1 refuted, 1 open)" in page and 'class="probpose-claim not-reproduced"' in page


def test_a_planned_claim_says_what_it_waits_for(make_claim, results, tmp_path):
    (tmp_path / "artifacts.yml").write_text("[]")
    (tmp_path / "claims.yml").write_text(
        yaml.safe_dump([make_claim(), {**make_claim(id="two", state="planned", needs="a renderer"), "comparisons": []}])
    )
    page = list_claims(results, "poseflow", folder=tmp_path)._repr_html_()
    assert page.count("– planned") == 1 and "needs a renderer" in page and "✓ reproduced" in page


def test_links_lead_where_the_chapters_lie(results):
    assert 'href="poseflow.html"' in list_claims(results, "poseflow")._repr_html_()
    assert 'href="../../book/poseflow.html"' in list_claims(results, "poseflow", chapters="../../book/")._repr_html_()


def test_claims_of_a_chapter_and_of_no_known_paper(results):
    assert set(list_claims(results, chapter="speed").entries["chapter"]) == {"speed"}
    with pytest.raises(UnknownNameError, match="paper"):
        list_claims(results, "posenet")


@pytest.mark.parametrize("entry", [e for e in load_claims() if e["state"] == "active"], ids=lambda entry: entry["id"])
def test_every_training_that_a_claim_compares_has_a_name(entry):
    names = name_variants(entry["chapter"])
    for comparison in comparisons_of(entry):
        for side in (comparison.left, comparison.right):
            assert side.get("variant", "full") in names, side
        left, right, _ = word_comparison(comparison, names)
        assert left and right and left != right, comparison.text
