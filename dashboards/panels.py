"""Panels: layers on one pair of axes, and how they are put beside and below each other in a figure."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from dashboards.theme import Drawing


class Panel(alt.LayerSpec):
    """Finished layers on one pair of axes, to be put beside others by `grid`, `stack`, or Altair's own functions.

    An `alt.LayerChart` is made anew, with all that is in it, several times whenever it or what it stands in is
    touched, and layers within layers that many times again: twelve panels took seconds. Here a layer is never changed
    once it is in a panel, so that copies of panels share theirs. Selections stay in the layer that defines them.
    """

    _class_is_valid_at_instantiation = False  # its layers hold frames, which are rows only in the figure

    def __deepcopy__(self, memo: object) -> Panel:
        return self.copy(deep=False)

    def add_params(self, *parameters: alt.Parameter) -> Panel:
        """As of Altair's own charts, so that a figure in a notebook can be given more; selections go to one layer."""
        first, *others = self.layer
        panel = self.copy(deep=False)
        panel.layer = [first.add_params(*(one for one in parameters if one.param_type == "selection")), *others]
        panel.params = [one.param for one in parameters if one.param_type == "variable"]
        return panel

    def alone(self) -> alt.LayerChart:
        """As a whole figure."""
        return alt.LayerChart(layer=self.layer, width=self.width, height=self.height, title=self.title)


def grid(panels: Sequence[Drawing], columns: int, *, row: int = 78, column: int = 62) -> Drawing:
    """Panels beside and below each other, `row` and `column` pixels between their plots: these line up, whatever is
    written around them. A single one stands alone.
    """
    if len(panels) == 1:
        return _alone(panels[0])
    return alt.concat(*panels, columns=columns, spacing={"row": row, "column": column}, bounds="flush")


def stack(panels: Sequence[Drawing], *, spacing: int) -> Drawing:
    """Panels below each other, `spacing` pixels between all that belongs to them. A single one stands alone."""
    return _alone(panels[0]) if len(panels) == 1 else alt.vconcat(*panels, spacing=spacing)


def _alone(panel: Drawing) -> Drawing:
    return panel.alone() if isinstance(panel, Panel) else panel
