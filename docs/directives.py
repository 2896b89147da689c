"""Sphinx's directive `reference`, which writes the public names of a module.

    ```{reference} wna_tf.rules
    ```

A name without docstring is a warning, which `make docs` takes for an error.
"""

from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from docs import public_names, reference_pages

_LOGGER = logging.getLogger(__name__)


class Reference(SphinxDirective):
    """Writes the public names of a module, with tables of what they take, return and raise."""

    required_arguments = 1

    def run(self) -> list[Any]:
        """Returns the nodes of the names; Sphinx calls it."""
        (module,) = self.arguments
        for name in public_names.names(module):
            if not name.docstring:
                told = f"Expected a docstring. Received: none of {module}.{name.name}"
                _LOGGER.warning(told, location=self.get_location())
        return self.parse_text_to_nodes(reference_pages.page(module))


def setup(app: Sphinx) -> dict[str, bool]:
    """Adds the directive; Sphinx calls it."""
    app.add_directive("reference", Reference)
    return {"parallel_read_safe": True}
