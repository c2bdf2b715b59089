"""The graphical model: f is shared by all frames, z_t follows z_1, ..., z_t-1, and each frame x_t depends on f and z_t."""

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

figure, axes = plt.subplots(figsize=(6.4, 3.4))
places = {
    "f": (-1.6, 1.1),
    **{f"z_{t}": (2 * t, 2.2) for t in (0, 1, 2)},
    **{f"x_{t}": (2 * t, 0) for t in (0, 1, 2)},
}
arrows = [(f"z_{t}", f"x_{t}", 0) for t in (0, 1, 2)] + [("f", f"x_{t}", 0) for t in (0, 1, 2)]
arrows += [("z_0", "z_1", 0), ("z_1", "z_2", 0), ("z_0", "z_2", -0.35)]
for start, end, bend in arrows:
    style = {"arrowstyle": "-|>", "mutation_scale": 14, "shrinkA": 17, "shrinkB": 17, "color": "#444444"}
    axes.add_patch(FancyArrowPatch(places[start], places[end], connectionstyle=f"arc3,rad={bend}", **style))
names = {"f": "$f$"} | {f"{k}_{t}": f"${k}_{t + 1}$" for k in "zx" for t in (0, 1, 2)}
for name, (x, y) in places.items():
    observed = name.startswith("x")
    axes.scatter(x, y, s=1000, zorder=2, edgecolors="black", facecolors="#d0d0d0" if observed else "white")
    axes.text(x, y, names[name], ha="center", va="center", fontsize=14, zorder=3)
axes.add_patch(Rectangle((-2.4, -0.85), 7.4, 4.25, fill=False, edgecolor="#888888"))
axes.text(4.9, -0.75, "$B$ sequences", ha="right", va="bottom", fontsize=11, color="#444444")
axes.set(xlim=(-2.6, 5.2), ylim=(-1, 3.6), aspect="equal")
axes.axis("off")
