"""Models, losses, tasks and batches of this package under `t5x.train`, `t5x.eval` and `t5x.infer`.

  math_model          `MathModel`: the Transformer with any loss, prediction and scoring
  feature_converter   `MathFeatureConverter`: seqio tasks to model features
  math_trainer        `MathTrainer`: exact gradients with microbatches; learning rates
  optax_optimizer     `OptaxOptimizer`: the optimizers of `training.optimizers`
  train_batches       the batches of `mathft_jax.train`, a function of (seed, step)

No other package imports this one, and only this one imports t5x. docs/t5x.md has the commands; the
gin files are in gin_configs/t5x/.
"""
