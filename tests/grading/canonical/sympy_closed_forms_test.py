"""Closed forms computed by sympy in a worker."""

import pytest

from mathft_jax import grading
from mathft_jax.grading import worker_pool, worker_process
from mathft_jax.grading.canonical import scalar_keys, sympy_closed_forms
from mathft_jax.grading.parsing import answer_parser, answer_tokenizer

OPERATIONS = [
  (r'\int_0^1 x^2 \, dx', r'\frac13'),
  (r'\sum_{k=1}^{n} k', r'\frac{n(n+1)}{2}'),
  (r'\lim_{x \to 0} \frac{\sin x}{x}', '1'),
  (r'\sum_{k=0}^{\infty} 2^{-k}', '2'),
  (r'\int_1^2 \frac{1}{x} dx', r'\ln 2'),
  (r'3\int_0^\pi \sin x \, dx + 1', '7'),
]


def _tree(text):
  return answer_parser.parse_answer(answer_tokenizer.tokenize_answer(text))


@pytest.mark.parametrize('text, value', OPERATIONS)
def test_operators_have_closed_forms(text, value):
  found = sympy_closed_forms.compute_closed_form(_tree(text))
  assert scalar_keys.scalar_key(found) == scalar_keys.scalar_key(_tree(value))


def test_a_worker_computes_the_closed_form_of_an_answer(monkeypatch):
  monkeypatch.setattr(sympy_closed_forms, 'DEADLINE_S', 30.0)
  grading.equivalence.clear_cache()
  assert grading.is_equivalent(r'\int_0^1 x^3 \, dx', '0.25')
  assert worker_pool.shared_pool_counts()['done'] >= 1


@pytest.mark.parametrize('limit', sorted(worker_pool.UNCERTAIN_LIMITS))
def test_nothing_is_cached_when_the_worker_was_killed(limit, monkeypatch):
  grading.equivalence.clear_cache()
  sympy_closed_forms._closed_form_from_worker.cache_clear()
  answer = r'\int_0^1 x^4 \, dx'
  with monkeypatch.context() as patch:
    killed = worker_process.TaskResult(limit=limit)
    patch.setattr(worker_pool.shared_pool(), 'run', lambda *_, **__: killed)
    assert not grading.is_equivalent(answer, '1/5')
    assert grading.is_equivalent(answer, answer)
  assert grading.is_equivalent(answer, '1/5')


@pytest.mark.parametrize(
  'text',
  [
    'x + 1',
    r'\sum_{k=1}^{10^{12}} k^k',
    r'\int_0^1 x^{10000000} dx',
    r'\int_0^1 ' + '(x+1)' * 30 + ' dx',
  ],
)
def test_large_trees_and_trees_without_operators_are_not_sent_to_sympy(
  text, monkeypatch
):
  monkeypatch.setattr(
    worker_pool, 'shared_pool', lambda: pytest.fail('the pool was used')
  )
  assert sympy_closed_forms.find_closed_form(_tree(text)) is None


def test_an_operator_without_closed_form_equals_only_itself():
  text = r'\int_0^1 f(x) \, dx'
  assert sympy_closed_forms.compute_closed_form is not None
  with pytest.raises(ValueError, match='sympy has no equivalent of f'):
    sympy_closed_forms.compute_closed_form(_tree(text))
  assert grading.is_equivalent(text, text)
  assert not grading.is_equivalent(text, '0')
