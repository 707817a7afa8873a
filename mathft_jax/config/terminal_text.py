"""Text of files and models is printed to terminals without control characters.

A terminal obeys ESC and other control characters: text with them can hide or change other lines.
"""

import logging
import os
import sys


class LogFormatter(logging.Formatter):
  """Formats log records, tracebacks included, with control characters as `\\x1b`."""

  def __init__(self, prefix: str = ''):
    """`prefix` is text before each message."""
    super().__init__(
      f'%(asctime)s %(levelname).1s {prefix}%(message)s', '%H:%M:%S'
    )

  def format(self, record: logging.LogRecord) -> str:
    """Returns the text of a record."""
    return show_control_characters(super().format(record))


def show_control_characters(text: str) -> str:
  """Returns text with `\\x1b` instead of ESC and the like; line feeds and tabs stay."""
  if text.isprintable():
    return text
  characters = []
  for character in text:
    if character.isprintable() or character in '\n\t':
      characters.append(character)
    else:
      characters.append(ascii(character)[1:-1])
  return ''.join(characters)


def print_to_pipe(text: str) -> None:
  """Prints a text; without an error if the reader stops before its end, as in `--help | head`."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    # The interpreter flushes again when it exits.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
