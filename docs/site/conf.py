"""Settings of the documentation site; ``build.py`` writes the pages and runs Sphinx on them."""

import importlib.metadata

project = "dafm"
author = "the dafm authors"
project_copyright = "the dafm authors, Apache-2.0"
release = importlib.metadata.version("dafm-core")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"dafm {release}"
html_theme_options = {
    "navigation_with_keys": True,
    "source_repository": "",
    "top_of_page_buttons": [],
}
html_show_sourcelink = False
html_copy_source = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "inherited-members": "Exception, ABC, Protocol, Generic",
}
python_maximum_signature_line_length = 80
suppress_warnings = ["myst.header", "ref.python"]  # names that several classes have
