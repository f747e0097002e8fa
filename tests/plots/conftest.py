"What holds for every figure."

import json

import pytest

from probpose.plots.style import GREY

VANISHING = {"white", "black", "#fff", "#ffffff", "#000", "#000000", "#2a3f5f", "#444"}  # on a white or a black page


def find_vanishing(node):
    "Colours in a figure's JSON that cannot be seen on a white or on a black page."
    if isinstance(node, dict):
        for key, value in node.items():
            if key != "hoverlabel":
                yield from find_vanishing(value)
    elif isinstance(node, list):
        for value in node[:50]:
            yield from find_vanishing(value)
    elif isinstance(node, str) and node.lower() in VANISHING:
        yield node


@pytest.fixture
def check_style():
    "A function that refuses a figure that is large, is not legible on every page, or has an entry in its legend twice."

    def check(fig, most=900_000):
        text, template = fig.to_json(), fig.layout.template.layout
        content = json.loads(text)
        assert len(text) < (most if any(trace.type in ("mesh3d", "image") for trace in fig.data) else 400_000)
        assert not list(find_vanishing(content["data"])) and not list(find_vanishing(content["layout"]))
        for owner in ("paper_bgcolor", "plot_bgcolor"):
            assert (fig.layout[owner] or template[owner]) == "rgba(0,0,0,0)"
        assert (fig.layout.font.color or template.font.color) == GREY
        assert (fig.layout.legend.orientation or template.legend.orientation) == "h"
        for side in "lrb":
            margin = fig.layout.margin[side]
            assert (template.margin[side] if margin is None else margin) <= 5
        entries = [trace.name for trace in fig.data if trace.type != "image" and trace.showlegend]
        assert len(set(entries)) == len(entries), "no legend entry twice"

    return check
