"""Log lines and error messages contain no control characters of paths and models."""

import logging
import os
import sys

from mathft_jax import grade
from mathft_jax.config import entry_point, terminal_text

HOSTILE = '\x1b[31mred\x1b]0;title\x07\x00\x08\x7f\x9b2J\u202e\r'


def test_control_characters_are_shown_and_text_stays():
  shown = terminal_text.show_control_characters(f'a{HOSTILE}b\tü\n')
  assert shown.startswith('a\\x1b[31mred') and shown.endswith('b\tü\n')
  assert shown.replace('\t', '').replace('\n', '').isprintable()


def test_log_lines_and_tracebacks_have_no_control_characters():
  try:
    raise ValueError(HOSTILE)
  except ValueError as error:
    info = (ValueError, error, error.__traceback__)
  record = logging.LogRecord('n', 30, 'p', 1, '%s', (HOSTILE,), info)
  text = terminal_text.LogFormatter('process 1: ').format(record)
  assert 'process 1: \\x1b[31mred' in text and 'Traceback' in text
  assert '\x1b' not in text and '\x9b' not in text and '\u202e' not in text


def test_a_hostile_path_is_escaped_on_the_terminal(tmp_path, capsys):
  path = tmp_path / 'a\x1b[2Jb.jsonl'
  path.write_text('nonsense')
  arguments = [
    '--gin_file=programs/grade.gin',
    f'--gin.INFER_OUTPUT_DIR="{tmp_path}/out"',
    f'--gin.CANDIDATES="{tmp_path}/a\\x1b[2Jb.jsonl"',
  ]
  assert entry_point.main(grade.grade, ['grade', *arguments]) == 1
  text = capsys.readouterr().err
  assert 'a\\x1b[2Jb.jsonl:1' in text
  assert '\x1b' not in text


def test_a_reader_that_stops_early_is_no_error(monkeypatch):
  reading_end, writing_end = os.pipe()
  os.close(reading_end)
  stream = os.fdopen(writing_end, 'w')
  monkeypatch.setattr(sys, 'stdout', stream)
  terminal_text.print_to_pipe('text')
  stream.close()  # flushes again
