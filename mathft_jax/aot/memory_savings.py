"""Changes of the settings that make a stage fit, each compiled."""

from collections.abc import Iterator
import dataclasses

from mathft_jax.aot import batch_size_search, report
from mathft_jax.aot.estimates import GIB, Arguments, Json, StageEstimate
from mathft_jax.monitoring import hardware

BATCH_SIZE_MACROS = {
  'train': 'BATCH_SIZE',
  'sample': 'DECODE_BATCH_SIZE',
  'score': 'SCORE_BATCH_SIZE',
}


@dataclasses.dataclass(frozen=True)
class TriedChange:
  """One change of the settings and the memory that the stage needs with it.

  Attributes:
    change: the gin setting, such as 'FSDP = True'.
  """

  change: str
  used_bytes: float
  fits: bool
  batch_size: int


def try_memory_savings(
  estimate: StageEstimate,
  estimate_with: batch_size_search.Estimator,
  arguments: Arguments,
  chip: hardware.Chip,
) -> tuple[list[Json], str]:
  """Returns all changes that were tried, as JSON, and one line that recommends some.

  Args:
    estimate: the stage as configured, which does not fit.
    estimate_with: estimates the stage with changed arguments.
    arguments: the configured arguments.
    chip: its capacity.
  """
  tried = []
  for change, changed_arguments in _changes(estimate, arguments, chip):
    try:
      changed = estimate_with(**changed_arguments)
    except ValueError as error:  # sizes that do not divide
      print(f'    with {change}: not possible: {error}', flush=True)
      continue
    print(
      f'    with {change}: {report.format_memory(changed, chip)}', flush=True
    )
    tried.append(
      TriedChange(change, changed.used_bytes, changed.fits, changed.batch_size)
    )
  return list(map(dataclasses.asdict, tried)), _recommend(tried, estimate)


def _recommend(tried: list[TriedChange], estimate: StageEstimate) -> str:
  sufficient, insufficient = [], []
  for each in tried:
    text = f'{each.change} ({each.used_bytes / GIB:.2f} GiB)'
    if each.fits:
      sufficient.append(text)
    elif each.used_bytes < estimate.used_bytes:
      insufficient.append(text)
  if sufficient:
    return f'Each of these changes makes it fit: {"; ".join(sufficient)}.'
  if insufficient:
    return (
      'No single change makes it fit. These reduce the memory: '
      f'{"; ".join(insufficient)}. Combine several, or use more chips.'
    )
  return 'None of the changes tried reduces the memory. Use more chips or a smaller model.'


def _changes(
  estimate: StageEstimate, arguments: Arguments, chip: hardware.Chip
) -> Iterator[tuple[str, Json]]:
  """Yields (gin setting, changed arguments) of changes that may need less memory."""
  if estimate.program == 'train':
    yield from _training_changes(estimate, arguments, chip)

  unit = batch_size_search.batch_size_unit(estimate)
  half = arguments['batch_size'] // 2
  if half >= unit and half % unit == 0:
    macro = BATCH_SIZE_MACROS[estimate.program]
    yield f'{macro} = {half}', {'batch_size': half}

  partitioner = arguments['partitioner']
  if partitioner.ici_mesh_shape is None:
    for factor in (2, 4, 8):
      more = partitioner.num_partitions * factor
      if estimate.num_devices % more == 0:
        changed = dataclasses.replace(partitioner, num_partitions=more)
        yield f'NUM_PARTITIONS = {more}', {'partitioner': changed}


def _training_changes(
  estimate: StageEstimate, arguments: Arguments, chip: hardware.Chip
) -> Iterator[tuple[str, Json]]:
  model, partitioner = arguments['model'], arguments['partitioner']
  data_size = estimate.mesh[0]
  if not partitioner.fsdp and data_size > 1:
    sharded = dataclasses.replace(partitioner, fsdp=True)
    yield 'FSDP = True', {'partitioner': sharded}
  if model.remat not in ('full', 'auto'):  # 'auto' has tried 'full'
    changed = dataclasses.replace(model, remat='full')
    yield "transformer.TransformerConfig.remat = 'full'", {'model': changed}
  if chip.is_tpu and model.attention_kernel != 'splash':
    changed = dataclasses.replace(model, attention_kernel='splash')
    yield "ATTENTION_KERNEL = 'splash'", {'model': changed}
  more = 2 * arguments['num_microbatches']
  if arguments['batch_size'] % (data_size * more) == 0:
    yield f'NUM_MICROBATCHES = {more}', {'num_microbatches': more}
