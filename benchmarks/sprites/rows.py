"""The rows of the Sprites benchmark: what is fitted, and under which guide it is evaluated."""

# Stands for the scale at which a normal likelihood is the squared error of the paper's code, summed over 64 x 64 pixels.
PAPER_SCALE = "PAPER_SCALE"
PAPER = ["--likelihood.scale_kind", "fixed", "--likelihood.scale", PAPER_SCALE]
# Name -> title, options of fit.
FITS: dict[str, tuple[str, list[str]]] = {
    "default": ("default", []),
    "standard-normal": ("static prior N(0, I)", ["--static_prior", "StandardNormal"]),
    "no-views": ("without guide views", ["--posterior.views", "false"]),
    "factorised": ("factorised posterior", ["--posterior", "Factorised"]),
    "iid": ("IID prior", ["--dynamic_prior", "IID"]),
    "no-static": ("without a static part", ["--static_size", "0"]),
    "contrastive": ("C-DSVAE-style objective", ["--posterior.views", "false", "--contrastive", "Contrastive"]),
    "no-views-paper": ("without guide views, C-DSVAE's likelihood", ["--posterior.views", "false", *PAPER]),
    "contrastive-paper": (
        "C-DSVAE-style objective and likelihood",
        ["--posterior.views", "false", "--contrastive", "Contrastive", *PAPER],
    ),
}
# Anchored inference needs a guide with views. It is another measurement of the same fit, so it is a row of its own.
_VIEWED = ("default", "standard-normal", "factorised", "iid")
_SUFFIX = "-anchored"
ANCHORED = {name: name + _SUFFIX for name in _VIEWED}
# Name for --only -> title: the guide itself, which gives raw codes, and below it anchored inference.
ROWS: dict[str, str] = {
    **{name: title for name, (title, _) in FITS.items()},
    **{row: f"{FITS[name][0]}, anchored" for name, row in ANCHORED.items()},
}


def fit_of(row: str) -> str:
    """The fit that a row measures, a key of `FITS`."""
    return row.removesuffix(_SUFFIX)


def is_anchored(row: str) -> bool:
    """Whether a row is measured by anchored inference."""
    return row.endswith(_SUFFIX)
