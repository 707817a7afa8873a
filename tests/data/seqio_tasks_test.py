import dataclasses
import json

import numpy as np
import pytest

seqio = pytest.importorskip('seqio')
tf = pytest.importorskip('tensorflow')

from mathft_jax.data import (  # noqa: E402
  candidate_selection,
  examples,
  problem_sources,
  prompt_templates,
  schema,
  seqio_tasks,
  vocabularies,
)
from mathft_jax.data.tfds import prepared_datasets, seqio_vocabulary  # noqa: E402

BYTES = vocabularies.ByteVocabulary()
OWN_TEMPLATE = prompt_templates.Template(
  solve='Q: {question} A: ',
  verify_problem='{question} |',
  verify_solution='{solution} ?',
  label_words=('yes', 'no'),
)


@pytest.fixture(autouse=True)
def registered_as_at_import():
  yield
  seqio_tasks.register_all_tasks()


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """A manual folder with small MATH and PRM800K files, and a TFDS folder."""
  manual = tmp_path_factory.mktemp('manual')
  for name, rows in (
    (
      'math/train',
      [
        {
          'problem': f'What is {n}é?',
          'solution': f'\\boxed{{{n}}}',
          'unique_id': f'train/algebra/{n}.json',
        }
        for n in range(40)
      ],
    ),
    ('math/test', []),
    (
      'prm800k/phase1_train_solutions',
      [
        {
          'problem': f'What is {n}é?',
          'steps': ['Think.'],
          'pred_answer': str(n),
          'answer': str(n),
        }
        for n in range(15)
      ],
    ),
  ):
    (manual / name).parent.mkdir(exist_ok=True)
    (manual / f'{name}.jsonl').write_text(
      ''.join(json.dumps(row) + '\n' for row in rows)
    )
  return {
    'tfds_data_dir': str(tmp_path_factory.mktemp('tfds')),
    'manual_dir': str(manual),
  }


@pytest.fixture
def candidates(tmp_path):
  sets = [
    schema.CandidateSet(
      schema.Problem(f'p{n}', f'What is {n}?', split='train'),
      tuple(
        schema.Candidate(f'{kind} {i}', is_correct=kind == 'right')
        for kind in ('right', 'wrong')
        for i in range(3)
      ),
    )
    for n in range(4)
  ]
  return str(schema.write_jsonl(tmp_path / 'graded.jsonl', sets))


def same(left, right):
  return len(left) == len(right) and all(
    type(a) is type(b)
    and all(
      np.array_equal(value, getattr(b, name)) for name, value in vars(a).items()
    )
    for a, b in zip(left, right)
  )


@pytest.mark.parametrize(
  'name, features',
  [
    ('math_ssft', {'inputs', 'targets'}),
    ('prm800k_ssft', {'inputs', 'targets'}),
    ('gsm8k_ssft', {'inputs', 'targets'}),
    ('math_prm800k_ssft', {'inputs', 'targets'}),
    ('math_scr_margin', {'correct_inputs', 'incorrect_inputs'}),
    ('math_scr_xent', {'inputs', 'is_correct'}),
    ('math_contrast', {'inputs', 'correct_targets', 'incorrect_targets'}),
  ],
)
def test_the_tasks_are_registered_by_name(name, features):
  assert set(seqio.get_mixture_or_task(name).output_features) == features


@pytest.mark.parametrize(
  'template', [prompt_templates.Template(), OWN_TEMPLATE]
)
def test_a_task_has_the_ids_of_plain_example_sources(folders, template):
  made = seqio_tasks.TaskExamples(
    mixture_or_task_name='math_ssft', template=template, **folders
  )
  plain = examples.SolutionExamples(
    seqio_tasks.TfdsProblems(name='math', **folders), template, BYTES
  )
  assert same(made('train'), plain('train'))
  assert made('train')[0].targets[-1] == BYTES.eos_id
  assert made.group_size == 1


def test_a_task_uses_the_given_vocabulary(folders):
  words = tuple(
    sorted(
      {
        word
        for n in range(40)
        for word in (f'What is {n}é? Q: A: \\boxed{{{n}}}').split()
      }
    )
  )
  vocabulary = vocabularies.WordVocabulary(words)
  made = seqio_tasks.TaskExamples(
    mixture_or_task_name='math_ssft',
    vocabulary=vocabulary,
    template=OWN_TEMPLATE,
    **folders,
  )('train')
  assert vocabulary.decode(made[0].inputs).startswith('Q: What is')


def test_seqio_reads_a_registered_task(folders):
  prepared_datasets.prepare_dataset(
    'math', prepared_datasets.TfdsConfig(**folders)
  )
  seqio_tasks.register_all_tasks(seqio_tasks.TaskConfig(**folders))
  task = seqio.get_mixture_or_task('math_ssft')
  element = next(
    iter(
      task.get_dataset(
        sequence_length={'inputs': 9, 'targets': 64},
        split='train',
        shuffle=False,
      ).as_numpy_iterator()
    )
  )
  assert len(element['inputs']) == 9
  assert BYTES.decode(element['targets']) == element[
    'targets_pretokenized'
  ].decode('utf-8')


def test_a_proportional_mixture_has_every_example_once(folders):
  def make(name):
    return seqio_tasks.TaskExamples(mixture_or_task_name=name, **folders)(
      'train'
    )

  assert same(
    make('math_prm800k_ssft'), make('math_ssft') + make('prm800k_ssft')
  )


def test_a_mixture_oversamples_the_smaller_task_to_its_rate(folders):
  seqio_tasks.TaskExamples(mixture_or_task_name='math_ssft', **folders)('train')
  seqio.MixtureRegistry.remove('half_half')
  seqio.MixtureRegistry.add(
    'half_half', [('math_ssft', 1.0), ('prm800k_ssft', 1.0)]
  )
  made = seqio_tasks.TaskExamples(mixture_or_task_name='half_half', **folders)(
    'train'
  )
  math = seqio_tasks.TaskExamples(mixture_or_task_name='math_ssft', **folders)(
    'train'
  )
  small = seqio_tasks.TaskExamples(
    mixture_or_task_name='prm800k_ssft', **folders
  )('train')
  assert same(made, (math + (small * 9)[: len(math)]))


def test_rates_by_number_count_examples_after_the_limit(
  folders,
):
  def make(name):
    return seqio_tasks.TaskExamples(
      mixture_or_task_name=name, limit=5, **folders
    )('train')

  assert len(make('math_ssft')) == 5
  assert len(make('math_prm800k_ssft')) == 10


def test_a_mixture_registered_earlier_uses_the_current_template(folders):
  seqio.MixtureRegistry.remove('mine')
  seqio.MixtureRegistry.add('mine', [('math_ssft', 1.0)])
  made = seqio_tasks.TaskExamples(
    mixture_or_task_name='mine', template=OWN_TEMPLATE, **folders
  )
  task = seqio_tasks.TaskExamples(
    mixture_or_task_name='math_ssft', template=OWN_TEMPLATE, **folders
  )
  assert same(made('train'), task('train'))


def test_a_nested_mixture_keeps_its_rates(folders):
  for name in ('inner', 'outer'):
    seqio.MixtureRegistry.remove(name)
  seqio_tasks.TaskExamples(mixture_or_task_name='math_ssft', **folders)('train')
  seqio.MixtureRegistry.add('inner', [('math_ssft', 3.0)])
  seqio.MixtureRegistry.add('outer', [('inner', 2.0), ('prm800k_ssft', 1.0)])
  made = seqio_tasks.TaskExamples(
    mixture_or_task_name='outer', limit=8, **folders
  )('train')
  assert len(made) == 16 + 8


def write_cache(folder, task, elements):
  """Writes files in the format of `seqio_cache_tasks`."""
  (folder / task).mkdir()

  def feature(value):
    if isinstance(value, bytes):
      return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

  with tf.io.TFRecordWriter(
    str(folder / task / 'train.tfrecord-00000-of-00001')
  ) as writer:
    for element in elements:
      features = tf.train.Features(
        feature={k: feature(v) for k, v in element.items()}
      )
      writer.write(tf.train.Example(features=features).SerializeToString())
  specs = {
    name: {
      'shape': [] if isinstance(value, bytes) else [None],
      'dtype': 'string' if isinstance(value, bytes) else 'int32',
    }
    for name, value in elements[0].items()
  }
  (folder / task / 'info.train.json').write_text(
    json.dumps({'num_shards': 1, 'features': specs, 'seqio_version': '0.0.20'})
  )
  (folder / task / 'stats.train.json').write_text(
    json.dumps({'examples': len(elements)})
  )
  (folder / task / 'COMPLETED').write_text('')


def test_a_task_cached_with_another_template_is_an_error(folders, tmp_path):
  prepared_datasets.prepare_dataset(
    'math', prepared_datasets.TfdsConfig(**folders)
  )
  seqio_tasks.register_all_tasks(seqio_tasks.TaskConfig(**folders))
  elements = list(
    seqio.get_mixture_or_task('math_ssft')
    .get_dataset(split='train', shuffle=False, sequence_length=None)
    .as_numpy_iterator()
  )
  write_cache(tmp_path, 'math_ssft', elements)
  made = seqio_tasks.TaskExamples(
    mixture_or_task_name='math_ssft',
    use_cached=True,
    cache_dirs=(str(tmp_path),),
  )
  uncached = seqio_tasks.TaskExamples(
    mixture_or_task_name='math_ssft', **folders
  )
  assert same(made('train'), uncached('train'))
  with pytest.raises(ValueError, match='cache the task again'):
    dataclasses.replace(made, template=OWN_TEMPLATE)('train')


@pytest.mark.parametrize(
  'name, rule',
  [
    ('math_scr_margin', lambda **k: examples.VerdictExamples(paired=True, **k)),
    ('math_scr_xent', lambda **k: examples.VerdictExamples(paired=False, **k)),
    ('math_contrast', lambda **k: examples.ContrastExamples(**k)),
  ],
)
def test_evaluator_tasks_have_the_examples_of_plain_sources(
  candidates, name, rule
):
  made = seqio_tasks.TaskExamples(
    mixture_or_task_name=name,
    candidates=candidates,
    candidate_selection=candidate_selection.CandidateSelection(
      examples_per_problem=4
    ),
  )
  plain = rule(
    candidates=candidates,
    template=prompt_templates.Template(),
    vocabulary=BYTES,
    examples_per_problem=4,
  )
  assert same(made('train'), plain('train'))
  assert made.group_size == plain.group_size


def test_seqio_reads_evaluator_tasks(candidates):
  seqio_tasks.register_all_tasks(seqio_tasks.TaskConfig(candidates=candidates))
  pairs = seqio.get_mixture_or_task('math_scr_margin').get_dataset(
    split='train', shuffle=True, seed=0, sequence_length=None
  )
  for pair in pairs.as_numpy_iterator():
    assert 'right' in BYTES.decode(pair['correct_inputs'])
    assert 'wrong' in BYTES.decode(pair['incorrect_inputs'])


def test_the_error_for_missing_candidates_says_what_to_bind():
  with pytest.raises(
    ValueError, match='math_scr_xent .*TaskExamples.candidates'
  ):
    seqio_tasks.TaskExamples(mixture_or_task_name='math_scr_xent')('train')


def test_user_jsonl_becomes_a_task(tmp_path):
  path = tmp_path / 'mine.jsonl'
  path.write_text(
    '{"problem": "1+1?", "solution": "2"}\n{"problem": "2+2?", "solution": "4"}\n'
  )
  problems = problem_sources.JsonlProblems(str(path))
  seqio_tasks.add_jsonl_task('mine_ssft', problems)
  made = seqio_tasks.TaskExamples(
    mixture_or_task_name='mine_ssft', template=OWN_TEMPLATE
  )('train')
  assert same(
    made, examples.SolutionExamples(problems, OWN_TEMPLATE, BYTES)('train')
  )


def test_a_task_with_another_vocabulary_is_an_error():
  other = seqio.PassThroughVocabulary(77)
  seqio.TaskRegistry.remove('foreign')
  seqio.TaskRegistry.add(
    'foreign',
    source=seqio.FunctionDataSource(
      lambda split, shuffle_files, seed=None: None, splits=('train',)
    ),
    preprocessors=[],
    output_features={
      'inputs': seqio.Feature(other),
      'targets': seqio.Feature(other),
    },
  )
  with pytest.raises(ValueError, match=r'foreign: feature .* \(VOCABULARY\)'):
    seqio_tasks.TaskExamples(mixture_or_task_name='foreign')('train')


def test_the_seqio_vocabulary_has_the_same_ids():
  adapted = seqio_vocabulary.SeqioVocabulary(BYTES)
  text = 'x² = 4'
  assert (
    adapted.encode(text)
    == BYTES.encode(text)
    == adapted.encode_tf(text).numpy().tolist()
  )
  ids = BYTES.encode(text) + [BYTES.eos_id] + BYTES.encode('never')
  assert adapted.decode(ids) == text
  assert (
    adapted.decode_tf(np.asarray(ids, np.int32)).numpy().decode('utf-8') == text
  )
  assert adapted == seqio_vocabulary.SeqioVocabulary(
    vocabularies.ByteVocabulary()
  )
  assert adapted != seqio_vocabulary.SeqioVocabulary(
    vocabularies.WordVocabulary(('a',))
  )


@pytest.mark.parametrize(
  'kind, special',
  [
    ('qwen', dict(eos='<|endoftext|>', pad='<|fim_pad|>')),
    ('gemma', dict(eos='<eos>', pad='<pad>', bos='<bos>')),
    ('llama2', dict(eos='</s>', pad='<unk>', bos='<s>')),
  ],
)
def test_a_task_has_the_ids_of_a_published_tokenizer(
  folders, tokenizer_paths, kind, special
):
  vocabulary = vocabularies.TokenizerVocabulary(
    str(tokenizer_paths[kind]), **special
  )
  made = seqio_tasks.TaskExamples(
    mixture_or_task_name='math_ssft', vocabulary=vocabulary, **folders
  )
  plain = examples.SolutionExamples(
    seqio_tasks.TfdsProblems(name='math', **folders),
    prompt_templates.Template(),
    vocabulary,
  )
  assert same(made('train'), plain('train'))
  adapted = seqio_vocabulary.SeqioVocabulary(vocabulary)
  for text in ('x² = 4', ' correct', '<eos></s><|endoftext|>'):
    assert adapted.encode_tf(text).numpy().tolist() == vocabulary.encode(text)
    assert adapted.decode(adapted.encode(text)) == text


def test_another_seqio_vocabulary_matches_if_it_gives_the_same_ids(
  tokenizer_paths,
):
  made = {
    kind: vocabularies.TokenizerVocabulary(
      str(tokenizer_paths[kind]), **special
    )
    for kind, special in (
      ('gemma', dict(eos='<eos>', pad='<pad>')),
      ('llama2', dict(eos='</s>', pad='<unk>')),
    )
  }
  foreign = {
    kind: seqio.SentencePieceVocabulary(str(tokenizer_paths[kind]))
    for kind in made
  }
  assert seqio_vocabulary.encodes_same_ids(foreign['gemma'], made['gemma'])
  assert not seqio_vocabulary.encodes_same_ids(foreign['gemma'], made['llama2'])
  # Its first space.
  assert not seqio_vocabulary.encodes_same_ids(
    foreign['llama2'], made['llama2']
  )
  assert seqio_vocabulary.encodes_same_ids(
    seqio.ByteVocabulary(extra_ids=0), BYTES
  )
