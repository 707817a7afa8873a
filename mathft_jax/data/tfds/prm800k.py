"""PRM800K (Lightman et al. 2023, 2305.20050) as a TFDS data set of whole solutions.

PRM800K rates single steps; SSFT needs solutions. `prm800k_trajectories.Selection` says which
trajectories become solutions; 2310.10047 trains on 6,473 and does not say how they were chosen.
"""

import dataclasses
import hashlib

from etils import epath
import tensorflow_datasets as tfds

from mathft_jax.data import schema
from mathft_jax.data.tfds import prm800k_trajectories, problem_builder

CITATION = """@article{lightman2023lets,
  title={Let's Verify Step by Step},
  author={Lightman, Hunter and Kosaraju, Vineet and Burda, Yura and others},
  journal={arXiv:2305.20050}, year={2023}}"""


@dataclasses.dataclass
class Prm800kConfig(tfds.core.BuilderConfig):
  """A builder config for one selection; its name is derived from the selection."""

  selection: prm800k_trajectories.Selection = prm800k_trajectories.Selection()


FINISHED = Prm800kConfig(
  name='finished', description='Solutions that people followed to the end.'
)


def make_builder_config(
  selection: prm800k_trajectories.Selection,
) -> Prm800kConfig:
  """Returns the builder config of a selection: `finished` for the default one."""
  if selection == FINISHED.selection:
    return FINISHED
  text = repr(selection)
  digest = hashlib.sha256(text.encode('utf-8')).hexdigest()[:12]
  return Prm800kConfig(
    name=f'selection_{digest}', description=text, selection=selection
  )


class Prm800k(problem_builder.ProblemBuilder):
  """Solutions of PRM800K with the splits of their MATH problems: those of the 500 are `test`."""

  BUILDER_CONFIGS = [FINISHED]
  MANUAL_DOWNLOAD_INSTRUCTIONS = prm800k_trajectories.INSTRUCTIONS
  CITATION = CITATION
  HOMEPAGE = 'https://github.com/openai/prm800k'

  def read_problems(self, folder: epath.PathLike) -> list[schema.Problem]:
    config = self.builder_config
    assert isinstance(config, Prm800kConfig)
    return prm800k_trajectories.read_selected_solutions(
      folder, config.selection
    )
