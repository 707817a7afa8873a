"""Results of self-checks: one finding for each check, printed as one line.

finding = failure('pad is not EOS', 'both are id 2', 'Bind another pad token.')
print(finding.line())
"""

from collections.abc import Sequence
import dataclasses
from typing import Literal

Status = Literal['ok', 'warning', 'failure', 'skipped']


@dataclasses.dataclass(frozen=True)
class Finding:
  """The result of one check.

  Attributes:
    check: name of the check.
    status: 'skipped' if the run has nothing that the check could look at.
    found: what was found, with numbers.
    action: what to do; '' if nothing needs to be done.
  """

  check: str
  status: Status
  found: str
  action: str = ''

  def line(self) -> str:
    """Returns `status  check: found -> action`."""
    action = f' -> {self.action}' if self.action else ''
    return f'{self.status:8} {self.check}: {self.found}{action}'


def ok(check: str, found: str) -> Finding:
  """Returns the finding of a check that passed."""
  return Finding(check, 'ok', found)


def warning(check: str, found: str, action: str) -> Finding:
  """Returns a finding that does not stop a run."""
  return Finding(check, 'warning', found, action)


def failure(check: str, found: str, action: str) -> Finding:
  """Returns a finding that stops a run: its result would be wrong or worthless."""
  return Finding(check, 'failure', found, action)


def skipped(check: str, found: str) -> Finding:
  """Returns the finding of a check that does not apply; `found` says why."""
  return Finding(check, 'skipped', found)


def count_by_status(found: Sequence[Finding]) -> dict[Status, int]:
  """Returns the number of findings with each status."""
  counts: dict[Status, int] = {
    'ok': 0,
    'warning': 0,
    'failure': 0,
    'skipped': 0,
  }
  for finding in found:
    counts[finding.status] += 1
  return counts
