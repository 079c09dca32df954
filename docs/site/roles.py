"""Docstrings write references and equations as Sphinx does; here they become what mkdocstrings understands."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|data|meth|attr|mod):`(~?)([\w.]+)`")
MATH = re.compile(r":math:`(.+?)`", flags=re.DOTALL)


class Roles(griffe.Extension):
    """References are links where the site has the object, else code; equations go to arithmatex."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of every object."""
        if obj.docstring is None:
            return

        def reference(found: re.Match[str]) -> str:
            short, name = found[1], found[2]
            path = name if name.startswith("spinloom.") else f"{obj.module.path}.{name}"
            shown = name.rsplit(".", 1)[-1] if short or name.startswith("spinloom.") else name
            return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'

        text = MATH.sub(lambda found: rf"\({' '.join(found[1].split())}\)", obj.docstring.value)
        obj.docstring.value = ROLE.sub(reference, text)
