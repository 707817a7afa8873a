"""PRM800K (Lightman et al. 2023, 2305.20050) as a TFDS data set of whole solutions.

PRM800K rates single steps; SSFT needs solutions. `trajectories.Selection` says which of them become
one; 2310.10047 trains on 6,473 and does not say how they were chosen.
"""

import dataclasses
import hashlib

import tensorflow_datasets as tfds

from mathft_jax.data.tfds import features, prm800k_trajectories

CITATION = """@article{lightman2023lets,
  title={Let's Verify Step by Step},
  author={Lightman, Hunter and Kosaraju, Vineet and Burda, Yura and others},
  journal={arXiv:2305.20050}, year={2023}}"""


@dataclasses.dataclass
class Prm800kConfig(tfds.core.BuilderConfig):
  """A configuration is a selection; its name is made from it, so that TFDS keeps them apart."""

  selection: prm800k_trajectories.Selection = prm800k_trajectories.Selection()


FINISHED = Prm800kConfig(
  name='finished', description='Solutions that people followed to the end.'
)


def make_builder_config(
  selection: prm800k_trajectories.Selection,
) -> Prm800kConfig:
  """The configuration of a selection: `finished` for the default one."""
  if selection == FINISHED.selection:
    return FINISHED
  name = (
    'selection_'
    + hashlib.sha256(repr(selection).encode('utf-8')).hexdigest()[:12]
  )
  return Prm800kConfig(
    name=name, description=repr(selection), selection=selection
  )


class Prm800k(tfds.core.GeneratorBasedBuilder):
  """PRM800K's solutions, split as their MATH problems are: those of the 500 are `test`."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First release.'}
  BUILDER_CONFIGS = [FINISHED]
  MANUAL_DOWNLOAD_INSTRUCTIONS = prm800k_trajectories.INSTRUCTIONS

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      description=__doc__,
      features=features.problem_features(),
      citation=CITATION,
      supervised_keys=('question', 'solution'),
      homepage='https://github.com/openai/prm800k',
    )

  def _split_generators(self, dl_manager):
    problems = prm800k_trajectories.read_selected_solutions(
      dl_manager.manual_dir, self.builder_config.selection
    )
    return {
      split: self._generate_examples(problems, split)
      for split in features.nonempty_splits(problems)
    }

  def _generate_examples(self, problems, split):
    yield from features.generate_examples(problems, split)
