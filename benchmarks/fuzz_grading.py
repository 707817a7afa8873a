"""A coverage-guided fuzzer of the grader: no exception, no hang, an equivalence relation.

  python -m benchmarks.fuzz_grading runs/fuzz_corpus -max_total_time=3600 -max_len=400

Needs `atheris` (pip install atheris), whose options these are (those of libFuzzer); the folder keeps
the corpus, so that a later run goes on where this one ended. A byte of the input is a fragment of
mathematics or a character, so that most inputs look like answers. A failing input is written to
`crash-<hash>` in the current folder. Runs by hand: it ends only when told to.
"""

import sys
import time

import atheris

with atheris.instrument_imports(include=['mathft_jax.grading']):
  from mathft_jax import grading
  from mathft_jax.grading import equivalence
  from mathft_jax.grading.canonical import sympy_closed_forms

sympy_closed_forms.find_closed_form = lambda tree: (
  None
)  # sympy runs in a worker with a deadline; this is about the rest
SLOWEST_S = 1.0
_FRAGMENTS = (
  r'\frac \sqrt \sqrt[3] \binom \text{ \boxed{ \begin{pmatrix} \end{pmatrix} \begin{cases} \end{cases} '
  r'\left \right \pm \mp \cdot \times \div \le \ge \ne \approx \in \cup \cap \setminus \infty \pi '
  r'\theta \emptyset \mathbb{R} \sin \cos \tan^{-1} \ln \log_ \max \gcd \det \sum_{k=1}^{ '
  r'\prod_{k=1}^{ \int_0^1 \lim_{x\to0} dx '
  r'\overline{ \ldots \pmod \bmod \circ \angle \langle \rangle \lfloor \rfloor \{ \} \\ & $ \$ \% '
  r'\! {,} ** // <= >= != == := ... and or mod sqrt( sin( log pi union U inf cm two hundred percent '
  r'p.m. 9^ 99999999! 1e9 1e999999 0.333 0.3333333333 1/ /0 ½ ² π √ ∞ ≤ − ° ∪ \choose \over _2 _{16} '
  r'f( x_1 \frac12 \boxed \fbox{ #### </think> <answer> </answer> Answer: '
).split() + [' ', '\n', 'the answer is ', '# Answer\n']
_TABLE = (_FRAGMENTS + [chr(code) for code in range(32, 127)])[:256]


def text_of(data: bytes) -> str:
  """Fragments by the bytes, or the bytes as they are when the first is odd and high."""
  if data[:1] >= b'\xf0':
    return data[1:].decode('utf-8', 'replace')
  return ''.join(_TABLE[byte % len(_TABLE)] for byte in data)


def check(data: bytes) -> None:
  """Grades what the bytes say; raises when something is wrong."""
  text = text_of(data)
  start = time.process_time()
  key = equivalence._key.__wrapped__(text)  # pylint: disable=protected-access (without its cache)
  answer = grading.extract_answer(text)
  seconds = time.process_time() - start
  if seconds > SLOWEST_S:
    raise AssertionError(f'{seconds:.2f} s for {text!r}')
  hash(key)
  if key != equivalence._key.__wrapped__(text):  # pylint: disable=protected-access
    raise AssertionError(f'two keys for {text!r}')
  if answer is not None and not answer.strip():
    raise AssertionError(f'an empty answer from {text!r}')


if __name__ == '__main__':
  atheris.Setup(sys.argv, check)
  atheris.Fuzz()
