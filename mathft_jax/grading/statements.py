r"""The value that a statement or a sentence gives as its answer.

  answer_in_statement('72 clips, altogether')                    # '72 clips'
  answer_in_statement('not 71 but 72')                           # '72'
  value_of_sentence('So, 5 cars drove by in the first 15 minutes.')    # '5'

A statement is what follows an announcement ("The answer is ..."). A sentence is the last one of a
solution that announces nothing. Both are at most a few lines; longer text is cut.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import re

MAX_STATEMENT = 2_000  # characters that are read
_MAX_ANSWER_WORDS = 4  # a statement with more words is a sentence
_MAX_WORDS = 6  # of a unit, or of an answer in words
DELIMITERS = (('\\[', '\\]'), ('$$', '$$'), ('\\(', '\\)'))
_FORMULA = re.compile(
  r'\\\[(?P<a>[^\n]{1,400}?)\\\]|\$\$(?P<b>[^$]{1,400})\$\$|\\\((?P<c>[^\n]{1,400}?)\\\)'
  # A dollar sign opens a formula before a non-blank and closes it behind one and before no digit.
  r'|(?<![\\\d])\$(?P<d>(?![\s$])[^$\n]{0,400}?(?<![\s\\]))\$(?!\d)'
)
_BOLD = re.compile(r'\*\*(?=\S)([^*\n]{1,200})\*\*|__(?=\S)([^_\n]{1,200})__')
_NUMBER = re.compile(
  r'(?<![\w.\\])-?[$€£]?-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?: \d{3})+(?![\d,]|-[a-zA-Z])|\d+)?'
  r'(?:(?<=\d)\.\d+|(?<![\d.])\.\d+|(?<=\d))'
  r'(?: \d{1,3}/\d{1,4}|/\d+(?:\.\d+)?)?(?:\s?%)?'
)
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
_LATEX = re.compile(r'\\[a-zA-Z]+')
_SENTENCE_END = re.compile(r'[.?!]["”’)\]*_]{0,3}(?=\s|$)|\n')
_ABBREVIATION = re.compile(
  r'(?:\b(?:[ap]\.m|approx|sq|cu|ft|in|oz|lb|lbs|hr|hrs|min|vs|etc|e\.g|i\.e|mr|mrs|ms|dr|st|no|fig|eq))$',
  re.IGNORECASE,
)
_LEAD = re.compile(
  r'\s*(?:(?:so|thus|hence|therefore|then|and|finally|in conclusion|in total|altogether|overall|'
  r'that is|i\.e\.|we get|we have|approximately|about|just|simply|exactly|only)\b[,:]?\s*)+',
  re.IGNORECASE,
)
_EXCLAMATION = re.compile(r'^[^\\]*\d!+[\s*_.]{0,9}$')
_LABEL = re.compile(
  r'\s*(?:(?:step|part|case)\s\d{1,2}|\d{1,2}|[a-h])?\s*[.):]\s+|\s*[-*•]\s+',
  re.IGNORECASE,
)
_FIRST_CLAUSE = re.compile(
  r'\s*(?:(?:so|thus|hence|therefore|then|and|finally|but|now)\b,?\s*)?'
  r'(?:since|if|when|as|because|given|after|before|out of|to|by|from|in|for|at|with|of|while|once|'
  r'although|of the|on)\b[^,]{1,200}(?<!\d),\s',
  re.IGNORECASE,
)
_NOT_BUT = re.compile(
  r'not\b[^,;.]{1,60}?,?\s(?:but|it is|it\'s)\s(?:rather\s)?', re.IGNORECASE
)
_REMARK = re.compile(
  r',?\s(?:since|because|which|whereas|as[ \t](?:desired|required|claimed|expected|needed|'
  r'wanted|well|[-\d$\\(])|so[ \t]|if you|when|rounded|to the nearest|of (?:an?|the)\b|after all|'
  r'as a result|by the way|i hope|hopefully|where[ \t](?:\$|\\\(|[a-zA-Z]\b|we))|'
  r'\s\((?!mod)[a-zA-Z]{2}|\s[–—]\s|\s--?\s(?=[a-zA-Z]{2})',
  re.IGNORECASE,
)
# Several values with units that are one answer: "2 hours and 30 minutes".
_COMPOUND = re.compile(
  r'[$\d][\d.,/]{0,12}(?: [a-zA-Z]{2,15}){1,2}'
  r'(?:(?:,| and|, and) [$\d][\d.,/]{0,12}(?: [a-zA-Z]{2,15}){1,2}){1,4}'
)
_TAIL = re.compile(r'(?:,|;|\band\b)\s*', re.IGNORECASE)
_VALUE_START = re.compile(
  r'(?:and|or|plus|then|x)?\s*(?:[-+$€£\\({\[*±√]|\d|[a-zA-Z](?:\s*[=,)]|$|\s*_)|[a-zA-Z]\s?\()',
  re.IGNORECASE,
)
_NUMBER_WORD = re.compile(
  r'(?:and|or)?\s*(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|'
  r'thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|'
  r'sixty|seventy|eighty|ninety|half|zero)\b',
  re.IGNORECASE,
)
_RESULT = re.compile(  # a verb between a calculation and its result
  r'\b(?:is|are|was|were|be|been|equals|becomes|totals|rounds|rounded)\b',
  re.IGNORECASE,
)
_STATED = re.compile(  # "is 5"
  r'\b(?:is|are|was|were|equals|be|rounds? (?:up|down|off)? ?to|rounded (?:up|down|off)? ?to)\s'
  r'(?:approximately\s|about\s|exactly\s|only\s|equal to\s)?(?=[$\d\\*-])',
  re.IGNORECASE,
)
_CONCLUSION = re.compile(
  r',\s(?:and\s)?(?:so|thus|hence|therefore)\b,?\s', re.IGNORECASE
)
_CALCULATION = re.compile(r'^[^\\]*(?:[÷×*]|\$\d|\d / )')
_FINITE_VERB = re.compile(
  r'\b(?:is|are|was|were|equals|becomes|totals|(?:will|would|can|could|must|should|may|might|did|does|do)'
  r'(?:\sbe)?|has|have|had|needs?|needed|costs?|makes?|made|earns?|earned|spends?|spent|sells?|sold|'
  r'pays?|paid|weighs?|weighed|lost|gets?|got|takes?|took|bought|saved?|saves|receives?|'
  r'received|uses?|used|contains?|holds?|gives|gave|leaves|eats?|ate|remains?)\b',
  re.IGNORECASE,
)
_REASON = re.compile(
  r'(?<!\band),?\s(?:since|because)\b|,\sas\s', re.IGNORECASE
)
_ARROW = re.compile(
  r'\\(?:implies|Rightarrow|rightarrow|to|iff|Longrightarrow)(?![a-zA-Z])|=>|⇒|→'
)


@dataclasses.dataclass(frozen=True)
class Value:
  """A value in a sentence: a number, a formula or a bold text.

  Attributes:
    start: index of its first character.
    end: index behind it.
    text: the value without its delimiters.
  """

  start: int
  end: int
  text: str


def first_statement(text: str) -> str:
  """Returns the text up to the end of the first sentence, line or displayed formula."""
  text = text.lstrip(' \t\n*:_')[:MAX_STATEMENT]
  for opening, closing in DELIMITERS:
    if text.startswith(opening):
      end = text.find(closing, len(opening))
      if end > 0:
        return text[len(opening) : end]
  return next(iter(split_sentences(text)), '')


def split_sentences(text: str) -> Iterator[str]:
  """Yields the sentences and lines of a text, without the sign at their end."""
  start = 0
  for match in _SENTENCE_END.finditer(text):
    head = text[start : match.start()]
    if match.group()[0] == '.' and _ABBREVIATION.search(head[-8:]):
      following = text[match.end() :].lstrip(' ')[:1]
      if following.islower() or following.isdigit():
        continue
    if match.group()[0] == '!' and text[match.end() :].lstrip(' ')[:1] in tuple(
      '=+-*/'
    ):
      continue
    if head.strip():
      yield head + match.group()[1:].strip()
    start = match.end()
  if text[start:].strip():
    yield text[start:]


def strip_markup(answer: str) -> str:
  """Removes the marks around an answer: bold, math delimiters, quotes, a final full stop."""
  before = None
  while answer != before:
    before = answer
    answer = answer.strip().rstrip('.,;:').strip('*`_"“”').strip()
    for opening, closing in (*DELIMITERS, ('$', '$')):
      inner = answer[len(opening) : -len(closing)]
      is_enclosed = (
        len(answer) > len(opening + closing)
        and answer.startswith(opening)
        and answer.endswith(closing)
      )
      if is_enclosed and '$' not in inner and opening not in inner:
        answer = inner
  return answer


def answer_in_statement(statement: str) -> str:
  """Returns the answer that an announced statement gives; '' if it gives none.

  A remark behind the value is cut. A short statement is an answer as it is; of a longer one only
  the value counts.
  """
  statement = statement[:MAX_STATEMENT]
  is_exclaimed = _EXCLAMATION.search(statement) is not None
  statement = _without_lead(strip_markup(statement))
  negation = _NOT_BUT.match(statement)
  if negation:
    statement = statement[negation.end() :]
  statement = strip_markup(_without_remark(_conclusion(statement)))
  if not statement or not _has_content(statement):
    return ''
  if is_exclaimed:
    statement = statement.rstrip(
      '!'
    )  # the end of an exclamation, not a factorial
  if _is_bare(statement):
    return _unwrapped(statement)
  return value_of_sentence(statement)


def value_of_sentence(sentence: str) -> str:
  """Returns the main value of a sentence, '' without one.

  In this order: the only bold value; what is behind the last equals sign; the only number or
  formula; the first value behind the last verb such as `is` or `are`; else the first value that is
  not governed by a preposition ("in the first 15 minutes").
  """
  sentence = _main_clause(sentence[:MAX_STATEMENT])
  bold = [
    match
    for match in _BOLD.finditer(sentence)
    if re.search(r'\d', match.group())
  ]
  if len(bold) == 1:
    inner = bold[0].group(1) or bold[0].group(2)
    if inner != sentence:
      return value_of_sentence(inner) or strip_markup(inner)

  values = find_values(sentence)
  if not values:
    return ''
  if len(values) == 1:
    return values[0].text
  equals = sentence.rfind('=')
  if any(value.start < equals < value.end for value in values):
    equals = -1  # inside a formula
  behind = [value for value in values if value.start > equals >= 0]
  stated = _first_behind_verb(sentence, values, equals)
  if behind and (
    stated is None or not _RESULT.search(sentence, equals, stated.start)
  ):
    return behind[0].text
  if stated is not None:
    return stated.text
  free = [value for value in values if not _is_governed(sentence, value)]
  return (free or values)[0].text


def _conclusion(statement: str) -> str:
  """Returns the clause behind ", so" that states a value: "84 km in 3 hours, so it is 28 km/h".

  A statement that starts with a value is an answer; then the clause is a remark.
  """
  *premises, clause = _CONCLUSION.split(statement)
  if not premises or not _STATED.search(clause):
    return statement
  values = find_values(premises[0])
  subject = premises[0][: values[0].start] if values else ''
  return clause if len(_WORD.findall(subject)) > 1 else statement


def _first_behind_verb(
  sentence: str, values: Sequence[Value], start: int
) -> Value | None:
  """Returns the first value behind a verb that no preposition governs."""
  stated = [match.end() for match in _STATED.finditer(sentence, max(start, 0))]
  for value in values:
    if stated and value.start == stated[-1]:
      return value
  verb = _FINITE_VERB.search(sentence, max(start, 0))
  if verb is None:
    return None
  for value in values:
    if value.start >= verb.end() and not _is_governed(sentence, value):
      return value
  return None


def _main_clause(sentence: str) -> str:
  """Returns a sentence without its label, a clause or phrase before it, and a reason behind it."""
  sentence = sentence.lstrip()
  label = _LABEL.match(sentence)
  if label:
    sentence = sentence[label.end() :]
  clause = _FIRST_CLAUSE.match(sentence)
  if clause and find_values(sentence[clause.end() :]):
    sentence = sentence[clause.end() :]
  reason = _REASON.search(sentence)
  if reason and find_values(sentence[: reason.start()]):
    sentence = sentence[: reason.start()]
  return sentence


def find_values(sentence: str) -> list[Value]:
  """Returns the numbers and formulas of a sentence in their order."""
  values = []
  end = 0
  for match in _FORMULA.finditer(sentence):
    inner = next(group for group in match.groups() if group is not None)
    values += _numbers(sentence, end, match.start())
    values.append(Value(match.start(), match.end(), _value_of_formula(inner)))
    end = match.end()
  return values + _numbers(sentence, end, len(sentence))


def last_number(text: str) -> str:
  """Returns the last number of a text, '' without one."""
  numbers = _numbers(text[-MAX_STATEMENT:], 0, MAX_STATEMENT)
  return numbers[-1].text if numbers else ''


def _numbers(text: str, start: int, end: int) -> list[Value]:
  numbers = []
  for match in _NUMBER.finditer(text, start, end):
    if match.group().strip():
      numbers.append(Value(match.start(), match.end(), match.group().strip()))
  return numbers


def _value_of_formula(formula: str) -> str:
  """Returns the part of a formula that states a value: behind an arrow, and of a calculation."""
  formula = _ARROW.split(formula)[-1].strip().strip('.')
  left, equals, right = formula.rpartition('=')
  if not equals or ',' in formula or not right.strip():
    return formula
  is_name = re.fullmatch(r'\s*\\?[a-zA-Z]+(?:_\{?\w+\}?)?\s*', left)
  return formula if is_name or '&' in formula else right.strip()


_PREPOSITIONS = frozenset(
  'in after for of from with at by per than within over during every each first last next on until '
  'before between remaining these those other more less through since under above below across the '
  'among into out all his her their its both additional extra these'.split()
)


def _is_governed(sentence: str, value: Value) -> bool:
  """Returns whether the word before a value makes it part of a phrase such as "after 3 days"."""
  before = _WORD.findall(sentence[max(0, value.start - 40) : value.start])
  gap = sentence[max(0, value.start - 3) : value.start].strip()
  return (
    bool(before)
    and not gap.endswith((',', ':', '='))
    and before[-1].lower() in _PREPOSITIONS
  )


def _without_lead(statement: str) -> str:
  lead = _LEAD.match(statement)
  if lead and len(statement) > lead.end() and re.search(r'\d|\\|\$', statement):
    return statement[lead.end() :]
  return statement


def _without_remark(statement: str) -> str:
  """Cuts what follows the value of a statement and is no part of it."""
  first = next(iter(find_values(statement)), None)
  if first is None:
    return statement
  remark = _REMARK.search(statement, first.end)
  if remark:
    statement = statement[: remark.start()].rstrip()
  inside: set[int] = set()
  for match in _FORMULA.finditer(statement):
    inside.update(range(match.start() + 1, match.end()))
  for joint in _TAIL.finditer(statement, first.end):
    end = joint.end()
    if end == len(statement) or joint.start() in inside:
      continue
    if _VALUE_START.match(statement, end) or _NUMBER_WORD.match(statement, end):
      continue
    if '\\' not in statement[: joint.start()].rpartition('$')[2]:
      return statement[: joint.start()].rstrip()
  return statement


def _is_bare(statement: str) -> bool:
  """Returns whether a statement is an answer as it is: a formula, or a few words."""
  verb = _FINITE_VERB.search(statement)
  if '=' in statement and _CALCULATION.search(statement):
    return False
  if len(statement.split()) <= _MAX_ANSWER_WORDS and not verb:
    return True
  if _COMPOUND.fullmatch(statement):
    return True
  words = [
    word for word in _WORD.findall(_LATEX.sub(' ', statement)) if len(word) > 2
  ]
  values = find_values(statement)
  if not values:
    return not verb and len(words) <= _MAX_WORDS
  if '\\' in statement or '$' in statement:
    return len(words) <= 2 and not verb
  if values[0].start == 0:
    is_calculation = re.search(r'[=÷×]', statement)
    return not is_calculation and len(values) == 1 and len(words) <= _MAX_WORDS
  return not words


def _unwrapped(statement: str) -> str:
  """Returns a short answer without its math delimiters and its bold marks."""
  statement = statement.replace('**', '')
  match = _FORMULA.match(statement)
  if match and match.end() == len(statement):
    return strip_markup(statement)
  return statement


def _has_content(statement: str) -> bool:
  r"""Returns False for the rest of a cut answer, such as `$\boxed` or `$\boxed{1`."""
  if (
    re.fullmatch(r'[\s$({\[]*\\(?:boxed|fbox|framebox)?.*', statement)
    and 'box' in statement
  ):
    return False
  return re.search(r'[^\s$\\{}()\[\]*_.,;:!?-]', statement) is not None
