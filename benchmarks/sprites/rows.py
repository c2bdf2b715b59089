"""The rows of the Sprites benchmark: what is fitted, and under which guide it is evaluated."""

# Stands for the scale at which a normal likelihood is the squared error of the paper's code, summed over 64 x 64 pixels.
PAPER_SCALE = "PAPER_SCALE"
PAPER = ["--likelihood.scale_kind", "fixed", "--likelihood.scale", PAPER_SCALE]


def _fit(title: str, *options: str, views: str = "recolour") -> tuple[str, list[str]]:
    """A title and the options of a fit, with the networks and the prior that all records have where they name no others."""
    prior = [] if "--dynamic_prior" in options else ["--dynamic_prior", "Flow"]
    networks = ["--decoder", "Regions", "--optimisation.static_start", "0", "--optimisation.optimizer", "Adam"]
    return title, [*networks, *prior, *options, "--posterior.views", views]


# The default of the package now; all other rows have what was the default before.
PRESENT = "present"
# Name -> title, options of fit.
FITS: dict[str, tuple[str, list[str]]] = {
    PRESENT: ("the default now", ["--decoder", "Textures", "--posterior.views", "turn"]),
    "default": _fit("default"),
    "standard-normal": _fit("static prior N(0, I)", "--static_prior", "StandardNormal"),
    "no-views": _fit("without guide views", views="none"),
    "factorised": _fit("factorised posterior", "--posterior", "Factorised"),
    "iid": _fit("IID prior", "--dynamic_prior", "IID"),
    "no-static": _fit("without a static part", "--static_size", "0"),
    "contrastive": _fit("C-DSVAE-style objective", "--contrastive", "Contrastive", views="none"),
    "no-views-paper": _fit("without guide views, C-DSVAE's likelihood", *PAPER, views="none"),
    "contrastive-paper": _fit(
        "C-DSVAE-style objective and likelihood", "--contrastive", "Contrastive", *PAPER, views="none"
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
