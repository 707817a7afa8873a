"""The candidate browser: a page with all problems and candidates that opens from disk.

  write_candidate_pages(workdir, 'title', files, rules, locate_answer)

Writes `candidates.html` and the folder `candidates/`: an index of all problems for each file,
chunks with the texts of candidates, the program of the page, and KaTeX for formulas. Browsers
do not read other files of a page on disk, so data are script files that call a function.
"""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
import json
import re
import string

from etils import epath

from mathft_jax.data import answer_shares, label_conflicts
from mathft_jax.data.schema import Candidate, CandidateSet
from mathft_jax.evaluation import rule_results, voting
from mathft_jax.evaluation.evaluated_file import EvaluatedFile
from mathft_jax.evaluation.report import page, tables
from mathft_jax.evaluation.report.stored_numbers import JsonObject

PAGE, FOLDER = 'candidates.html', 'candidates'
SCRIPTS = ('text.js', 'data.js', 'filters.js', 'problem.js', 'main.js')
CANDIDATE_FIELDS = (
  'solution',
  'answer',
  'how',
  'is_correct',
  'cluster',
  'score',
  'log_prob',
  'finished',
)
MAX_CHUNK = 1_000_000  # characters of candidates in a chunk
MAX_ANSWERS = 8  # answers of a problem that can be searched
_FONT = re.compile(r'url\((fonts/[\w-]+\.woff2)\)')
_OTHER_FONTS = re.compile(r',url\(fonts/[\w-]+\.(?:woff|ttf)\) format\("\w+"\)')

# (solution, answer, how) -> spans of the solution that state the answer
LocateAnswer = Callable[[str, str, str], Sequence[tuple[int, int]]]


def write_candidate_pages(
  workdir: epath.PathLike,
  title: str,
  files: Mapping[str, EvaluatedFile],
  rules: Sequence[voting.VotingRule],
  locate_answer: LocateAnswer,
) -> None:
  """Writes the page and all its files.

  Args:
    workdir: folder of the report.
    title: title of the page.
    files: candidate files by name.
    rules: voting rules, for the candidate that each chooses.
    locate_answer: finds the answer in the text of a solution.
  """
  folder = epath.Path(workdir) / FOLDER
  folder.mkdir(parents=True, exist_ok=True)
  sources = []
  for number, (name, file) in enumerate(files.items()):
    sources.append({'name': name, 'folder': FOLDER, 'prefix': str(number)})
    _write_source(folder, str(number), file, rules, locate_answer)
  write_browser_page(workdir, title, sources)


def write_browser_page(
  workdir: epath.PathLike,
  title: str,
  sources: Sequence[Mapping[str, str]],
  report: str = 'report.html',
) -> None:
  """Writes the page over data that exist, of one or several reports.

  Args:
    workdir: folder of the page.
    title: title of the page.
    sources: `name`, `folder` (relative to the page) and `prefix` of each file's index and chunks.
    report: page of the report, for the link at the top.
  """
  workdir = epath.Path(workdir)
  folder = workdir / FOLDER
  folder.mkdir(parents=True, exist_ok=True)
  assets = page.ASSETS / 'browser'
  scripts = [(assets / name).read_text('utf-8') for name in SCRIPTS]
  (folder / 'browser.js').write_text('\n'.join(scripts))
  css = (assets / 'browser.css').read_text('utf-8')
  (folder / 'browser.css').write_text(css)
  katex = page.ASSETS / 'katex'
  (folder / 'katex.js').write_bytes((katex / 'katex.min.js').read_bytes())
  (folder / 'katex.css').write_text(_katex_style())
  (folder / 'katex.LICENSE').write_bytes((katex / 'LICENSE').read_bytes())
  template = string.Template((assets / PAGE).read_text('utf-8'))
  text = template.substitute(
    title=tables.escape_html(title),
    folder=FOLDER,
    report=tables.escape_html(report),
    sources=json.dumps([*sources]).replace('<', '\\u003c'),
  )
  (workdir / PAGE).write_text(text)


def _katex_style() -> str:
  """Returns KaTeX's style with its fonts inside: some browsers load no fonts for pages on disk."""
  katex = page.ASSETS / 'katex'

  def embed(match: re.Match[str]) -> str:
    data = base64.b64encode((katex / match[1]).read_bytes()).decode()
    return f'url(data:font/woff2;base64,{data})'

  css = (katex / 'katex.min.css').read_text('utf-8')
  return _FONT.sub(embed, _OTHER_FONTS.sub('', css))


def _write_source(
  folder: epath.Path,
  prefix: str,
  file: EvaluatedFile,
  rules: Sequence[voting.VotingRule],
  locate_answer: LocateAnswer,
) -> None:
  """Writes the chunks and the index of one candidate file."""
  choices = _choices_by_row(file, rules)
  places: list[tuple[int, int]] = []
  for number, sets in enumerate(_chunks_of(file.candidate_sets)):
    records = []
    for position, candidate_set in enumerate(sets):
      chosen = choices[len(places)]
      records.append(_problem_record(candidate_set, chosen, locate_answer))
      places.append((number, position))
    text = f'addChunk({number}, {_to_script(records)});\n'
    (folder / f'{prefix}.{number:04d}.js').write_text(text)

  conflicts = label_conflicts.find_label_conflicts(file.candidate_sets)
  in_conflict = {conflict.problem for conflict in conflicts}
  problems = []
  for index, candidate_set in enumerate(file.candidate_sets):
    entry = _index_entry(candidate_set, in_conflict)
    values = [round(float(each.values_P[index]), 4) for each in file.results]
    problems.append({**entry, 'values': values, 'place': places[index]})
  name = None
  for each in file.candidate_sets:
    for candidate in each.candidates:
      if candidate.score is not None and name != 'S_cls':
        name = 'S_cls' if candidate.log_odds is not None else 'score'
  index = {
    'rows': [(each.name, each.kind) for each in file.results],
    'candidate_fields': [*CANDIDATE_FIELDS, 'marks'],
    'score_name': name,
    'problems': problems,
  }
  (folder / f'{prefix}.index.js').write_text(
    f'addIndex({_to_script(index)});\n'
  )


def _chunks_of(
  candidate_sets: Sequence[CandidateSet],
) -> Iterator[list[CandidateSet]]:
  """Yields consecutive problems with at most MAX_CHUNK characters, at least one problem."""
  chunk, size = [], 0
  for candidate_set in candidate_sets:
    added = sum(len(each.solution) for each in candidate_set.candidates)
    if chunk and size + added > MAX_CHUNK:
      yield chunk
      chunk, size = [], 0
    chunk.append(candidate_set)
    size += added
  yield chunk


def _choices_by_row(
  file: EvaluatedFile, rules: Sequence[voting.VotingRule]
) -> list[list[int | None]]:
  """Returns for each problem the candidate that each row chooses; None where there is none."""
  by_name = {}
  for name, _, rule in rule_results.named_rules(rules):
    by_name[name] = rule
  choices = []
  for candidate_set in file.candidate_sets:
    positions = {id(each): i for i, each in enumerate(candidate_set.candidates)}
    chosen = []
    for result in file.results:
      rule = by_name.get(result.name)
      choice = rule(candidate_set) if rule else None
      chosen.append(positions.get(id(choice)))
    choices.append(chosen)
  return choices


def _problem_record(
  candidate_set: CandidateSet,
  chosen: Sequence[int | None],
  locate_answer: LocateAnswer,
) -> JsonObject:
  candidates = []
  for candidate in candidate_set.candidates:
    text = candidate.solution.replace('\r\n', '\n')
    values = [getattr(candidate, field) for field in CANDIDATE_FIELDS]
    values[0] = text
    candidates.append([*values, _marks(text, candidate, locate_answer)])
  return {
    'solution': candidate_set.problem.solution,
    'chosen': chosen,
    'candidates': candidates,
  }


def _marks(
  text: str, candidate: Candidate, locate_answer: LocateAnswer
) -> list[list[int]]:
  """Returns the spans of the answer in UTF-16 units, in which scripts of pages count."""
  if candidate.answer is None or candidate.how is None:
    return []
  marks = []
  for start, end in locate_answer(text, candidate.answer, candidate.how):
    units = len(text[:start].encode('utf-16-le', 'surrogatepass')) // 2
    length = len(text[start:end].encode('utf-16-le', 'surrogatepass')) // 2
    marks.append([units, units + length])
  return marks


def _index_entry(
  candidate_set: CandidateSet, in_conflict: set[str]
) -> JsonObject:
  """Returns what the list and the filters need of a problem."""
  problem, candidates = candidate_set.problem, candidate_set.candidates
  clusters = candidate_set.clusters()
  answers = []
  for cluster in clusters[:MAX_ANSWERS]:
    answers.append(candidates[cluster[0]].answer or '')
  methods = {answer_shares.method_of(each) for each in candidates}
  majority = candidates[clusters[0][0]].is_correct if clusters else False
  return {
    'id': problem.id,
    'question': problem.question,
    'answer': problem.answer,
    'subject': problem.subject,
    'level': str(problem.level),
    'candidates': len(candidates),
    'right': sum(bool(each.is_correct) for each in candidates),
    'unanswered': sum(each.cluster is None for each in candidates),
    'cut': sum(each.finished is False for each in candidates),
    'clusters': len(clusters),
    'majority': int(bool(majority)),
    'two_verdicts': problem.id in in_conflict,
    'answers': answers,
    'how': sorted(methods),
  }


def _to_script(value: object) -> str:
  """Returns JSON that is the same value in a script; ASCII, so that no encoding matters."""
  return json.dumps(value, separators=(',', ':'))
