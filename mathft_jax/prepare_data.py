"""Prepares TFDS data sets from files that you have downloaded.

  python -m mathft_jax.prepare_data --datasets=math,prm800k --manual_dir=downloads \\
      --tfds_data_dir=tfds

`mathft_jax.train` and the other programs of this package prepare a data set when they first read
it. `t5x.train`, `t5x.eval` and seqio's cache tool only read prepared data sets: run this program
first and pass them the same `--tfds_data_dir`. Nothing is downloaded; docs/data.md lists the files
of the manual folder. A data set that is already prepared is not changed.
"""

import os

from etils import epath

PREPARE_FLAGS = ('datasets', 'manual_dir')


def prepare_data(
  *, datasets: str = 'math', manual_dir: epath.PathLike | None = None
) -> str:
  """Prepares data sets and returns a line on each.

  Args:
    datasets: names, separated by commas: 'math', 'prm800k', 'gsm8k'.
    manual_dir: folder of the downloaded files; by default `<tfds_data_dir>/downloads/manual`.

  Raises:
    ValueError: a name is unknown, a file is missing, or TFDS is not installed.
  """
  try:
    from mathft_jax.data.tfds import prepared_datasets
  except ImportError as error:
    raise ValueError(
      f"prepare_data needs TFDS: pip install 'mathft_jax[data]' ({error})."
    ) from error

  names = [name.strip() for name in datasets.split(',') if name.strip()]
  known = sorted(prepared_datasets.BUILDERS)
  unknown = sorted(set(names) - set(known))
  if unknown or not names:
    raise ValueError(
      f'--datasets={datasets}: {unknown or "no name"}; the data sets are: {", ".join(known)}. '
      'Separate several with commas.'
    )

  config = prepared_datasets.TfdsConfig(
    tfds_data_dir=os.environ.get('TFDS_DATA_DIR'),  # set by --tfds_data_dir
    manual_dir=None if manual_dir is None else str(manual_dir),
  )
  lines = []
  for name in names:
    builder = prepared_datasets.prepare_dataset(name, config)
    sizes = []
    for split, info in builder.info.splits.items():
      sizes.append(f'{split} {info.num_examples:,}')
    lines.append(f'{name}: {", ".join(sizes)}, in {builder.data_path}')
  return '\n'.join(lines)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(prepare_data, plain_flags=PREPARE_FLAGS)
