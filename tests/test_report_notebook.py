"""What a notebook shows of a figure, whatever the number of rows."""

from __future__ import annotations

from dashboards.charts import draw_figures
from test_chart_any_frames import heads


def test_a_figure_displays_beyond_five_thousand_rows() -> None:
    figure = next(figure for figure in draw_figures(heads(90, list(range(80)))) if "trajectories" in figure.name)
    rows = sum(len(rows) for rows in figure.specification()["datasets"].values())
    assert rows > 5000
    assert figure._repr_mimebundle_()
