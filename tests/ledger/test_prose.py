"Numbers in prose."

import pytest

from probpose.ledger.prose import prose_problems, unsourced_numbers


def test_no_chapter_has_a_number_without_a_source():
    assert prose_problems() == []


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("The error falls to 44.3.", ["44.3"]),
        ("It is 44 mm off.", ["44 mm"]),
        ("a 150-mm threshold", ["150-mm"]),
        ("50 % of frames", ["50 %"]),
        ("50% of frames", ["50%"]),
        ("between 10 and 15 px", ["15 px"]),
        ("10–15 px", ["15 px"]),
        ("within 1e-4 of it", ["1e-4"]),
        ("12 times faster", ["12 times"]),
        ("a 3× speed-up", ["3×"]),
        ("in 1,234 ms", ["1,234 ms"]),
        ("| full | 44.3 |", ["44.3"]),
        ("# A heading of 4.5 s", ["4.5 s"]),
        ("$44.3$", ["44.3"]),
        ("$44\\,\\mathrm{mm}$", ["44 mm"]),
        ("`44.3`", ["44.3"]),
        ("```{note}\nIt is 4.5 there.\n```", ["4.5"]),
        (":::{admonition} Of 3.5 mm\nx\n:::", ["3.5 mm"]),
        ("[44.3](page.md)", ["44.3"]),
        ("about -4.5 here", ["4.5"]),
        ("```python\n1.5\n```\nand 2.5", ["2.5"]),
        ("```{note}\n```python\n1.5\n```\n2.5\n```\n3.5", ["2.5", "3.5"]),
    ],
)
def test_typed_measurements_are_found(text, numbers):
    assert [found.number for found in unsourced_numbers(text)] == numbers


@pytest.mark.parametrize(
    "text",
    [
        "17 joints and 200 hypotheses.",
        "See Section 4.5, Table 1 and Fig. 2.3.",
        "Human3.6M-17 and MPII-16.",
        "Python 3.11, FrEIA 0.2, release 1.0.4.",
        "{glue:text}`poseflow.ipynb::a:.1f` mm",
        "$\\alpha = 2.0$ and $10^{-4}$",
        "$$\n0.5 x\n$$",
        "```{code-cell}\nx = 4.5\n```",
        "```{math}\n4.5\n```",
        "`threshold=150.0`",
        "[text](https://x.org/4.5) <https://x.org/5.5>",
        "% a comment of 4.5 mm",
        "<!-- 4.5 mm -->",
        "---\na: 4.5\n---\ntext",
        "```{figure} a.png\n:width: 45.5%\ntext\n```",
        "in 2021, 3 models",
        "the first of 8 blocks",
        "<img width='4.5'>",
        "Apache-2.0",
        "{doc}`chapter 3.5 <x>`",
        "A 3D pose.",
        "the 2D error",
    ],
)
def test_other_numbers_are_left_alone(text):
    assert unsourced_numbers(text) == []


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("CPS falls from 171.0 to 137.6. <!-- paper: poseflow_table4 -->", []),
        ("CPS falls from 171.0 to 137.6 <!-- paper: poseflow_table4 -->.", []),
        ("CPS is 171.1. <!-- paper: poseflow_table4 -->", ["171.1"]),
        ("CPS is 171.0. <!-- paper: no_such_table -->", ["171.0"]),
        ("Correct below 150 mm. <!-- setting: PCK -->", []),
        ("Correct below 150 mm. <!-- setting: -->", ["150 mm"]),
        ("Correct below 150 mm. <!-- note: PCK -->", ["150 mm"]),
        ("It is 3.5. Correct below 150 mm. <!-- setting: PCK -->", ["3.5"]),
        ("It is 3.5\n\nCorrect below 150 mm. <!-- setting: PCK -->", ["3.5"]),
        ("<!-- setting: PCK --> Correct below 150 mm.", ["150 mm"]),
    ],
)
def test_comments_give_a_source_to_their_sentence_only(text, numbers):
    assert [found.number for found in unsourced_numbers(text)] == numbers


def test_lines_are_counted_through_code():
    assert unsourced_numbers("---\na: 1\n---\n\n```{code-cell}\n1.5\n```\n\nHere 2.5.")[0].line == 9


def test_glue_roles_need_a_format(tmp_path):
    (tmp_path / "artifacts.yml").write_text("[]")
    (tmp_path / "a.md").write_text("{glue:text}`a.ipynb::good:.1f` {glue:text}`a.ipynb::bad` and 4.5 mm")
    problems = prose_problems(tmp_path)
    assert len(problems) == 2 and problems[0].startswith("a.md:1: 4.5 mm") and "a.ipynb::bad" in problems[1]
