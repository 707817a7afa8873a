"""python -m mathft_jax.plan"""

from mathft_jax import gin_utils, plan

if __name__ == '__main__':
  gin_utils.run(plan.plan, of_stages=plan.WANTED)
