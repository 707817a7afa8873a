"""All self-checks: fast ones for the start of every training, and those that run the model.

  found = run_fast_checks(run)
  found += run_model_checks(run, params)

To add a check, write a function `(run) -> Finding` or `(run, params) -> Finding` and name it below.
"""

from collections.abc import Callable, Iterator
import time

from absl import logging

from mathft_jax.distributed import processes
from mathft_jax.models import transformer
from mathft_jax.self_checks import (
  compute_checks,
  data_checks,
  findings,
  loss_checks,
  machine_checks,
  prompt_checks,
  token_checks,
)
from mathft_jax.self_checks.checked_run import CheckedRun
from mathft_jax.self_checks.findings import Finding

# They read examples, one batch and small files; nothing is compiled.
FAST_CHECKS: tuple[Callable[[CheckedRun], Finding], ...] = (
  token_checks.check_vocabulary_fits,
  token_checks.check_fingerprint,
  token_checks.check_bos_once,
  token_checks.check_eos_is_trained,
  token_checks.check_pad_is_not_eos,
  token_checks.check_end_tokens,
  prompt_checks.check_same_prompts,
  prompt_checks.check_chat_template,
  prompt_checks.check_label_words,
  data_checks.check_supervised_tokens,
  data_checks.check_truncation,
  data_checks.check_padding_share,
  machine_checks.check_processes,
  machine_checks.check_devices,
  machine_checks.check_memory,
  machine_checks.check_disk,
)
# They compile the model.
MODEL_CHECKS: tuple[
  Callable[[CheckedRun, transformer.Params], Finding], ...
] = (
  loss_checks.check_loss,
  loss_checks.check_architecture,
  compute_checks.check_packing,
  compute_checks.check_decoding,
  compute_checks.check_accumulation,
)
MODES = ('stop', 'warn', 'off')


def run_fast_checks(run: CheckedRun) -> list[Finding]:
  """Returns the findings of all checks that compile nothing."""
  return [_run(check, run) for check in FAST_CHECKS]


def run_model_checks(
  run: CheckedRun, params: transformer.Params
) -> Iterator[Finding]:
  """Yields the findings of all checks that run the model with the initial weights."""
  for check in MODEL_CHECKS:
    yield _run(check, run, params)


def check_mode(mode: str) -> None:
  """Raises ValueError for an unknown mode of `check_at_start`."""
  if mode not in MODES:
    raise ValueError(
      f'self_checks is {mode!r}; it must be one of {MODES} (SELF_CHECKS).'
    )


def check_at_start(run: CheckedRun, mode: str) -> None:
  """Runs the fast checks and logs what they found, except for what is right.

  Args:
    run: the run before its first step.
    mode: 'stop' raises for a failure; 'warn' only logs it; 'off' checks nothing.

  Raises:
    ValueError: a check failed; the message lists all failures.
  """
  check_mode(mode)
  if mode == 'off':
    return
  start = time.monotonic()
  found = run_fast_checks(run)
  if processes.is_primary():
    counts = findings.count_by_status(found)
    logging.info(
      'self-checks: %d ok, %d warnings, %d failures, %d skipped (%.2f s)',
      counts['ok'],
      counts['warning'],
      counts['failure'],
      counts['skipped'],
      time.monotonic() - start,
    )
    for finding in found:
      is_raised = finding.status == 'failure' and mode == 'stop'
      if finding.status in ('warning', 'failure') and not is_raised:
        logging.warning('%s', finding.line())

  failures = [each.line() for each in found if each.status == 'failure']
  if failures and mode == 'stop':
    lines = '\n  '.join(failures)
    raise ValueError(
      f'self-checks failed (docs/doctor.md); to train nevertheless, set SELF_CHECKS = '
      f"'warn':\n  {lines}"
    )


def _run(check: Callable[..., Finding], *arguments: object) -> Finding:
  """Returns the finding of a check; one that cannot be finished is a warning."""
  try:
    return check(*arguments)
  except Exception as error:  # noqa: BLE001 (a check must not stop a training)
    name = check.__name__.removeprefix('check_').replace('_', ' ')
    return findings.warning(
      name,
      f'the check could not be finished: {type(error).__name__}: {error}',
      'Please report this.',
    )
