"""Text of data files has no effect in reports: tags, links, cells, control characters.

The HTML is checked by the standard library's parser, not in a browser.
"""

from html import parser

import pytest

from mathft_jax.evaluation.report import tables

HOSTILE = [
  '<script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '"><svg/onload=alert(1)>',
  '</td></tr></table><h1>x',
  '<!-- comment',
  '[x](javascript:alert(1))',
  '![x](http://example.com/x.png)',
  'a | b\n| c |',
  '\x1b[31mred\x1b]0;title\x07',
  '\x00\x08\x7f\x9b2J',
  '\u202etxt.exe',
  '&lt;script&gt;',
]
TAGS = {'h3', 'div', 'table', 'thead', 'tbody', 'tr', 'th', 'td', 'p'}


class _Reader(parser.HTMLParser):
  """Collects the tags, the attributes and the text of a page."""

  def __init__(self):
    super().__init__()
    self.tags = set()
    self.attributes = []
    self.text = ''

  def handle_starttag(self, tag, attrs):
    self.tags.add(tag)
    self.attributes += attrs

  def handle_data(self, data):
    self.text += data

  def handle_comment(self, data):
    self.tags.add('comment')


def _table(text):
  return tables.Table(text, ('name', text), ((text, text),), note=text)


@pytest.mark.parametrize('text', HOSTILE)
def test_html_contains_hostile_text_as_text_only(text):
  page = tables.table_to_html(_table(text))
  reader = _Reader()
  reader.feed(page)
  reader.close()
  assert reader.tags <= TAGS
  assert reader.attributes == [('class', 'table'), ('class', 'note')]
  assert tables.show_control_characters(text) in reader.text


@pytest.mark.parametrize('text', HOSTILE)
def test_markdown_contains_no_tag_no_link_and_no_control_character(text):
  markdown = tables.table_to_markdown(_table(text))
  assert markdown.replace('\n', '').isprintable()
  for start in ('<s', '<i', '</', '<!', ']('):
    position = markdown.find(start)
    assert position < 0 or markdown[position - 1] == '\\'
  rows = [line for line in markdown.split('\n') if line.startswith('| ')]
  columns = [row.replace('\\|', '').count('|') for row in rows[:2]]
  assert columns == [3, 3]
