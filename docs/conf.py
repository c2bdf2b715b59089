"""How the documentation site is built: `python -m sphinx -W --keep-going docs docs/_build`, without a network."""

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "_extensions")]

project = "pyro_dsvae"
author = "the authors of pyro_dsvae"
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "matplotlib.sphinxext.plot_directive",
    "mathml",  # the first of our own, in _extensions
    "plain_docstrings",
    "api_pages",
]
exclude_patterns = ["_build", "_extensions"]

# Markdown. Headings are link targets, as in README.
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence", "attrs_block"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
# Notebooks are stored without outputs, and run here in an empty folder each: what they show is what this version does. A cell
# that raises is a warning, which -W makes an error.
nb_execution_mode = "force"
os.environ.pop("MPLBACKEND", None)  # of whoever builds: the pages show figures
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_show_tb = True
nb_merge_streams = True
# Of tqdm, which Pyro imports: bars of notebooks need ipywidgets, and those of this package do not.
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"

# The graphical model is drawn at build time.
plot_formats = [("svg", 100)]
plot_html_show_formats = False
plot_html_show_source_link = False

# Formulas become MathML, which browsers show by themselves: MathJax and KaTeX would come from another host, and pictures
# of formulas would need LaTeX on the machine that builds.
html_math_renderer = "mathml"

# Docstrings: Google style; types stand in the signature; what stands in single back-quotes is code, and a link where it
# names something.
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # fields of dataclasses are members already
default_role = "py:obj"
suppress_warnings = ["ref.python"]  # `f` is an attribute of several classes, and no link then
add_module_names = False
toc_object_entries = False

html_theme = "furo"
html_title = "pyro_dsvae"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
