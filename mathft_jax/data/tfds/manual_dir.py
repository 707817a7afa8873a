"""Finds the files that the user put into the manual folder and compares their checksums."""

from collections.abc import Iterable, Mapping
import gzip
import hashlib
import itertools
import logging

from etils import epath

GIT_LFS_HEADER = b'version https://git-lfs.'


def first_existing(
  folder: epath.PathLike, names: Iterable[str]
) -> epath.Path | None:
  """Returns the first of `names` that exists in `folder`; None if none does."""
  for name in names:
    path = epath.Path(folder) / name
    if path.exists():
      return path
  return None


def find_jsonl(
  folder: epath.PathLike, subfolders: Iterable[str], name: str
) -> epath.Path | None:
  """Returns `name`.jsonl or `name`.jsonl.gz of the first of `subfolders` that has it, or None."""
  candidates = itertools.product(subfolders, ('', '.gz'))
  names = [
    f'{subfolder}/{name}.jsonl{suffix}' for subfolder, suffix in candidates
  ]
  return first_existing(folder, names)


def check_published_sha256(path: epath.Path, published: Mapping[str, str]):
  """Logs whether a file is the published one.

  Args:
    path: the file; gzipped if its name ends in .gz.
    published: sha256 of the unpacked content by file name without .gz.

  Raises:
    ValueError: the file is a git lfs pointer.
  """
  with path.open('rb') as stream:
    if stream.read(len(GIT_LFS_HEADER)) == GIT_LFS_HEADER:
      raise ValueError(
        f'{path} is a git lfs pointer, not the file; run `git lfs pull` in its repository.'
      )
  wanted = published.get(path.name.removesuffix('.gz'))
  if wanted is None:
    return
  found = _sha256(path)
  if found == wanted:
    logging.info('%s: the published file (sha256 %s)', path, found)
  else:
    logging.warning(
      '%s: not the published file: the sha256 of its unpacked content is %s, of the published '
      'file %s. It is read anyway.',
      path,
      found,
      wanted,
    )


def _sha256(path: epath.Path) -> str:
  digest = hashlib.sha256()
  with path.open('rb') as binary:
    stream = gzip.open(binary) if path.suffix == '.gz' else binary
    while chunk := stream.read(1 << 20):
      digest.update(chunk)
  return digest.hexdigest()
