"""The type of a program whose settings gin has bound.

A program that calls others (`recipe`, `measure`, `rerank`) gets them as values of this type,
passes a work directory and inputs, and gets the path of the output.
"""

from collections.abc import Callable

from etils import epath

BoundProgram = Callable[..., epath.Path]
