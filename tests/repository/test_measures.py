"The shape of the library, measured: what must be zero is zero."

import measure


def test_no_storeys_of_one_class():
    assert measure.one_child_classes() == []


def test_no_private_name_crosses_modules():
    assert measure.underscore_imports() == []


def test_no_name_is_bound_to_a_lambda():
    assert measure.bound_lambdas() == []


def test_no_statement_is_a_tuple_of_calls():
    assert measure.call_tuples() == []


def test_no_line_is_over_120_characters():
    assert measure.long_lines() == []


def test_every_public_definition_has_a_docstring():
    assert measure.undocumented() == []


def test_few_public_names_are_used_by_nobody():
    assert len(measure.unused_names(with_tests=False)) < 26, measure.unused_names(with_tests=False)


def test_the_report_holds_every_measure():
    report = measure.report()
    assert report["modules"] > 100 and report["export cells"] and report["public names"] > 500
    assert report["public definitions"] > len(measure.modules())
