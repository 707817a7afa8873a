"""The Transformer of this package with any of its losses, as a t5x model."""

from collections.abc import Mapping
import functools
from typing import Any

from clu import metrics as clu_metrics
from flax import core as flax_core
from flax.linen import partitioning as flax_partitioning
import jax
import jax.numpy as jnp
from t5x import metrics as t5x_metrics
from t5x import models as t5x_models
from t5x import partitioning as t5x_partitioning

from mathft_jax.config import vocabulary_size
from mathft_jax.data import prompt_templates
from mathft_jax.data.tfds import seqio_vocabulary
from mathft_jax.distributed import partitioning
from mathft_jax.inference import decode_config, sampling, traced_decoding
from mathft_jax.models import transformer
from mathft_jax.t5x_bridge import feature_converter, optax_optimizer
from mathft_jax.training import losses, train_config, train_step

Batch = dict[str, jax.Array]
Metrics = dict[str, clu_metrics.Metric]


class MathModel(t5x_models.BaseTransformerModel):
  """A `TransformerConfig` and a loss for t5x's train, eval and infer.

  `predict_batch` decodes after the prompts of `*_ssft` tasks. `score_batch` returns
  log p(targets | inputs) of `*_ssft` tasks and the log-odds of S_cls of `*_scr_xent` tasks.

  Attributes:
    step_config: what the train step depends on, with t5x's mesh and axis rules.
    method: chooses the next tokens in `predict_batch`.
    max_decode_length: tokens of a prediction at most; None: as many as a row of the batch has.

  Args:
    dropout_seed: with the step, decides which values dropout sets to 0, as in `mathft_jax.train`.
  """

  def __init__(
    self,
    *,
    model: transformer.TransformerConfig,
    optimization: train_config.OptimizationConfig,
    vocabulary: prompt_templates.Vocabulary,
    template: prompt_templates.Template,
    partitioner: t5x_partitioning.BasePartitioner,
    method: sampling.SamplingMethod = sampling.Greedy(),
    max_decode_length: int | None = None,
    dropout_seed: int = 0,
  ):
    if optimization.lora is not None:
      raise ValueError(
        'OptimizationConfig.lora is set; under t5x all parameters are trained. Train adapters with '
        'mathft_jax.train, which merges them into its checkpoint.'
      )
    vocabulary_size.check_vocabulary_size(vocabulary, model)
    rules = partitioner.logical_axis_rules
    self.step_config = optimization.step_config(
      model, partitioner.mesh, tuple(map(tuple, rules))
    ).with_dropout_seed(dropout_seed)
    self.vocabulary, self.template = vocabulary, template
    self.method, self.max_decode_length = method, max_decode_length
    self._train_rows: int | None = None
    self.FEATURE_CONVERTER_CLS = functools.partial(
      feature_converter.MathFeatureConverter,
      vocabulary=vocabulary,
      template=template,
    )
    seqio_vocab = seqio_vocabulary.SeqioVocabulary(vocabulary)
    super().__init__(
      module=None,
      input_vocabulary=seqio_vocab,
      output_vocabulary=seqio_vocab,
      optimizer_def=optax_optimizer.OptaxOptimizer(self.step_config),
    )

  def get_initial_variables(
    self,
    rng: jax.Array,
    input_shapes: Mapping[str, Any],
    input_types: Mapping[str, Any] | None = None,
  ) -> flax_core.FrozenDict:
    """Returns random parameters and the logical axes of each."""
    del input_types
    if 'decoder_segment_ids' not in input_shapes:
      raise ValueError(
        f'The batches have the features {sorted(input_shapes)}, and no decoder_segment_ids: they '
        'are of another feature converter. Use the FEATURE_CONVERTER_CLS of MathModel.'
      )
    self._train_rows = input_shapes['decoder_input_tokens'][0]
    model = self.step_config.model
    if not jnp.issubdtype(rng.dtype, jax.dtypes.prng_key):
      rng = jax.random.wrap_key_data(rng)
    return flax_core.freeze(
      {
        'params': transformer.init_params(model, rng),
        'params_axes': _axis_metadata(transformer.param_logical_axes(model)),
      }
    )

  def complete_batch(self, batch: Mapping[str, jax.Array]) -> Batch:
    """Returns the batch with the arrays that have no batch axis, which t5x cannot pass.

    Raises:
      ValueError: pairs do not stay together in the batches of the hosts.
    """
    batch = dict(batch)
    if feature_converter.PAIR_MEMBERS in batch:
      rows = batch.pop(feature_converter.PAIR_MEMBERS).shape[0]
      unit = 2 * jax.process_count()
      if rows % unit:
        raise ValueError(
          f'BATCH_SIZE is {rows}; with pairs it must be a multiple of {unit} (2 rows of a pair x '
          f'{jax.process_count()} processes).'
        )
    if 'word_positions' in batch:
      words = self._label_words
      batch['label_words'] = jnp.asarray(words.ids_WM)
      batch['label_word_mask'] = jnp.asarray(words.mask_WM)
    return batch

  def loss_weight(self, batch: Batch, num_microbatches: int = 1) -> Any:
    """Returns what the loss of a whole batch is divided by.

    Raises:
      ValueError: the loss does not fit the batch.
    """
    loss = self.step_config.loss
    if isinstance(loss, losses.Mle) and 'verdict_weights' in batch:
      raise ValueError(
        'The loss is Mle and the batch has labels of candidates: it would also learn the incorrect '
        'ones. Name an *_ssft task (MIXTURE_OR_TASK_NAME) or another loss (LOSS).'
      )
    try:
      weight = loss.weight(batch)
    except KeyError as error:
      raise ValueError(
        f'{loss} needs {error} in the batch, which has {sorted(batch)}. Name a task of this loss '
        '(MIXTURE_OR_TASK_NAME) or another loss (LOSS).'
      ) from error

    rows = batch['decoder_input_tokens'].shape[0]
    if _has_pairs(weight) and rows % (2 * num_microbatches):
      raise ValueError(
        f'BATCH_SIZE is {rows}; with pairs it must be a multiple of {2 * num_microbatches} (2 rows '
        f'x {num_microbatches} microbatches).'
      )
    return weight

  def loss_fn(
    self,
    params: Any,
    batch: Mapping[str, jax.Array],
    dropout_rng: jax.Array | None,
  ) -> tuple[jax.Array, Metrics]:
    """Returns the loss of a whole batch and its metrics."""
    rows = batch['decoder_input_tokens'].shape[0]
    if dropout_rng is not None and rows != self._train_rows:
      raise ValueError(
        f'The loss got {rows} of the {self._train_rows} rows of a batch. trainer.Trainer would '
        'normalize each microbatch by itself, and the loss would be too large. Bind '
        'train_script.train.trainer_cls = @math_trainer.MathTrainer.'
      )
    if dropout_rng is not None and self.step_config.model.dropout_rate:
      raise ValueError(
        'DROPOUT_RATE is not 0, and trainer.Trainer would train without dropout. Bind '
        'train_script.train.trainer_cls = @math_trainer.MathTrainer.'
      )
    batch = self.complete_batch(batch)
    weight = self.loss_weight(batch)
    log_probs = train_step.forward(
      self.step_config, optax_optimizer.unfreeze(params), batch
    )
    loss, metrics = self.step_config.loss(log_probs, batch, weight)
    return loss, to_t5x_metrics(loss, metrics)

  def predict_batch_with_aux(
    self,
    params: Any,
    batch: Mapping[str, jax.Array],
    rng: jax.Array | None = None,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns token ids [B, U], EOS included and then padding, and their log-probabilities [B]."""
    if 'verdict_weights' in batch:
      raise ValueError(
        'Predictions are for *_ssft tasks; candidates are scored (infer.mode = "score").'
      )
    tokens_BT = batch['decoder_input_tokens']
    batch_size, length = tokens_BT.shape
    # The last prompt token predicts the first target.
    lengths_B = 1 + jnp.argmax(batch['decoder_loss_weights'] > 0, axis=1)
    in_prompt_BT = jnp.arange(length) < lengths_B[:, None]
    config = decode_config.DecodeConfig(
      model=self.step_config.model,
      method=self.method,
      num_rows=batch_size,
      rows_per_group=1,
      prompt_slots=length,
      max_decode_length=self.max_decode_length or length,
      end_ids=self.vocabulary.end_ids,
      vocab_size=self.vocabulary.vocab_size,
      mesh=self.step_config.mesh,
      rules=self.step_config.rules,
    )
    key = jax.random.PRNGKey(0) if rng is None else rng
    found = traced_decoding.decode_in_trace(
      config,
      optax_optimizer.unfreeze(params),
      jnp.where(in_prompt_BT, tokens_BT, 0),
      lengths_B,
      jax.random.split(jax.random.wrap_key_data(key), batch_size),
    )
    slots_U = jnp.arange(found.tokens_BU.shape[1])
    ends_BU = jnp.isin(found.tokens_BU, jnp.array(config.end_ids))
    tokens_BU = jnp.where(ends_BU, self.vocabulary.eos_id, found.tokens_BU)
    tokens_BU = jnp.where(
      slots_U < found.lengths_B[:, None], tokens_BU, self.vocabulary.pad_id
    )
    return tokens_BU, {'scores': found.log_probs_B}

  def score_batch(
    self,
    params: Any,
    batch: Mapping[str, jax.Array],
    return_intermediates: bool = False,
  ) -> jax.Array:
    """Returns natural logs [B]: log-odds of S_cls, or log p(targets | inputs).

    The score of a row that did not fit into the sequence length is NaN.
    """
    if return_intermediates:
      raise ValueError('MathModel has no intermediates to return.')
    if feature_converter.PAIR_MEMBERS in batch:
      raise ValueError(
        'An element of a *_scr_margin or *_contrast task is a pair, and t5x expects one score for '
        'each element: scores would be of other candidates. Score a *_scr_xent task.'
      )
    batch = self.complete_batch(batch)
    log_probs = train_step.forward(
      self.step_config, optax_optimizer.unfreeze(params), batch
    )
    if 'word_positions' in batch:
      log_probs_BW = log_probs.word_log_probs(
        batch['word_positions'], batch['label_words'], batch['label_word_mask']
      )
      scores_B = log_probs_BW[:, losses.CORRECT]
      scores_B -= log_probs_BW[:, losses.INCORRECT]
    else:
      log_prob_BT = log_probs.target_log_probs(batch['decoder_target_tokens'])
      scores_B = jnp.sum(log_prob_BT * batch['decoder_loss_weights'], axis=1)
    is_empty_B = jnp.all(batch['decoder_segment_ids'] == 0, axis=1)
    return jnp.where(is_empty_B, jnp.nan, scores_B)

  def _compute_logits(self, params, batch, dropout_rng=None):
    raise NotImplementedError('Losses are computed without [B, T, V] logits.')

  @functools.cached_property
  def _label_words(self):
    return prompt_templates.make_label_words(self.template, self.vocabulary)


def logical_axis_rules(
  model: transformer.TransformerConfig, num_partitions: int
) -> list[tuple[str, str | None]]:
  """Returns axis rules for `PjitPartitioner`: t5x's, and those of key/value heads.

  t5x requires that the mesh divides every axis. An axis that it does not divide, such as a single
  key/value head, is replicated. On CPUs the mesh axis `model` has all devices of a process.
  """
  mesh = t5x_partitioning.default_mesh(num_partitions)
  indivisible = set()
  axes = jax.tree.leaves(
    transformer.param_logical_axes(model),
    is_leaf=lambda node: isinstance(node, tuple),
  )
  shapes = jax.tree.leaves(transformer.abstract_params(model))
  for names, array in zip(axes, shapes, strict=True):
    for name, size in zip(names, array.shape):
      if size % mesh.shape['model']:
        indivisible.add(name)

  rules = []
  for name, mesh_axis in partitioning.DEFAULT_AXIS_RULES:
    rules.append((name, None if name in indivisible else mesh_axis))
  return rules


def to_t5x_metrics(loss: jax.Array, metrics: losses.Metrics) -> Metrics:
  """Returns metrics that t5x adds up over steps.

  `loss` is a mean over steps; the others are means over what they count, such as tokens.
  """
  converted: Metrics = {
    'loss': t5x_metrics.AveragePerStep.from_model_output(loss)
  }
  for name, (total, count) in metrics.items():
    converted[name] = clu_metrics.Average(
      total=jnp.asarray(total, jnp.float32), count=jnp.asarray(count)
    )
  return converted


def _axis_metadata(axes: Any) -> dict[str, Any]:
  """Returns logical axes under the names that t5x expects: `query` becomes `query_axes`."""
  renamed = {}
  for name, node in axes.items():
    if isinstance(node, Mapping):
      renamed[name] = _axis_metadata(node)
    else:
      renamed[f'{name}_axes'] = flax_partitioning.AxisMetadata(names=node)
  return renamed


def _has_pairs(weight: Any) -> bool:
  """Whether a loss, or a part of it, counts pairs."""
  if not isinstance(weight, Mapping):
    return False
  return 'pairs' in weight or any(map(_has_pairs, weight.values()))
