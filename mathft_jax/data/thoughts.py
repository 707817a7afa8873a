"""Which part of a sampled text counts as the solution.

  text_that_counts('<think>Maybe 5?</think>It is 6.<|im_end|>')    # 'It is 6.'

Two parts never count: the thought of a thinking model, also if it was cut before its end marker,
and text after the end of the model's turn. `grade` and the templates of thinking models use the
same `TurnMarkers`.
"""

import dataclasses
import json
import re


@dataclasses.dataclass(frozen=True)
class TurnMarkers:
  """Marks of thoughts and of the end of a turn, as plain text.

  Attributes:
    thought_start: start of a thought.
    thought_end: end of a thought. All text before the last one is thought.
    starts_in_thought: whether the prompt ends with `thought_start`, so that the sampled text starts
      inside the thought. Then a text without `thought_end` is a thought that was cut.
    thoughts_count: True if the thought counts, too, for models that answer inside it.
    turn_ends: tokens that end a turn. A sampler that does not know one of them continues after it.
  """

  thought_start: str = '<think>'
  thought_end: str = '</think>'
  starts_in_thought: bool = False
  thoughts_count: bool = False
  turn_ends: tuple[str, ...] = (
    '<|im_end|>',
    '<|endoftext|>',
    '<|eot_id|>',
    '<|eom_id|>',
    '<|end_of_text|>',
    '<|end|>',
    '<|return|>',
    '<end_of_turn>',
    '<turn|>',
    '<eos>',
    '</s>',
    '<｜end▁of▁sentence｜>',
  )

  def __post_init__(self):
    object.__setattr__(self, 'turn_ends', tuple(self.turn_ends))

  def fingerprint(self) -> str:
    """Equal for markers with which the same part of every first turn counts."""
    fields = dataclasses.asdict(self)
    del fields['turn_ends']
    return json.dumps(fields)


def markers_from_fingerprint(text: str) -> TurnMarkers:
  """Returns markers with this fingerprint, and the default ends of turns."""
  return TurnMarkers(**json.loads(text))


DEFAULT_MARKERS = TurnMarkers()


def text_that_counts(text: str, markers: TurnMarkers = DEFAULT_MARKERS) -> str:
  """Returns the text of the first turn without its thought; '' if the thought was cut."""
  if markers is DEFAULT_MARKERS and '<' not in text:
    return text
  turn = _first_turn(text, markers)
  if markers.thoughts_count:
    return turn
  before, end, after = turn.rpartition(markers.thought_end)
  if not before and not end and markers.starts_in_thought:
    return ''
  return after.partition(markers.thought_start)[0]


def _first_turn(text: str, markers: TurnMarkers) -> str:
  """Returns the text up to the first end of a turn; marks at its start are skipped."""
  if not markers.turn_ends:
    return text
  ends = re.compile('|'.join(map(re.escape, markers.turn_ends)))
  start = 0
  for end in ends.finditer(text):
    turn = text[start : end.start()]
    if turn and not turn.isspace():
      return turn
    start = end.end()
  return text[start:]
