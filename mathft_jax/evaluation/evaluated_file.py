"""Graded candidate files and the result of every voting rule on them.

file = evaluate_file('scored.jsonl', voting.paper_rules())
file.values()['Maj1@N']     # values_P: one number in [0, 1] per problem
"""

from collections.abc import Sequence
import dataclasses
import itertools

from etils import epath
import numpy as np

from mathft_jax.data import schema
from mathft_jax.data.schema import CandidateSet
from mathft_jax.evaluation import rule_results, voting
from mathft_jax.evaluation.voting import VotingRule


@dataclasses.dataclass(frozen=True)
class EvaluatedFile:
  """The problems of one candidate file, and the result of each rule on them."""

  candidate_sets: tuple[CandidateSet, ...]
  results: tuple[rule_results.RuleResult, ...]
  notes: tuple[str, ...]

  def values(self) -> dict[str, np.ndarray]:
    """Returns values_P by row name."""
    return {result.name: result.values_P for result in self.results}


def evaluate_file(
  path: epath.PathLike,
  rules: Sequence[VotingRule],
  greedy_path: epath.PathLike | None = None,
) -> EvaluatedFile:
  """Reads a graded candidate file and applies every rule to it.

  Args:
    path: a graded candidate file.
    rules: the voting rules.
    greedy_path: a graded file with one greedy candidate for each of the same problems.
  """
  candidate_sets, notes = read_gradable_sets_and_notes(path)
  greedy = None
  if greedy_path is not None:
    ids = {each.problem.id for each in candidate_sets}
    all_greedy, _ = read_gradable_sets_and_notes(greedy_path)
    greedy = [each for each in all_greedy if each.problem.id in ids]
  results, more_notes = rule_results.evaluate_rules(
    candidate_sets, rules, greedy
  )
  return EvaluatedFile(
    tuple(candidate_sets), tuple(results), tuple(notes + more_notes)
  )


def without_repeated_rows(
  file: EvaluatedFile, rules: Sequence[VotingRule], kept: str = ''
) -> tuple[EvaluatedFile, list[VotingRule]]:
  """Returns the file and the rules without rows that only repeat others.

  If K and n are not below the number of candidates, RR.Top-K is RR.All, W.RR.Top-K is W.RR, MajK@N
  is Pass@N and Maj1.Topn is Maj1@N.

  Args:
    file: an evaluated file.
    rules: the rules that it was evaluated with.
    kept: name of a row that stays.
  """
  repeated = set()
  for rule in rules:
    name = voting.rule_name(rule)
    if name != kept and _repeats_another(rule, file):
      repeated |= {name, f'{name} by chance'}
  results = [each for each in file.results if each.name not in repeated]
  shown_rules = []
  for rule in rules:
    if voting.rule_name(rule) not in repeated:
      shown_rules.append(rule)
  return dataclasses.replace(file, results=tuple(results)), shown_rules


def _repeats_another(rule: VotingRule, file: EvaluatedFile) -> bool:
  """Returns whether K or n of a rule is no limit, and the file has the rule without it."""
  if isinstance(rule, voting.Majority):
    limit, whole = rule.top_candidates, voting.Majority()
  elif isinstance(rule, voting.Rerank | voting.WeightedVote | voting.Oracle):
    limit, whole = rule.top_clusters, type(rule)()
  else:
    return False
  most = max(len(each.candidates) for each in file.candidate_sets)
  values = file.values()
  if (
    limit is None or limit < most or not {rule.name, whole.name} <= set(values)
  ):
    return False
  return np.array_equal(values[rule.name], values[whole.name])


def read_gradable_sets_and_notes(
  path: epath.PathLike,
) -> tuple[list[CandidateSet], list[str]]:
  """Returns the candidate sets of a graded file, and notes about omitted problems.

  Problems that cannot be graded (with answers, but without a reference) are omitted and counted in
  a note.

  Raises:
    ValueError: the file is empty, repeats a problem, or is not graded.
  """
  candidate_sets = schema.read_candidate_sets(path)
  ids = [each.problem.id for each in candidate_sets]
  if not ids or len(set(ids)) < len(ids):
    repeated = sorted({id_ for id_ in ids if ids.count(id_) > 1})[:3]
    raise ValueError(
      f'{path}: {len(ids)} problems, repeated ids {repeated}; wanted at least one '
      'problem, each on one line with all its candidates.'
    )

  candidates = rule_results.all_candidates(candidate_sets)
  is_correct = {candidate.is_correct for candidate in candidates}
  clusters = {candidate.cluster for candidate in candidates}
  if is_correct <= {None} or (clusters <= {None} and True in is_correct):
    raise ValueError(
      f'{path}: none of {len(candidates)} candidates has "is_correct" and "cluster";'
      ' run grade on the file first.'
    )

  graded = [*itertools.filterfalse(_is_ungradable, candidate_sets)]
  omitted = len(candidate_sets) - len(graded)
  if not omitted:
    return graded, []
  note = f'{omitted} problems are left out: no reference to grade their candidates by.'
  return graded, [note]


def _is_ungradable(candidate_set: CandidateSet) -> bool:
  """Returns whether the correctness is unknown; without any answer all candidates are wrong."""
  is_answered = False
  for candidate in candidate_set.candidates:
    if candidate.is_correct is not None:
      return False
    is_answered |= candidate.cluster is not None
  problem = candidate_set.problem
  has_reference = problem.answer is not None or bool(problem.solution)
  return is_answered or not has_reference
