"""Tests of the grader on hostile input: bounded time, no code execution, no wrong equivalence."""

import time

import pytest

from mathft_jax import grading
from mathft_jax.grading import equivalence

# Process time, so that other work on the machine does not count.
SLOWEST_S = 1.0

HOSTILE = {
  'tower': '9^{9^{9^9}}',
  'ascii tower': '9**9**9**9',
  'long tower': '^'.join(['2'] * 50),
  'polynomial': '(x+1)^{5000}',
  'huge polynomial': '(x+1)^{10^{9}}',
  'factorial': '99999999!',
  'factorial of a power': '(10^{10})!',
  'factorials': '9' + '!' * 300,
  'braces': '{' * 100_000 + '4',
  'brackets': '(' * 100_000 + '4' + ')' * 100_000,
  'megabyte': '4 ' * 500_000,
  'sum': '+'.join(['1'] * 900),
  'quotient': '/'.join(['1'] * 900),
  'signs': '-' * 1900 + '4',
  'chain': '<'.join(['x'] * 900),
  'product': '*'.join(f'(x+{n})' for n in range(200)),
  'roots': '\\sqrt{' * 38 + '2' + '}' * 38,
  'fractions': '\\frac{1}{1+' * 38 + '2' + '}' * 38,
  'functions': '\\sin' * 400 + ' x',
  'texts': '\\text{' * 2000 + 'a' + '}' * 2000,
  'sum of powers': r'\sum_{k=1}^{10^{12}} k^{k}',
  'nested sums': r'\sum_{k=1}^{900} ' * 4 + 'k',
  'exponential': 'e^{e^{e^{e^{e^{10}}}}}',
  'sine of a tower': r'\sin(9^{9^{9^9}} x)',
  'exponent': '1e999999999',
  'signs of roots': r'\pm 1' + r'\pm\sqrt{2}' * 40,
  'union': r'\cup'.join(f'({n},{n + 2})' for n in range(200)),
  'gcd': 'gcd(10^{100000}, 3^{200000})',
  'matrix': r'\begin{pmatrix}' + '&'.join(['1'] * 900) + r'\end{pmatrix}',
  'matrices': r'\begin{pmatrix}' * 100 + '1' + r'\end{pmatrix}' * 100,
  'digits': '0.' + '3' * 50_000,
  'binomial': r'\binom{10^{10}}{10^{9}}',
  'letters': 'x' * 50_000,
  'spaces': '4' + '\\!' * 20_000,
  'tower of roots': r'2^{1/3^{1/5^{1/7^{1/11}}}}',
  'points': 'A(' * 38 + '1' + ')' * 38,
  'rows': '[' * 38 + '1' + ']' * 38,
  'roots of powers': r'\pi 1/√√√√\max 99999999!t\max9^° ∪ 9^9^π1/√√√√\max99999999!t\max9',
  'signs of relations': (
    r'2pi\pm\fbox{∞∞\pm½<=F1e92pi\pm\fbox{∞∞\frac\binom\binom99999999!'
    r'\pi\pm½<=F1e9'
  ),
  'roots of roots': '√' + r'\sqrt[3]' * 130 + '1e999999M=13',
  'factorials in readings': (
    r'\boxed99999999!99999999!>F99999999!\pm\pm\pm99999999!√'
    + r'\frac' * 7
    + '99999999!' * 10
    + 'F>F99999999!99999999!'
  ),
  'roots in readings': (
    r'\gcd\boxed99999999!>F99999999!and\pm\pm\pm99999999!F99999999!>'
    + r'\sqrt' * 37
    + '99999999!99999999!'
  ),
  'arc tangent': 'dx^\\tan^{-1}dx\\boxed^9^π²∞_2',
  'arc tangent of a small number': r'\arctan((-9)^{-9^{9}\pi})',
  'determinant': r'\begin{vmatrix}'
  + r'\\'.join(['&'.join('abcdefghi')] * 9)
  + r'\end{vmatrix}',
  'system': "__import__('os').system('echo x > pwned.txt')",
  'globals': 'globals()',
  'write': 'open("pwned.txt","w").write("x")',
  'lambda': '(lambda: 4)()',
  'exec': "\\pi+exec(\"open('pwned.txt','w').write('x')\")",
  'format': '{0.__class__}%s%n',
}


@pytest.mark.parametrize('text', HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_input_is_fast_and_only_equivalent_to_itself(
  text, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  start = time.process_time()
  for answer in ('4', 'x', r'\frac{1}{2}', '(1,2)', 'x+1', r'\sqrt{2}'):
    assert not grading.is_equivalent(answer, text)
  assert grading.is_equivalent(text, text)
  assert time.process_time() - start < SLOWEST_S
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'text', [r'\begin{cases}\end{cases}', r'\begin{matrix}\end{matrix}']
)
def test_empty_environments_are_not_equivalent_to_a_number(text):
  assert not grading.is_equivalent('4', text)


@pytest.mark.parametrize(
  'function', [r'\det', r'\sin', r'\max', r'\gcd', r'\ln', 'f']
)
def test_functions_of_nothing_are_not_equivalent_to_a_number(function):
  text = function + r'\{\}'
  assert not grading.is_equivalent('4', text)
  assert grading.is_equivalent(text, text)


def test_keys_of_deep_answers_do_not_depend_on_earlier_calls():
  compute_keys = equivalence._cached_keys.__wrapped__
  end = r'1/\frac1e999999\frac%5\begin{pmatrix}dx\end{pmatrix}cmcmcmcm'
  for length in range(60, 180, 4):
    text = 'cm' * length + end
    assert compute_keys(text) == compute_keys(text), length


def test_braces_without_content_are_unreadable():
  assert grading.cluster_answers(['{' * 100_000, '}' * 100_000]) == [None, None]


def test_large_towers_of_powers_are_different():
  towers = [
    '9^{9^{9^9}}',
    '9^{9^{9^8}}',
    '9^{9^{9^9}}+1',
    '2\\cdot 9^{9^{9^9}}',
    '99999999!',
    '99999998!',
  ]
  assert grading.cluster_answers(towers) == list(range(len(towers)))


@pytest.mark.parametrize(
  'text',
  [
    '{' * 200_000 + '\\boxed{13}',
    '\\boxed{' * 50_000,
    '<answer>' * 50_000,
    'answer ' * 50_000,
    '# Answer\n' * 50_000,
    '\\boxed{}' * 50_000,
    '$' * 200_000,
    'the answer is ' * 30_000,
    '####' * 50_000,
    'answer' + ' ' * 200_000,
    'answer of' + ' a' * 100_000,
  ],
)
def test_extraction_time_is_linear(text):
  start = time.process_time()
  grading.extract_answer(text)
  assert time.process_time() - start < SLOWEST_S
