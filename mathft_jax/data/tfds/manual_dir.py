"""What the user put into the manual folder: which files, and are they the published ones."""

from collections.abc import Iterable, Mapping
import gzip
import hashlib
import logging

from etils import epath


def first_existing(
  folder: epath.PathLike, names: Iterable[str]
) -> epath.Path | None:
  """The first of `names` that exists in `folder`; None when none does."""
  for name in names:
    if (path := epath.Path(folder) / name).exists():
      return path
  return None


def find_jsonl(
  folder: epath.PathLike, subfolders: Iterable[str], name: str
) -> epath.Path | None:
  """`name`.jsonl or `name`.jsonl.gz in the first of `subfolders` that has it; None without."""
  return first_existing(
    folder,
    (
      f'{subfolder}/{name}.jsonl{suffix}'
      for subfolder in subfolders
      for suffix in ('', '.gz')
    ),
  )


def check_published_sha256(path: epath.Path, known: Mapping[str, str]):
  """Logs whether a file is the published one; `known`: name, without .gz, -> sha256 unpacked.

  ValueError for the pointer that git leaves in the place of a large file.
  """
  with path.open('rb') as stream:
    if stream.read(24) == b'version https://git-lfs.':
      raise ValueError(
        f'{path}: a git lfs pointer and not the file; run `git lfs pull` in the '
        'repository it comes from.'
      )
  name = path.name.removesuffix('.gz')
  if name not in known:
    return
  if (found := _sha256(path)) == known[name]:
    logging.info('%s: the published file (sha256 %s)', path, found)
  else:
    logging.warning(
      '%s: not the published file: its sha256 unpacked is %s, the published one has '
      '%s. Reading it all the same.',
      path,
      found,
      known[name],
    )


def _sha256(path: epath.Path) -> str:
  digest = hashlib.sha256()
  with path.open('rb') as binary:
    stream = gzip.open(binary) if path.suffix == '.gz' else binary
    while chunk := stream.read(1 << 20):
      digest.update(chunk)
  return digest.hexdigest()
