"""The documentation's site: `make docs` builds it, without a network and without TensorFlow."""

import pathlib
import sys
import tomllib

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

_project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
project = html_title = _project["name"]
version = release = _project["version"]
author = "the wna_tf authors"
copyright = author

extensions = ["myst_parser", "docs.directives"]
# Pages of GitHub too: a heading has the anchor there that it has here.
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline"]
highlight_language = "none"
exclude_patterns = ["__pycache__"]

python_maximum_signature_line_length = 80
add_module_names = False
smartquotes = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
