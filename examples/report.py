"""A small report on a table of penguins: groups, a relation, a plot.

    report.py [penguins.csv]

Prints two tables and leaves the plot as report.png in the working directory. It is an ordinary script and knows nothing
of Hatchery: `hatchery python --in examples/data/penguins.csv --out report.png examples/report.py` runs it in a sandbox.
"""

import argparse
import sys

import matplotlib

matplotlib.use("Agg")  # before pyplot: a sandbox has no display

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

PLOT_FILE = "report.png"
GROUP_COLUMNS = ["species", "island", "sex"]
FLIPPER, MASS = "flipper_length_mm", "body_mass_g"
MEASURE_COLUMNS = ["bill_length_mm", "bill_depth_mm", FLIPPER, MASS]
POINTS_FOR_A_LINE = 3  # two points always lie on a line, and say nothing
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]  # can be told apart by the colour-blind
MARKERS = ["o", "s", "^", "D", "v", "P"]


def main():
    parser = argparse.ArgumentParser(description="Report on a table of penguins.")
    parser.add_argument("csv", nargs="?", default="penguins.csv", help="the table (default: %(default)s)")
    path = parser.parse_args().csv

    birds = read_table(path)
    measured = birds.dropna(subset=GROUP_COLUMNS + MEASURE_COLUMNS)
    if measured.empty:
        sys.exit(f"report.py: {path}: no row is complete")
    groups = summarise(measured)
    lines = fit_lines(birds.dropna(subset=["species", FLIPPER, MASS]))

    print(f"{len(birds)} birds, {len(measured)} of them with sex and all measurements known\n")
    print("Means by species, island and sex")
    print(layout(groups.reset_index()))
    if not lines.empty:
        print("\nBody mass against flipper length: mass = slope x length + intercept")
        print(layout(lines.reset_index()))

    draw(birds, measured, lines).savefig(PLOT_FILE, dpi=130)
    print(f"\nPlot: {PLOT_FILE}")


def read_table(path):
    try:
        birds = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own parser errors are ValueErrors
        sys.exit(f"report.py: {path}: {str(error).strip()}")
    absent = [name for name in GROUP_COLUMNS + MEASURE_COLUMNS if name not in birds.columns]
    if absent:
        sys.exit(f"report.py: {path}: no column {', '.join(absent)}")
    try:
        return birds.astype({name: float for name in MEASURE_COLUMNS})
    except ValueError as error:
        sys.exit(f"report.py: {path}: {str(error).strip()}")


def summarise(measured):
    grouped = measured.groupby(GROUP_COLUMNS)
    table = grouped[MEASURE_COLUMNS].mean()
    table.insert(0, "birds", grouped.size())
    return table


def fit_lines(birds):
    """One least-squares line for each species that has enough birds of different flipper lengths."""
    rows = []
    for species, group in birds.groupby("species"):
        if len(group) < POINTS_FOR_A_LINE or group[FLIPPER].nunique() < 2:
            continue
        slope, intercept = np.polyfit(group[FLIPPER], group[MASS], 1)
        explained = np.corrcoef(group[FLIPPER], group[MASS])[0, 1] ** 2
        rows.append((species, len(group), slope, intercept, explained))
    columns = ["species", "birds", "slope_g_per_mm", "intercept_g", "r_squared"]
    return pd.DataFrame(rows, columns=columns).set_index("species")


def layout(table):
    """The table as text: words to the left, numbers to the right, a rule under the heads."""
    decimals = {"slope_g_per_mm": 2, "r_squared": 3, "intercept_g": 0, MASS: 0}
    columns = []
    for name in table.columns:
        values = table[name]
        if values.dtype.kind == "f":
            cells = [f"{value:,.{decimals.get(name, 1)}f}" for value in values]
        elif values.dtype.kind in "iu":
            cells = [f"{value:,}" for value in values]
        else:
            cells = [str(value) for value in values]
        heading = name.replace("_", " ")
        width = max(map(len, [heading, *cells]))
        justify = str.rjust if values.dtype.kind in "iuf" else str.ljust
        columns.append([justify(cell, width) for cell in [heading, "-" * width, *cells]])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns))


def draw(birds, measured, lines):
    species = sorted(birds["species"].dropna().unique())
    looks = {name: (PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(species)}
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(11.5, 5), constrained_layout=True)
    draw_relation(left, birds, lines, looks)
    draw_masses(right, measured, looks)
    return figure


def draw_relation(axes, birds, lines, looks):
    for name, (colour, marker) in looks.items():
        group = birds[birds["species"] == name]
        label = name
        if name in lines.index:
            line = lines.loc[name]
            ends = np.array([group[FLIPPER].min(), group[FLIPPER].max()])
            axes.plot(ends, line["slope_g_per_mm"] * ends + line["intercept_g"], color=colour, linewidth=2)
            label = f"{name}: {line['slope_g_per_mm']:.1f} g/mm, r² = {line['r_squared']:.2f}"
        axes.scatter(
            group[FLIPPER], group[MASS], s=26, color=colour, marker=marker, alpha=0.55, linewidths=0, label=label)
    axes.set_xlabel("flipper length (mm)")
    axes.set_ylabel("body mass (g)")
    axes.set_title("Body mass against flipper length", fontweight="bold", loc="left")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper left")


def draw_masses(axes, measured, looks):
    """A box for each species and sex; birds of all islands together."""
    boxes = [(key, group[MASS].to_numpy()) for key, group in measured.groupby(["species", "sex"])]
    parts = axes.boxplot(
        [masses for _, masses in boxes], widths=0.55, patch_artist=True,
        medianprops={"color": "black"}, flierprops={"marker": ".", "markersize": 4})
    for ((name, _), _), box in zip(boxes, parts["boxes"]):
        box.set(facecolor=looks[name][0], alpha=0.55)
    axes.set_xticks(range(1, len(boxes) + 1))
    axes.set_xticklabels([f"{name}\n{sex}\nn = {len(masses)}" for (name, sex), masses in boxes], fontsize=9)
    axes.set_title("By species and sex", fontweight="bold", loc="left")
    axes.grid(axis="y", alpha=0.25)


if __name__ == "__main__":
    main()
