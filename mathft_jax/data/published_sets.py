"""Mappings of published data sets and benchmarks, by name; the files are those of the publisher.

  mapping = published_mapping('numina_math_1_5')
  sources = benchmark_sources('benchmarks', ('math500', 'aime24'))

Nothing is downloaded. docs/data.md lists the names with their origin.
"""

from collections.abc import Mapping, Sequence
import dataclasses

from etils import epath

from mathft_jax.data import problem_sources
from mathft_jax.data.problem_mapping import ProblemMapping
from mathft_jax.data.problem_sources import JsonlProblems
from mathft_jax.data.schema import Problem

_DAPO_PROMPT = (
  'Solve the following math problem step by step. The last line of your response should be of the '
  'form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n',
  '\n\nRemember to put your answer on its own line after "Answer:".',
)
_AIME = ProblemMapping(
  question=('problem', 'question', 'Problem'),
  solution=('solution', 'Solution'),
  answer=('answer', 'Answer'),
  id=('id', 'problem_idx', 'ID'),
  subject=None,
)

TRAINING_SETS: Mapping[str, ProblemMapping] = {
  'numina_math_cot': ProblemMapping(
    question='problem', answer=None, subject=('source',)
  ),
  'numina_math_1_5': ProblemMapping(
    question='problem',
    subject=('problem_type',),
    keep={'problem_is_valid': 'Yes', 'solution_is_valid': 'Yes'},
    drop={'answer': ('proof', 'notfound', None)},
  ),
  'open_math_instruct_2': ProblemMapping(
    question='problem',
    solution='generated_solution',
    answer='expected_answer',
    subject=('problem_source',),
  ),
  'open_math_reasoning': ProblemMapping(
    question='problem',
    solution='generated_solution',
    answer='expected_answer',
    subject=('problem_source',),
    drop={'problem_type': 'converted_proof'},
  ),
  'openr1_math_220k': ProblemMapping(
    question='problem',
    solution='messages.1.content',
    subject=('problem_type',),
    drop={'answer': (None, 'proof', 'notfound')},
  ),
  'meta_math_qa': ProblemMapping(
    question='query',
    solution='response',
    answer='response',
    answer_after='The answer is:',
    subject=('type',),
  ),
  'dart_math': ProblemMapping(
    question='query', solution='response', answer=None
  ),
  'big_math': ProblemMapping(
    question='problem', solution=None, subject=('source',)
  ),
  'deep_scaler': ProblemMapping(question='problem'),
  'dapo_math_17k': ProblemMapping(
    question='prompt.0.content',
    solution=None,
    answer='reward_model.ground_truth',
    id=('extra_info.index',),
    subject=('ability',),
    remove=_DAPO_PROMPT,
    repeats='skip',
  ),
}

BENCHMARKS: Mapping[str, ProblemMapping] = {
  'math500': ProblemMapping(question='problem', id=('unique_id',)),
  'gsm8k': ProblemMapping(
    question='question', solution='answer', answer_after='####'
  ),
  'aime24': _AIME,
  'aime25': _AIME,
  'aime26': _AIME,
  'amc23': ProblemMapping(
    question=('problem', 'question'), solution=None, subject=None
  ),
  'minerva_math': ProblemMapping(
    question='problem', answer=None, subject=('type',), id=('idx',)
  ),
  'olympiadbench': ProblemMapping(
    question='question',
    solution='solution.0',
    answer='final_answer.*',
    subject=('subfield',),
  ),
  'svamp': ProblemMapping(
    question='Body + Question',
    solution=None,
    answer='Answer',
    id=('ID',),
    subject=('Type',),
  ),
  'asdiv': ProblemMapping(
    question='body + question',
    solution=None,
    subject=('solution_type',),
    id=('idx',),
  ),
  'mawps': ProblemMapping(
    question='input', solution=None, answer='target', id=('idx',)
  ),
}
_SUFFIXES = ('.jsonl', '.jsonl.gz', '.parquet', '.json', '.json.gz', '.csv')


def published_mapping(name: str) -> ProblemMapping:
  """Returns the mapping of a published data set or benchmark.

  Raises:
    ValueError: the name is not known.
  """
  known = {**TRAINING_SETS, **BENCHMARKS}
  if name not in known:
    raise ValueError(
      f'DATA_SET is {name!r}; it must be one of {sorted(known)}. For other files use '
      'data/jsonl.gin and name the fields.'
    )
  return known[name]


def benchmark_sources(
  folder: str, names: Sequence[str]
) -> dict[str, JsonlProblems]:
  """Returns the problems of benchmarks by name; all of them are in the split 'test'.

  Args:
    folder: has a file for each benchmark, such as `aime24.jsonl` or `svamp.parquet`.
    names: keys of `BENCHMARKS`.

  Raises:
    ValueError: a name is not known, or the folder has no file of that name.
  """
  sources = {}
  for name in (names,) if isinstance(names, str) else names:
    if name not in BENCHMARKS:
      raise ValueError(
        f'BENCHMARKS has {name!r}; it must have names from {list(BENCHMARKS)}.'
      )
    path = _find_file(folder, name)
    sources[name] = JsonlProblems(
      path,
      mapping=dataclasses.replace(BENCHMARKS[name], split=None),
      default_split='test',
    )
  if not sources:
    raise ValueError(
      f'BENCHMARKS is empty; it must have names from {list(BENCHMARKS)}.'
    )
  return sources


@dataclasses.dataclass(frozen=True)
class BenchmarkProblems:
  """The problems of one benchmark; its file is found when the problems are read.

  Attributes:
    folder: has the file, such as `svamp.jsonl.gz`.
    name: a key of `BENCHMARKS`.
    limit: maximum number of problems, chosen by a hash of the id; None means all.
  """

  folder: str
  name: str
  limit: int | None = None

  def __call__(self, split: str) -> Sequence[Problem]:
    source = benchmark_sources(self.folder, (self.name,))[self.name]
    return problem_sources.subsample_problems(source(split), self.limit)


def _find_file(folder: str, name: str) -> str:
  for suffix in _SUFFIXES:
    path = epath.Path(folder) / f'{name}{suffix}'
    if path.exists():
      return str(path)
  raise ValueError(
    f'{folder} has no file of the benchmark {name!r}; wanted {name}.jsonl, or {name} with one of '
    f'{_SUFFIXES[1:]} (BENCHMARK_DIR).'
  )
