"""Coverage-guided fuzzer of the grader: finds exceptions, slow inputs and unstable keys.

  python -m benchmarks.fuzz_grading runs/fuzz_corpus -max_total_time=3600 -max_len=400

Needs `pip install atheris`; the options are those of libFuzzer. The folder stores the corpus, and
the next run starts from it. Each byte of an input is a fragment of LaTeX or a character, so most
inputs look like answers. A failing input is written to `crash-<hash>` in the current folder.
Without `-max_total_time` the program runs until it is interrupted.
"""

import importlib
import subprocess
import sys
import time

atheris = importlib.import_module('atheris')  # optional dependency

with atheris.instrument_imports(include=['mathft_jax.grading']):
  from mathft_jax import grading
  from mathft_jax.grading import equivalence
  from mathft_jax.grading.canonical import sympy_closed_forms

SLOWEST_S = 1.0
_FRAGMENTS = (
  r'\frac \sqrt \sqrt[3] \binom \text{ \boxed{ \begin{pmatrix} \end{pmatrix} \begin{cases} '
  r'\end{cases} \left \right \pm \mp \cdot \times \div \le \ge \ne \approx \in \cup \cap '
  r'\setminus \infty \pi \theta \emptyset \mathbb{R} \sin \cos \tan^{-1} \ln \log_ \max \gcd '
  r'\det \sum_{k=1}^{ \prod_{k=1}^{ \int_0^1 \lim_{x\to0} dx '
  r'\overline{ \ldots \pmod \bmod \circ \angle \langle \rangle \lfloor \rfloor \{ \} \\ & $ \$ '
  r'\% \! {,} ** // <= >= != == := ... and or mod sqrt( sin( log pi union U inf cm two hundred '
  r'percent p.m. 9^ 99999999! 1e9 1e999999 0.333 0.3333333333 1/ /0 ½ ² π √ ∞ ≤ − ° ∪ \choose '
  r'\over _2 _{16} f( x_1 \frac12 \boxed \fbox{ #### </think> <answer> </answer> Answer: '
  r'dozen score if otherwise M=13 = ; (C) squared even'
).split() + [' ', '\n', 'the answer is ', '# Answer\n', ', so it is ']
_TIMED_PROGRAM = """
import sys, time
from mathft_jax import grading
from mathft_jax.grading import equivalence
from mathft_jax.grading.canonical import sympy_closed_forms
sympy_closed_forms.find_closed_form = lambda tree: None
equivalence._cached_keys.__wrapped__('1+1')
text = sys.stdin.buffer.read().decode()
start = time.process_time()
equivalence._cached_keys.__wrapped__(text)
grading.extract_answer(text)
print(time.process_time() - start)
"""
_TEXT_OF_BYTE = (_FRAGMENTS + list(map(chr, range(32, 127))))[:256]


def _no_closed_form(tree: object) -> None:
  """Replaces sympy, which runs in a worker process with a deadline and is not fuzzed."""


sympy_closed_forms.find_closed_form = _no_closed_form


def decode_input(data: bytes) -> str:
  """Returns the fragments of the bytes; plain UTF-8 after a first byte of 0xF0 or more."""
  if data[:1] >= b'\xf0':
    return data[1:].decode('utf-8', 'replace')
  return ''.join(_TEXT_OF_BYTE[byte % len(_TEXT_OF_BYTE)] for byte in data)


def seconds_without_instrumentation(text: str) -> float:
  """Returns the processor time of an input in a new process: here it is up to ten times more."""
  done = subprocess.run(
    [sys.executable, '-c', _TIMED_PROGRAM],
    input=text.encode(),
    capture_output=True,
    check=True,
  )
  return float(done.stdout)


def check_grader(data: bytes) -> None:
  """Grades one input and raises AssertionError if the result is wrong or late."""
  text = decode_input(data)
  compute_keys = equivalence._cached_keys.__wrapped__  # without its cache
  start = time.process_time()
  keys = compute_keys(text)
  answer = grading.extract_answer(text)
  seconds = time.process_time() - start
  if seconds > SLOWEST_S:
    seconds = seconds_without_instrumentation(text)
  if seconds > SLOWEST_S:
    raise AssertionError(f'{text!r} took {seconds:.2f} s; allowed {SLOWEST_S}.')
  if keys != compute_keys(text):
    raise AssertionError(f'{text!r} has two different keys.')
  hash(keys.key)
  if grading.key_for_reference(keys, keys) != keys.key:
    raise AssertionError(f'{text!r} is no right answer to itself.')
  if answer is not None and not answer.strip():
    raise AssertionError(f'The extracted answer of {text!r} is empty.')


if __name__ == '__main__':
  atheris.Setup(sys.argv, check_grader)
  atheris.Fuzz()
