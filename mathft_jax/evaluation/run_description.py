"""Which run a report is about: folder, candidate files, checkpoints, problems.

  run = describe_run('runs/report', {'scored': 'runs/scored/scored.jsonl'}, files)
  run.title      # '.../runs/report (generator .../ssft/80, 500 problems of split test)'

Programs write their settings beside their output. If candidate files are where the programs wrote
them, the generator and the evaluator are found from these settings.
"""

from collections.abc import Mapping, Sequence
import json

from etils import epath

from mathft_jax.data import schema
from mathft_jax.data.schema import CandidateSet
from mathft_jax.evaluation.evaluated_file import EvaluatedFile
from mathft_jax.evaluation.report.headline import RunDescription
from mathft_jax.storage import digests, local_and_remote_paths

MAX_PARTS = 4  # of a path: its last folders
MAX_PARTS_IN_TITLE = 2  # of a checkpoint
ROLES = ('generator', 'evaluator')


def describe_run(
  workdir: epath.PathLike,
  paths: Mapping[str, epath.Path],
  files: Mapping[str, EvaluatedFile],
  title: str = '',
) -> RunDescription:
  """Returns the description of the run of a report.

  Args:
    workdir: folder of the report.
    paths: the candidate files by name.
    files: their contents.
    title: title of the page; by default the folder, the checkpoints and the problems.
  """
  facts, whole_paths = {}, {}
  checkpoints = []
  for name, path in paths.items():
    prefix = f'{name}: ' if len(paths) > 1 else ''
    is_inside = path.parent == epath.Path(workdir)
    facts[f'{prefix}candidates'] = path.name if is_inside else short_path(path)
    found = find_checkpoints(path)
    checkpoints.append(found)
    for role, place in {'candidates': str(path), **found}.items():
      fact = f'{prefix}{role}'
      facts.setdefault(fact, short_path(place))
      whole_paths[fact] = local_and_remote_paths.relative_path(place, workdir)
    facts[f'{prefix}problems'] = _describe_problems(files[name].candidate_sets)
    graders = {each.grader for each in files[name].candidate_sets}
    known = sorted(grader for grader in graders if grader)
    facts[f'{prefix}graded by'] = ', '.join(known) or 'not recorded'
  sets = [file.candidate_sets for file in files.values()]
  title = title or _make_title(workdir, checkpoints, sets)
  return RunDescription(title, facts, whole_paths)


def _make_title(
  workdir: epath.PathLike,
  checkpoints: Sequence[Mapping[str, str]],
  sets_by_file: Sequence[tuple[CandidateSet, ...]],
) -> str:
  """Returns folder, checkpoints and problems; what differs between the files is left out."""
  parts = []
  for role in ROLES:
    names = {found.get(role, '') for found in checkpoints}
    if len(names) == 1 and '' not in names:
      parts.append(f'{role} {short_path(names.pop(), MAX_PARTS_IN_TITLE)}')
  problems = set(map(_count_problems, sets_by_file))
  if len(problems) == 1:
    parts.append(problems.pop())
  folder = short_path(workdir)
  return f'{folder} ({", ".join(parts)})' if parts else folder


def _count_problems(candidate_sets: tuple[CandidateSet, ...]) -> str:
  """Returns `500 problems of split test`."""
  splits = {each.problem.split for each in candidate_sets}
  named = sorted(split for split in splits if split)
  of_split = f' of split {" and ".join(named)}' if named else ''
  noun = 'problem' if len(candidate_sets) == 1 else 'problems'
  return f'{len(candidate_sets):,} {noun}{of_split}'


def find_checkpoints(path: epath.PathLike) -> dict[str, str]:
  """Returns the checkpoints that made a candidate file by role, `generator` and `evaluator`.

  Roles are absent if the settings beside the file do not name them. A checkpoint is named by its
  path, and by its step if the settings have it: `runs/ssft, step 80`.
  """
  path = epath.Path(path)
  stem = path.name.split('.')[0]
  settings = _read_json(path.with_name(f'{stem}.settings.json'))
  if 'quantity' in settings:
    found = {'evaluator': _checkpoint(path, settings)}
    graded = _find_by_digest(path, settings.get('candidates'))
    return (find_checkpoints(graded) if graded else {}) | found
  if 'checkpoint' in settings:
    return {'generator': _checkpoint(path, settings)}

  graded_settings = _read_json(path.with_name(f'{stem}.report.json'))
  sampled = graded_settings.get('settings', {}).get('candidates')
  if not sampled or epath.Path(sampled).name == path.name:
    return {}
  # The path is that of the command; the folder may have been moved, or be relative.
  sampled = epath.Path(sampled)
  moved = path.parent.parent / sampled.parent.name / sampled.name
  return find_checkpoints(sampled) or find_checkpoints(moved)


def short_path(path: epath.PathLike, max_parts: int = MAX_PARTS) -> str:
  """Returns the last folders of a path, after `.../` if there are more: they name the run."""
  absolute = local_and_remote_paths.absolute_path(path)
  parts = [part for part in absolute.parts if part != '/']
  last = '/'.join(parts[-max_parts:])
  return f'.../{last}' if len(parts) > max_parts else last


def _checkpoint(path: epath.Path, settings: Mapping[str, object]) -> str:
  """Returns the checkpoint, which settings name relative to their folder, and its step."""
  checkpoint = str(settings.get('checkpoint', ''))
  if not local_and_remote_paths.is_remote(checkpoint):
    checkpoint = str(path.parent / checkpoint)
  step = settings.get('checkpoint_step')
  if step is None or epath.Path(checkpoint).name == str(step):
    return checkpoint
  return f'{checkpoint}, step {step}'


def _find_by_digest(path: epath.Path, digest: object) -> epath.Path | None:
  """Returns the graded file with this digest: an input in cost.json, or in a folder beside it."""
  places = []
  for name in _read_json(path.with_name('cost.json')).get('inputs', []):
    places.append(path.parent / name)
  places += sorted(path.parent.parent.glob('*/graded.jsonl'))
  for graded in dict.fromkeys(places):
    is_file = '.jsonl' in graded.name and graded.exists()
    if (
      is_file and digests.content_digest([schema.read_bytes(graded)]) == digest
    ):
      return graded
  return None


def _read_json(path: epath.Path) -> dict:
  """Returns the object in a JSON file; {} if there is none."""
  try:
    found = json.loads(path.read_bytes())
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def _describe_problems(candidate_sets: tuple[CandidateSet, ...]) -> str:
  """Returns `500, split test, from test/algebra/1.json to test/precalculus/9.json`."""
  splits = {each.problem.split for each in candidate_sets}
  named = sorted(split for split in splits if split)
  split = f', split {" and ".join(named)}' if named else ''
  first, last = candidate_sets[0].problem.id, candidate_sets[-1].problem.id
  return f'{len(candidate_sets):,}{split}, ids from {first} to {last}'
