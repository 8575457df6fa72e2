"""A text that the model is to write: what a translation or a summary is measured by."""

from dataclasses import replace

from tunedeploy.data.kinds.text import TEXT

REFERENCE = replace(TEXT, name="reference", target=True)
