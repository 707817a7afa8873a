"""Launchers run for real; the programs they call are stubs on PATH that record their calls."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

# All that the launchers may find: a real gcloud on this machine is out of their reach.
TOOLS = (
  'basename bash cat chmod cp cut date dirname env false git grep gzip ls mkdir mktemp '
  'mv nohup rm sed setsid sh sleep tail tar tee touch tr true'
).split()
LAUNCH = pathlib.Path(__file__).parent.parent.parent / 'launch'
STUB = f"""#!{sys.executable} -SE
import json, os, pathlib, re, sys
folder = pathlib.Path(__file__).parent.parent
call = [os.path.basename(__file__), *sys.argv[1:]]
with open(folder / 'calls', 'a') as file:
  file.write(json.dumps(call) + '\\n')
answers = json.loads((folder / 'answers').read_text())
for answer in answers:
  if answer['times'] and re.search(answer['match'], ' '.join(call)):
    answer['times'] -= 1
    mine = folder / f'answers.{{os.getpid()}}'  # others may be reading
    mine.write_text(json.dumps(answers))
    mine.replace(folder / 'answers')
    sys.stdout.write(answer['out'])
    sys.stderr.write(answer['err'])
    sys.exit(answer['status'])
"""


@dataclasses.dataclass
class Bench:
  """A folder with stubs in `bin`, what they answer and the calls they got."""

  folder: pathlib.Path

  def stub(self, *names: str) -> None:
    for name in names:
      path = self.folder / 'bin' / name
      path.write_text(STUB)
      path.chmod(0o755)

  def answer(
    self,
    match: str,
    out: str = '',
    err: str = '',
    status: int = 0,
    times: int = 10**6,
  ) -> None:
    """The answer to the next `times` calls that match; earlier answers come first."""
    path = self.folder / 'answers'
    answers = json.loads(path.read_text())
    answers.append(
      {'match': match, 'out': out, 'err': err, 'status': status, 'times': times}
    )
    path.write_text(json.dumps(answers))

  def states(self, *states: str, of: str = 'tpu-vm describe') -> None:
    """What gcloud says the state is, in turn; the last for ever."""
    for number, state in enumerate(states):
      missing = state == 'MISSING'
      self.answer(
        of,
        out='' if missing else f'{state}\n',
        status=int(missing),
        err='ERROR: NOT_FOUND: Resource was not found\n' if missing else '',
        times=1 if number + 1 < len(states) else 10**6,
      )

  @property
  def calls(self) -> list[list[str]]:
    path = self.folder / 'calls'
    return (
      [json.loads(line) for line in path.read_text().splitlines()]
      if path.exists()
      else []
    )

  def called(self, *words: str) -> list[list[str]]:
    return [call for call in self.calls if all(word in call for word in words)]

  def run(
    self, launcher: str, *arguments: str, **environment: str
  ) -> subprocess.CompletedProcess:
    env = {
      'PATH': f'{self.folder / "bin"}:{self.folder / "tools"}',
      'HOME': str(self.folder),
      'TMPDIR': str(self.folder),
      **environment,
    }
    return subprocess.run(
      ['bash', str(LAUNCH / launcher), *arguments],
      capture_output=True,
      text=True,
      env=env,
      cwd=self.folder,
      timeout=60,
      check=False,
    )


@pytest.fixture
def bench(tmp_path) -> Bench:
  for name in ('bin', 'tools'):
    (tmp_path / name).mkdir()
  for tool in TOOLS:
    (tmp_path / 'tools' / tool).symlink_to(shutil.which(tool))
  (tmp_path / 'answers').write_text('[]')
  return Bench(tmp_path)


@pytest.fixture
def checkout(bench) -> pathlib.Path:
  """The folder of the project, where git knows which files are its own."""
  env = {'PATH': str(bench.folder / 'tools'), 'HOME': str(bench.folder)}
  done = subprocess.run(
    ['git', 'ls-files'],
    cwd=LAUNCH.parent,
    env=env,
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode or not done.stdout:
    pytest.skip(
      f'{LAUNCH.parent} is no git checkout of this user: {done.stderr.strip()}'
    )
  return LAUNCH.parent
