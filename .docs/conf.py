"""How Sphinx turns the sources that build.py has written into the site."""

import importlib
import inspect
import os
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project, author = "pokeml", "The pokeml authors"
release = metadata.version("pokeml")
copyright = "The pokeml authors, Apache License 2.0"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.linkcode",
    "sphinx_click",
    "sphinx_copybutton",
]
nb_execution_mode = "off"  # build.py has executed them
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing",
    "myst.header",
    "mystnb.unknown_mime_type",
    "misc.highlighting_failure",
    "ref.python",
]
suppress_warnings += ["ref.term", "ref.ref"]  # in what classes inherit from scikit-learn
exclude_patterns = ["**.ipynb_checkpoints"]
root_doc = "index"

autodoc_typehints = "signature"
autodoc_default_options = {"show-inheritance": True}
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"  # `Pipeline.outputs` is below `Pipeline` anyway

html_theme = "pydata_sphinx_theme"
html_title = "pokeml"
html_static_path = ["static"]
html_favicon = "static/favicon.svg"  # else each browser asks for one that is not there
html_css_files = ["site.css"]
templates_path = ["templates"]
html_copy_source = True
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc", "open-notebook"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto", "repository": os.environ.get("REPOSITORY_URL", "")}
copybutton_exclude = ".linenos, .gp, .go"


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Lead from a name to the cell of the notebook that it is exported from."""
    from pokeml.in_step import place_of
    from pokeml.project import find_project

    found = importlib.import_module(info["module"])
    for part in info["fullname"].split("."):
        found = getattr(found, part, None)
    try:
        found = inspect.unwrap(found.fget if isinstance(found, property) else found)
        file, (_, line) = inspect.getsourcefile(found), inspect.getsourcelines(found)
    except (TypeError, OSError, AttributeError):  # a constant, or what a library made
        return None
    place = place_of(file, line + 1, find_project(ROOT)) if file and Path(file).is_relative_to(ROOT / "pokeml") else {}
    if not place.get("notebook"):
        return None
    page = place["notebook"].removeprefix("nbs/").removesuffix(".ipynb")
    return f"../{page}.html#cell-{place['cell']}"
