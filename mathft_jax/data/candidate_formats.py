"""Formats of candidates that other programs write, by name: one `CandidateMapping` each."""

from collections.abc import Mapping
import re

from mathft_jax.data.candidate_mapping import CandidateMapping
from mathft_jax.data.problem_mapping import ProblemMapping
from mathft_jax.data.schema import JsonObject

_STEP_MARK = 'ки'  # ends each step of Math-Shepherd
_FIRST_STEP = re.compile(r'\s*Step 1:')


def _split_math_shepherd(record: JsonObject) -> JsonObject:
  """Returns question, solution and label of the last step of a Math-Shepherd record."""
  text, label = record.get('input'), record.get('label')
  if not isinstance(text, str) or not isinstance(label, str):
    return record
  start = _FIRST_STEP.search(text)
  question = text[: start.start()] if start else text
  steps = text[start.start() :] if start else ''
  return {
    'question': question.strip(),
    'solution': steps.replace(f' {_STEP_MARK}', '').strip(),
    'last_label': label.rstrip()[-1:],
    'task': record.get('task'),
  }


def _choices(path: str) -> tuple[str, ...]:
  """Returns a path under `choices` in a response, and in an output line of the batch API."""
  return f'choices.*.{path}', f'response.body.choices.*.{path}'


FORMATS: Mapping[str, CandidateMapping] = {
  # Responses of vLLM, SGLang and the OpenAI API, one a line; also files of their batch APIs.
  'openai': CandidateMapping(
    solutions=(*_choices('message.content'), *_choices('text')),
    thoughts=(
      *_choices('message.reasoning_content'),
      *_choices('message.reasoning'),
    ),
    log_prob=(
      *_choices('logprobs.content.*.logprob'),
      *_choices('logprobs.token_logprobs'),
    ),
    finished=_choices('finish_reason'),
    problem=ProblemMapping(id=('custom_id', 'problem_id', 'id'), solution=None),
  ),
  # `dataclasses.asdict` of the outputs of vLLM's LLM.generate, one a line.
  'vllm': CandidateMapping(
    solutions='outputs.*.text',
    log_prob='outputs.*.cumulative_logprob',
    finished='outputs.*.finish_reason',
    problem=ProblemMapping(
      id=('problem_id', 'id', 'request_id'), solution=None
    ),
  ),
  # samples_<task>_<date>.jsonl of --log_samples; a record for each filter, with the same texts.
  'lm_eval': CandidateMapping(
    solutions='resps.0.*',
    problem=ProblemMapping(
      id='doc_id',
      question=('doc.problem', 'doc.question', 'doc.query'),
      answer='target',
      solution=None,
      subject=('doc.subject', 'doc.type'),
      level='doc.level',
      repeats='skip',
    ),
  ),
  # output.jsonl and output-rs<seed>.jsonl.
  'nemo_skills': CandidateMapping(
    solutions='generation',
    answer='predicted_answer',
    is_correct=('symbolic_correct', 'is_correct'),
    finished='finish_reason',
    problem=ProblemMapping(
      id=('id', 'problem_id'), answer='expected_answer', solution=None
    ),
  ),
  # Best-of-N, beam search and DVTS of search-and-learn.
  'search_and_learn': CandidateMapping(
    solutions='completions.*',
    score='agg_scores.*',
    problem=ProblemMapping(id='unique_id'),
  ),
  # OpenR1-Math: generations with labels of Math-Verify, else of a language model.
  'openr1': CandidateMapping(
    solutions='generations.*',
    is_correct=('correctness_math_verify.*', 'correctness_llama.*'),
    finished='finish_reasons.*',
    problem=ProblemMapping(id='uuid', subject='problem_type'),
  ),
  # Solutions with a label for each step; the label of the last step is that of the solution.
  'math_shepherd': CandidateMapping(
    solutions='solution',
    is_correct='last_label',
    labels={'+': True, '-': False},
    problem=ProblemMapping(id=None, answer=None, solution=None, subject='task'),
    prepare=_split_math_shepherd,
  ),
  # One text a line, with the id of its problem.
  'lines': CandidateMapping(
    log_prob='log_prob',
    score='score',
    is_correct='is_correct',
    finished='finished',
    problem=ProblemMapping(id=('problem_id', 'id', 'unique_id'), solution=None),
  ),
}


def format_mapping(name: str) -> CandidateMapping:
  """Returns the mapping of a format by its name, a key of `FORMATS`.

  Raises:
    ValueError: the name is not known.
  """
  if name not in FORMATS:
    raise ValueError(
      f'CANDIDATE_FORMAT is {name!r}; it must be one of {list(FORMATS)}. For other files use '
      'programs/import_mapped.gin and name the fields.'
    )
  return FORMATS[name]
