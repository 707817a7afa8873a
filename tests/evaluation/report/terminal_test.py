"""Tables on a terminal: colours on a tty, plain text in a log, at most 100 columns."""

import io
import sys

import pytest

from mathft_jax.evaluation.report import tables, terminal

WIDE = tables.Table(
  'T',
  ('', *(f'column {number}' for number in range(12)), 'result'),
  (
    ('first [b]row[/b] \x1b[31m', *(['56.3 [53.6, 58.9]'] * 12), 'shows'),
    ('a - b', *(['+7.6 [+3.2, +12.0]'] * 12), 'reversed'),
  ),
  'A note.',
)


class Tty(io.StringIO):
  def isatty(self):
    return True


def test_a_wide_table_is_several_in_a_log(capsys):
  terminal.print_table(WIDE)
  text = capsys.readouterr().out
  assert max(map(len, text.splitlines())) <= 100
  assert text.count('first [b]row[/b] \\x1b[31m') > 2 and '\x1b' not in text
  assert text.count('56.3 [53.6, 58.9]') == 12
  assert all(f'column {number}' in text for number in range(12))


def test_a_long_name_is_wrapped(capsys):
  name = 'one word after another ' * 6
  row = (name.strip(), *(['56.3 [53.6, 58.9]'] * 3))
  terminal.print_table(tables.Table('T', ('', 'a', 'b', 'c'), (row,)))
  text = capsys.readouterr().out
  assert max(map(len, text.splitlines())) <= 100
  assert text.count('another') == 6 and text.count('56.3 [53.6, 58.9]') == 3


@pytest.mark.parametrize(
  'cell, colour',
  [
    ('+7.6 [+3.2, +12.0]', '\x1b[32m'),
    ('-7.6 [-12.0, -3.2]', '\x1b[31m'),
    ('-7.6 [-12.0, +3.2]', None),
    ('reversed', '\x1b[31m'),
  ],
)
def test_differences_are_coloured_on_a_tty(monkeypatch, cell, colour):
  stream = Tty()
  monkeypatch.setattr(sys, 'stdout', stream)
  monkeypatch.setenv('TERM', 'xterm-256color')
  monkeypatch.delenv('NO_COLOR', raising=False)
  terminal.print_table(tables.Table('T', ('', 'x'), (('row', cell),)))
  text = stream.getvalue()
  assert '\x1b[1m' in text  # the title is bold
  assert cell in text
  before = text[: text.index(cell)]
  last_code = before.rpartition('\x1b[')[2].partition('m')[0]
  assert last_code == (colour[2:-1] if colour else '0')
