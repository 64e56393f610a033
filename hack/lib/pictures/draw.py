#!/usr/bin/env python3
"""draw.py PROMETHEUS SECONDS DASHBOARD OUT.svg [TITLE...]: draw a dashboard of the last SECONDS as Prometheus has it.

Each panel asks what Grafana would ask, and lies where it would lie; with titles, these panels alone, three in a row.
Drawn are panels of the types stat, timeseries and table; rows are headings.
"""

import json
import math
import sys
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

# What Grafana would put for its variables.
VARIABLES = {"$job": ".*", "$__rate_interval": "1m", "$controller": ".*", "instance=": "instance=~"}

COLUMNS = 24
POINTS = 120
INK, MUTED, EDGE, GROUND = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"
GOOD, BAD = "#1a7f37", "#cf222e"
# Grafana's names of colours, as this draws them.
NAMED = {"green": "#1a7f37", "blue": "#0969da", "purple": "#8250df", "orange": "#bf8700", "red": "#cf222e"}
SERIES = ["#0969da", "#bf8700", "#1a7f37", "#8250df", "#cf222e", "#bc4c00", "#1b7c83", "#bf3989", "#57606a", "#4d2d00"]


def days(seconds):
    """A time as matplotlib counts it."""
    return seconds / 86400


class Prometheus:
    """A Prometheus, asked of one span of time."""

    def __init__(self, url, seconds):
        self.url, self.end, self.seconds = url, time.time(), seconds

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}") as answer:
            return json.load(answer)["data"]["result"]

    def now(self, expression):
        return self.ask("query", query=expression, time=self.end)

    def course(self, expression):
        step = max(1, self.seconds // POINTS)
        return self.ask("query_range", query=expression, start=self.end - self.seconds, end=self.end, step=step)


def asked(target):
    expression = target["expr"]
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def legend(target, labels):
    text = target.get("legendFormat") or ", ".join(f"{k}={v}" for k, v in labels.items() if k != "__name__")
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def shown(value, unit):
    """A figure as Grafana shows it."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "bytes":
        for name in ("B", "KiB", "MiB", "GiB"):
            if abs(value) < 1024:
                break
            value /= 1024
        return f"{value:.3g} {name}"
    if unit == "s":
        for limit, factor, name in ((0.001, 1e6, "µs"), (1, 1e3, "ms"), (120, 1, "s")):
            if abs(value) < limit and value:
                return f"{value * factor:.3g} {name}"
        return f"{value:.3g} s"
    suffix = {"reqps": "/s", "ops": "/s", "Bps": " B/s"}.get(unit, "")
    return f"{value:,.0f}{suffix}" if value >= 100 else f"{value:.3g}{suffix}"


def frame(axes, panel):
    axes.set_title(panel["title"], loc="left", fontsize=8, color=INK, pad=4, wrap=True)
    axes.tick_params(labelsize=6.5, colors=MUTED, length=2)
    for side in axes.spines.values():
        side.set_color(EDGE)


def empty(axes):
    axes.set_xticks([])
    axes.set_yticks([])


def stat(axes, panel, prometheus):
    [target] = panel["targets"]
    results = prometheus.now(asked(target))
    defaults = panel["fieldConfig"]["defaults"]
    value = float(results[0]["value"][1]) if results else 0.0
    bad = [step["value"] for step in defaults["thresholds"]["steps"] if step["color"] == "red"]
    colour = BAD if bad and value >= bad[0] else GOOD
    empty(axes)
    axes.set_facecolor(colour)
    text = shown(value, defaults["unit"])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=17, color=GROUND)


def courses(panel, prometheus):
    for target in panel["targets"]:
        for series in prometheus.course(asked(target)):
            times = [days(point[0]) for point in series["values"]]
            yield legend(target, series["metric"]), times, [float(point[1]) for point in series["values"]]


def colours(panel):
    """The colours that the panel gives to series, by their names."""
    for override in panel["fieldConfig"]["overrides"]:
        for given in override["properties"]:
            if given["id"] == "color":
                name = given["value"]["fixedColor"]
                yield override["matcher"]["options"], NAMED.get(name, name)


def ticks(most, unit):
    """The figures on an axis that goes so far."""
    base = 1024 if unit == "bytes" else 10
    step = base ** math.floor(math.log(most, base)) if most else 1
    factors = (2, 4, 8, 16, 32, 64, 128, 256, 512) if unit == "bytes" else (2, 5)
    steps = [step / 10, step / 5, step / 2, step, *(step * factor for factor in factors)]
    step = next((step for step in steps if most / step <= 5), most)
    return [number * step for number in range(math.ceil(most / step) + 1)]


def timeseries(axes, panel, prometheus):
    defaults = panel["fieldConfig"]["defaults"]
    drawn = sorted(course for course in courses(panel, prometheus) if any(course[2]))
    given, others = dict(colours(panel)), iter(SERIES * 4)
    palette = [given.get(name) or next(others) for name, _, _ in drawn]
    if defaults["custom"].get("stacking"):
        # Series that come and go are nothing meanwhile.
        times = sorted({moment for _, moments, _ in drawn for moment in moments})
        heights = [[dict(zip(moments, values)).get(moment, 0) for moment in times] for _, moments, values in drawn]
        if times:
            axes.stackplot(times, heights, labels=[name for name, _, _ in drawn], colors=palette, alpha=0.75, linewidth=0)
    else:
        for colour, (name, times, values) in zip(palette, drawn):
            axes.plot(times, values, label=name, color=colour, linewidth=1.1)
    axes.set_xlim(*(days(prometheus.end - ago) for ago in (prometheus.seconds, 0)))
    at = ticks(axes.get_ylim()[1], defaults["unit"])
    axes.set_yticks(at)
    axes.set_ylim(0, at[-1])
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.xaxis.get_offset_text().set_visible(False)
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, defaults["unit"]))
    axes.grid(color=EDGE, linewidth=0.4)
    if 0 < len(drawn) <= 10:
        axes.legend(fontsize=6, ncols=2, framealpha=0.85, edgecolor="none", labelcolor=MUTED, loc="upper left", handlelength=1.2)


def table(axes, panel, prometheus):
    [target] = panel["targets"]
    empty(axes)
    results = prometheus.now(asked(target))
    lines = [", ".join(v for k, v in one["metric"].items() if k not in ("__name__", "instance", "job")) for one in results]
    lines = lines[:8] + [f"and {len(lines) - 8} more"] * (len(lines) > 8)
    text = "\n".join(lines) or "none"
    axes.text(0.02, 0.95, text, transform=axes.transAxes, va="top", fontsize=7.5, color=INK if lines else MUTED, linespacing=1.6)


DRAWN = {"stat": stat, "timeseries": timeseries, "table": table}


def chosen(dashboard, titles):
    """The panels, each with its place: column, line, width, height."""
    panels = [panel for panel in dashboard["panels"] if panel["type"] in (*DRAWN, "row")]
    if not titles:
        return [(panel, tuple(panel["gridPos"][key] for key in "xywh")) for panel in panels]
    by_title = {panel["title"]: panel for panel in panels}
    return [(by_title[title], (number % 3 * 8, number // 3 * 7, 8, 7)) for number, title in enumerate(titles)]


def main():
    url, seconds, path, out, *titles = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        dashboard = json.load(file)
    prometheus = Prometheus(url, int(seconds))
    panels = chosen(dashboard, titles)
    lines = max(y + h for _, (_, y, _, h) in panels)
    width, line = 11.5, 0.27
    plt.rcParams.update({"font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "plugward"})
    figure = plt.figure(figsize=(width, line * lines), facecolor=GROUND)
    for panel, (x, y, w, h) in panels:
        left, top = x / COLUMNS, 1 - y / lines
        if panel["type"] == "row":
            figure.text(left + 0.01, top - 0.5 / lines, panel["title"], fontsize=9.5, weight="bold", color=INK, va="center")
            continue
        # Room for the title above, and for figures below and on the left.
        below, beside = (1.1, 0.042) if panel["type"] == "timeseries" else (0.4, 0.01)
        box = [left + beside, top - (h - below) / lines, w / COLUMNS - beside - 0.01, (h - below - 1.2) / lines]
        axes = figure.add_axes(box)
        frame(axes, panel)
        DRAWN[panel["type"]](axes, panel, prometheus)
    figure.savefig(out, metadata={"Date": None})


main()
