"""Notations: pairs of notation_pairs.tsv, families of generated answers, metamorphic properties.

The pairs are in the format of answer_pairs.tsv. Families combine each rule of
docs/grading_specification.md with numbers, signs, units, spacing and wrappers.
"""

import itertools
import math
import pathlib

import pytest

from mathft_jax import grading

WRAPPERS = (
  '{}',
  '${}$',
  ' {}  ',
  r'\boxed{{{}}}',
  r'\displaystyle {}',
  r'\({}\)',
  '**{}**',
)
ONE_WAY = (
  r'\gg \ll \subset \subseteq \supset \supseteq \prec \succ \preceq \succeq \lesssim \gtrsim '
  r'\to \Rightarrow \implies \mapsto \vdash \models \in \notin \ni \setminus \bmod < \le > \ge '
  r'\circ \ominus \oslash \otimes \rtimes \ltimes \wr \triangleleft \sqsubseteq \hookrightarrow '
  r'\rightsquigarrow \nearrow \unknowncommand \mid \nsubseteq \not\in \not\subset - /'
).split()
TWO_WAY = (
  r'= \ne \sim \cong \parallel \perp \iff \Leftrightarrow \propto \cup \cap \land \lor \oplus '
  r'+ \cdot'
).split()
OPERANDS = ((r'x', r'y'), (r'A', r'B'), (r'\alpha', r'\beta'), ('p_1', 'p_2'))
UNITS = (
  *(
    '',
    ' cm',
    r'\text{ cm}',
    r'\ \mathrm{cm}^2',
    '%',
    r'\%',
    ' push-ups',
    ' sq. inches',
  ),
  *(
    ' (square units)',
    r'\text{ miles per hour}',
    ' (t-shirts)',
    ' kg/m^3',
    '-inch',
    r'^\circ',
  ),
)
NUMBERS = ('7', '0.25', r'\frac{3}{8}', '1,200', '12.', r'2\frac13')
EXACT = {
  r'5\sqrt{2}': 5 * math.sqrt(2),
  r'\pi': math.pi,
  r'\frac{100}{7}': 100 / 7,
  r'\frac{1+\sqrt{5}}{2}': (1 + math.sqrt(5)) / 2,
  r'e^{-2}': math.exp(-2),
  r'\ln 10': math.log(10),
}


def read_pairs():
  path = pathlib.Path(__file__).parent / 'notation_pairs.tsv'
  pairs, kind, verdict = [], '', ''
  for line in path.read_text(encoding='utf-8').split('\n')[:-1]:
    if line.startswith('# ') and ': ' in line:
      kind, verdict = line[2:].split(': ')
    else:
      left, right = line.split('\t')
      pairs.append((kind, verdict == 'equal', left, right))
  return pairs


PAIRS = read_pairs()
KINDS = sorted({kind for kind, *_ in PAIRS})


def key(text):
  found = grading.answer_key(text)
  assert found is not None, text
  return found


@pytest.mark.parametrize('kind', KINDS)
def test_pairs_have_equal_keys_or_not(kind):
  wrong = []
  for pair_kind, is_equal, left, right in PAIRS:
    if pair_kind == kind and (key(left) == key(right)) != is_equal:
      wrong.append((left, right))
  assert wrong == []


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_presentation_does_not_change_a_key(wrapper):
  wrong = []
  for text in sorted(
    {text for *_, left, right in PAIRS for text in (left, right)}
  ):
    if _may_wrap(text) and key(wrapper.format(text)) != key(text):
      wrong.append(text)
  assert wrong == []


def _may_wrap(text):
  """Returns False for texts that wrappers change: signs, an open brace, Markdown."""
  return (
    text.isascii() and len(text) > 1 and '$' not in text and '*' not in text
  )


@pytest.mark.parametrize(
  'old, new',
  [
    (r'\frac', r'\dfrac'),
    ('(', r'\left('),
    (' ', r'\ '),
    (' ', '  '),
    (r'\text', r'\textrm'),
    (r'\approx', '≈'),
    (r'\mathbb{Z}', 'ℤ'),
    (r'^{\prime}', "'"),
    (r'\begin{cases}', r'\begin{cases} '),
    (r'\le', r'\leqslant'),
  ],
)
def test_a_spelling_does_not_change_a_key(old, new):
  wrong = []
  texts = {text for *_, left, right in PAIRS for text in (left, right)}
  for text in sorted(texts):
    other = text.replace(old, new)
    if new == r'\left(':
      other = other.replace(')', r'\right)')
    is_command_prefix = old == r'\le' and (r'\left' in text or r'\leq' in text)
    if other != text and not is_command_prefix and not _has_escape(text):
      if key(other) != key(text):
        wrong.append((text, other))
  assert wrong == []


def _has_escape(text):
  """Returns True for a text in which a replaced space or bracket would mean something else."""
  marks = (r'\left', r'\(', '\\ ', '  ', r'\vec ', r'\root', 'sim')
  return any(mark in text for mark in marks)


@pytest.mark.parametrize('operator', ONE_WAY)
def test_operands_of_a_one_way_operator_keep_their_order(operator):
  for left, right in OPERANDS:
    forward, backward = (
      f'{left} {operator} {right}',
      f'{right} {operator} {left}',
    )
    assert key(forward) != key(backward), forward
    assert key(f'${left}{operator} {right}$') == key(forward)


@pytest.mark.parametrize('operator', TWO_WAY)
def test_operands_of_a_commuting_operator_may_be_swapped(operator):
  for left, right in OPERANDS:
    forward, backward = (
      f'{left} {operator} {right}',
      f'{right} {operator} {left}',
    )
    assert key(forward) == key(backward), forward


def test_operators_are_different_from_each_other():
  keys = {key(f'x {operator} y') for operator in ONE_WAY}
  # Each of these is read like another one.
  same = {r'\implies', r'\Rightarrow', r'\not\in', r'\ni', r'\le', '<'}
  assert len(keys) >= len(ONE_WAY) - len(same)


@pytest.mark.parametrize('unit', UNITS)
def test_units_do_not_change_a_number(unit):
  for number, sign in itertools.product(NUMBERS, ('', '-')):
    if unit == '-inch' and number.endswith('.'):
      continue
    text = f'{sign}{number}'
    assert key(text + unit) == key(text), text + unit
    assert key(f'${text}${unit}') == key(text), text + unit


@pytest.mark.parametrize(
  'word, factor', [('dozen', 12), ('score', 20), ('gross', 144)]
)
def test_multiples_in_words_are_computed(word, factor):
  for count in (2, 3, 7, 10):
    for text in (
      f'{count} {word}',
      rf'{count}\text{{ {word}}}',
      f'{count} {word} eggs',
    ):
      assert key(text) == key(str(count * factor)) != key(str(count))


@pytest.mark.parametrize(
  'word, size',
  [('tenth', 10), ('hundredth', 100), ('thousandth', 1000), ('twelfth', 12)],
)
def test_fractions_in_words_are_computed(word, size):
  for count in (1, 3, 7):
    plural = word if count == 1 else f'{word}s'
    assert key(f'{count} {plural}') == key(f'{count}/{size}') != key(str(count))
  assert key(f'three {word}s') == key(f'3/{size}')


@pytest.mark.parametrize('word, power', [('squared', 2), ('cubed', 3)])
def test_powers_in_words_are_computed(word, power):
  for base in ('3', 'x', '10', '(x+1)'):
    assert key(f'{base} {word}') == key(f'{base}^{power}') != key(base)
    assert key(rf'{base} \text{{ {word}}}') == key(f'{base}^{power}')
  assert key(f'5 meters {word}') == key('5')


@pytest.mark.parametrize('sign', [r'\approx', '≈', r'\simeq', r'\doteq', '≃'])
def test_of_exact_and_rounded_value_the_exact_one_counts(sign):
  for (exact, value), digits in itertools.product(EXACT.items(), (1, 2, 4)):
    rounded = f'{value:.{digits}f}'
    for text in (
      f'{exact} {sign} {rounded}',
      f'{exact}{sign} {rounded}',
      f'x = {exact} {sign} {rounded}',
      f'{exact} ({sign} {rounded})',
      rf'{exact} \text{{ cm}} {sign} {rounded} \text{{ cm}}',
      f'{rounded} {sign} {exact}',
      f'{exact}, or about {rounded}',
    ):
      assert key(text) == key(exact) != key(rounded), text
    assert key(f'x {sign} {rounded}') == key(rounded)


def test_minutes_and_seconds_are_sixtieths_of_a_degree():
  for degrees, minutes, seconds in itertools.product(
    (0, 12, 135), (0, 6, 45), (0, 36)
  ):
    value = f'{3600 * degrees + 60 * minutes + seconds}/3600'
    for text in (
      rf"{degrees}^\circ {minutes}' {seconds}''",
      rf'{degrees}^{{\circ}} {minutes}^{{\prime}} {seconds}^{{\prime\prime}}',
      f'{degrees}°{minutes}′{seconds}″',
      f'{degrees}°{minutes}\'{seconds}"',
      f'{degrees} degrees {minutes} minutes {seconds} seconds',
    ):
      assert key(text) == key(value), text


ROWS = (('x^2', 'x > 1', '1 < x'), ('0', 'x \\le 1', '1 \\ge x'))


@pytest.mark.parametrize(
  'separator', [' & ', ', & ', r' & \text{if } ', r', & \text{ for } ', ' if ']
)
@pytest.mark.parametrize(
  'begin, end',
  [
    (r'\begin{cases}', r'\end{cases}'),
    (r'\left\{\begin{array}{ll}', r'\end{array}\right.'),
    (r'\left\{\begin{matrix}', r'\end{matrix}\right.'),
    (r'f(x)=\begin{cases}', r'\end{cases}'),
    (r'\left\{\begin{aligned}', r'\end{aligned}\right.'),
  ],
)
def test_cases_are_a_set_of_values_with_conditions(begin, end, separator):
  expected = key(r'\begin{cases} x^2 & x > 1 \\ 0 & x \le 1 \end{cases}')
  swapped = key(r'\begin{cases} 0 & x > 1 \\ x^2 & x \le 1 \end{cases}')
  for order, spelling in itertools.product((1, -1), (1, 2)):
    rows = [f'{row[0]}{separator}{row[spelling]}' for row in ROWS[::order]]
    text = begin + r' \\ '.join(rows) + end
    assert key(text) == expected != swapped, text
  otherwise = rf'{begin} x^2{separator}x>1 \\ 0 & \text{{otherwise}} {end}'
  assert key(otherwise) == expected


@pytest.mark.parametrize(
  'begin, middle, end',
  [
    (r'\begin{cases}', '=', r'\end{cases}'),
    (r'\left\{\begin{array}{l}', '=', r'\end{array}\right.'),
    (r'\left\{\begin{array}{rcl}', '&=&', r'\end{array}\right.'),
    (r'\begin{align*}', '&=', r'\end{align*}'),
    (r'\left\{\begin{aligned}', '&=', r'\end{aligned}\right.'),
    (r'\begin{gathered}', '=', r'\end{gathered}'),
  ],
)
def test_systems_of_equations_are_lists_of_equations(begin, middle, end):
  for x, y in itertools.product(('1', '-3', r'\frac12'), ('2', '0.5')):
    text = rf'{begin}x{middle}{x}\\y{middle}{y}{end}'
    assert key(text) == key(f'x={x}, y={y}') == key(f'({x},{y})'), text


@pytest.mark.parametrize(
  'left, right',
  [
    ('x^2-1', '(x-1)(x+1)'),
    (r'\sin 2x', r'2\sin x\cos x'),
    ('(a+b)^2', 'a^2+2ab+b^2'),
    (r'\frac{x^2-4}{x-2}', 'x+2'),
    ('3(x-2)', '3x-6'),
  ],
)
def test_an_identity_has_the_key_of_its_sides(left, right):
  assert (
    key(f'{left} = {right}')
    == key(f'{right} = {left}')
    == key(right)
    == key(left)
  )
  assert key(f'{left} = {right} + 1') != key(f'{right} + 1')


@pytest.mark.parametrize(
  'mark', ['\u2061', '\u200b', '\u200e', '\ufeff', '\u2060', '\u00ad', '\ufe0f']
)
def test_invisible_marks_are_ignored(mark):
  for text in ('5', r'\sin x', 'f(x)', '(1, 2)', 'x^2+1', 'no solution'):
    for position in range(1, len(text)):
      if text[0] == '\\' and position < 5:
        continue
      marked = text[:position] + mark + text[position:]
      assert key(marked) == key(text), marked


@pytest.mark.parametrize(
  'text',
  [*'★♥☀√∞αβжあ字한#@&><=≠+', '无解', 'да', '第一象限', '←', '1️⃣', '🙂', 'π'],
)
def test_texts_in_any_script_are_equal_to_themselves_only(text):
  assert key(text) == key(f' {text} ')
  assert key(text) != key('◇')


CHOICES = (
  r'\textbf{{({0})}}\ {1}',
  '({0}) {1}',
  '{0}) {1}',
  '{0}. {1}',
  r'\text{{({0}) }}{1}',
  '{0}: {1}',
)


@pytest.mark.parametrize('choice', CHOICES)
def test_a_choice_with_its_value_is_read_by_the_reference(choice):
  for letter, value in itertools.product(
    'ACE', ('28', '-5', r'\frac12', '12 cm', 'x+1')
  ):
    text = choice.format(letter, value)
    assert grading.is_equivalent(letter, text), text
    assert grading.is_equivalent(value, text), text
    assert grading.is_equivalent(f'({letter}) {value}', text)
    assert not grading.is_equivalent('B', text)
    assert not grading.is_equivalent('29', text)
    assert not grading.is_equivalent(text, value)
    assert not grading.is_equivalent(text, letter)
    assert not grading.is_equivalent(f'(B) {value}', text)


def test_verdicts_on_choices_are_reflexive_and_transitive():
  answers = [choice.format('C', '28') for choice in CHOICES]
  answers += ['C', '(C)', '28', '28.0', 'D', '(D) 28', '(C) 29', '29', 'x']
  right = {
    (a, b): grading.is_equivalent(a, b)
    for a, b in itertools.product(answers, repeat=2)
  }
  assert all(right[a, a] for a in answers)
  for a, b, c in itertools.product(answers, repeat=3):
    assert not (right[a, b] and right[b, c]) or right[a, c], (a, b, c)


def test_a_bare_list_is_a_point_if_the_reference_is_one():
  assert grading.is_equivalent('(-7, 3)', '-7, 3')
  assert not grading.is_equivalent('(-7, 3)', '3, -7')
  assert not grading.is_equivalent('-7, 3', '(-7, 3)')
  assert grading.is_equivalent('-7, 3', '3, -7')
  assert not grading.is_equivalent('(-7, 3, 1)', '-7, 3')


@pytest.mark.parametrize(
  'text',
  [
    r'k\pi \quad (k\in\mathbb{Z',
    r'k\pi, k \in \mathbb',
    'k, k ∈ Z^',
    '(a) 3 (b)',
    'C)',
    r'\begin{cases} 1 &',
    r'\{\begin{array}{l} x=1',
  ],
)
def test_answers_that_end_too_early_are_equal_to_themselves(text):
  assert key(text) == key(text + ' ')


@pytest.mark.parametrize(
  'form',
  [
    r'{0}, {2}; {1}, {3}',
    r'{0}, {2} \\ {1}, {3}',
    r'f(x) = {0}, {2}; f(x) = {1}, {3}',
    r'\begin{{cases}} f(x) = {0} & {2} \\ f(x) = {1} & {3} \end{{cases}}',
    r'\begin{{cases}} f(x) = {0}, & {2} \\ f(x) = {1}, & {3} \end{{cases}}',
  ],
)
@pytest.mark.parametrize(
  'conditions',
  [
    ('x > 0', r'x \le 0'),
    ('n is even', 'n is odd'),
    ('x > y', 'x < y'),
    (r'x \in [0, 1]', r'x \notin [0, 1]'),
    ('n = 1', 'n > 1'),
    ('x > 0', 'otherwise'),
  ],
)
def test_values_of_cases_keep_their_conditions(form, conditions):
  first, second = conditions
  answer = form.format('2x', '-x', first, second)
  assert grading.is_equivalent(answer, form.format('-x', '2x', second, first))
  assert not grading.is_equivalent(
    answer, form.format('2x', '-x', second, first)
  )


def test_solutions_of_equations_are_no_cases():
  assert key(r'\begin{cases} x=1, y=2 \\ x=3, y=4 \end{cases}') == key(
    '1,2,3,4'
  )


@pytest.mark.parametrize(
  'series, closed',
  [
    (r'\sum_{k=0}^\infty x^k', r'\frac{1}{1-x}'),
    (r'1+x+x^2+\cdots', r'\frac{1}{1-x}'),
    (r'\sum_{n=1}^\infty n x^n', r'\frac{x}{(1-x)^2}'),
    (r'\int_0^x t^2 dt', r'\frac{x^3}{3}'),
  ],
)
def test_of_a_series_and_its_closed_form_the_closed_form_counts(series, closed):
  assert key(f'{series} = {closed}') == key(closed)
  assert key(f'{closed} = {series}') == key(closed)


def test_an_equation_with_a_sum_is_no_closed_form():
  assert key(r'1+2+\cdots+n = 55') != key('55')


@pytest.mark.parametrize(
  'words, number',
  [
    ('four score and seven', '87'),
    ('four score and seven years', '87'),
    ('2 dozen and 3', '27'),
    ('a gross and two', '146'),
    ('2 dozen and 3 dozen', '24, 36'),
  ],
)
def test_what_is_added_to_a_multiple_in_words(words, number):
  assert key(words) == key(number)


@pytest.mark.parametrize('names', ['M m', 'k b', 'a c', r'\alpha \beta'])
def test_values_of_the_same_names_are_not_exchanged(names):
  first, second = names.split()
  answer = f'{first} = 13, {second} = -3'
  assert grading.is_equivalent(answer, f'{second} = -3 and {first} = 13')
  assert not grading.is_equivalent(answer, f'{first} = -3, {second} = 13')
  assert grading.is_equivalent(answer, '13, -3')
  assert grading.is_equivalent('-3, 13', answer)
