"Figures, numbers and tables in pages."

from types import SimpleNamespace

import pandas as pd
import pytest

from probpose.book.figures import PLOTLY_MIME, PlotlyRenderer, figure_html, show_table


def test_a_figure_cannot_close_its_script():
    html = figure_html({"data": [{"name": "</script><b>"}], "layout": {}})
    assert html.count("</script>") == 1 and "height: 450px" in html


@pytest.mark.parametrize("inline, mime", [(True, PLOTLY_MIME), (False, "text/html")])
def test_everything_but_figures_is_left_to_others(inline, mime):
    data = SimpleNamespace(mime_type=mime, content={}, cell_index=0, output_index=0)
    assert PlotlyRenderer.handle_mime(None, data, inline) is None


def test_a_figure_becomes_one_node():
    data = SimpleNamespace(mime_type=PLOTLY_MIME, content='{"data": []}', cell_index=1, output_index=2)
    [node] = PlotlyRenderer.handle_mime(None, data, False)
    assert "probpose-figure" in node.astext()


def test_tables_of_the_same_content_have_the_same_name():
    table = pd.DataFrame({"a": [1.0]})
    assert show_table(table, "one").to_html() == show_table(table, "one").to_html()
    assert show_table(table, "one").to_html() != show_table(table, "two").to_html()
