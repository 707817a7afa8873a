"""Types of training examples: token ids and labels of one sequence, before batching."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class SolutionExample:
  """A prompt and the tokens to learn, as in SSFT.

  Attributes:
    inputs: token ids of the prompt; they carry no loss.
    targets: token ids to learn, EOS included.
    target_weights: loss weight of each target token; None means 1 for all.
  """

  inputs: np.ndarray
  targets: np.ndarray
  target_weights: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class VerdictExample:
  """An evaluator prompt with its label; the targets are the label words.

  Attributes:
    inputs: token ids of the evaluator prompt.
    is_correct: 1 if the candidate in the prompt is correct, else 0.
  """

  inputs: np.ndarray
  is_correct: int


@dataclasses.dataclass(frozen=True, eq=False)
class ContrastExample:
  """A generator prompt and one candidate with its label, for the sequence-contrast loss.

  Attributes:
    inputs: token ids of the prompt; they carry no loss.
    targets: token ids of the candidate, with EOS if it is finished.
    is_correct: 1 if the candidate is correct, else 0.
  """

  inputs: np.ndarray
  targets: np.ndarray
  is_correct: int


@dataclasses.dataclass(frozen=True, eq=False)
class PreferenceExample(ContrastExample):
  """A contrast example for DPO.

  Attributes:
    reference_log_prob: log p of the targets under the reference model, natural log.
  """

  reference_log_prob: float


Example = SolutionExample | VerdictExample | ContrastExample


def as_dict(example: Example) -> dict[str, np.ndarray | int]:
  """Returns the fields of an example by name, as digests in checkpoint metadata read them.

  A verdict example has empty `targets`. Weights that are None are left out.
  """
  fields = {
    name: value for name, value in vars(example).items() if value is not None
  }
  if isinstance(example, VerdictExample):
    fields['targets'] = ()
  return fields


def num_tokens(example: Example) -> int:
  """Returns the number of inputs and targets; label words do not count."""
  if isinstance(example, VerdictExample):
    return len(example.inputs)
  return len(example.inputs) + len(example.targets)
