"""Creates small random models of every family with all traits, and their logits in `transformers`.

  python tests/models/make_goldens.py            # writes tests/models/goldens/<case>/

Each case is a Hugging Face folder (config.json, model.safetensors in bfloat16) with
expected.safetensors beside it: tokens, and logits by transformers on torch, CPU, float32. Weights
come from numpy's generator, so that a case stays the same whatever torch does.
"""

import json
import pathlib
import sys
import tempfile
import zlib

import numpy as np

GOLDENS = pathlib.Path(__file__).parent / 'goldens'
ROWS, LENGTH = 2, 24
SIZES = dict(
  vocab_size=67,
  hidden_size=24,
  intermediate_size=40,
  num_hidden_layers=4,
  num_attention_heads=4,
  num_key_value_heads=2,
  head_dim=8,
  rms_norm_eps=1e-5,
  max_position_embeddings=64,
)
LLAMA3 = dict(
  rope_type='llama3',
  low_freq_factor=1.0,
  high_freq_factor=4.0,
  original_max_position_embeddings=16,
)
GEMMA2_LAYERS = ['sliding_attention', 'full_attention'] * 2
YARN = dict(
  rope_type='yarn',
  factor=4.0,
  original_max_position_embeddings=8,
  beta_fast=2.0,
  beta_slow=0.5,
)
GEMMA3_LAYERS = [
  'sliding_attention',
  'sliding_attention',
  'full_attention',
  'sliding_attention',
]

# Windows of 5 or 7 and an original length of 16 are all shorter than the 24 tokens.
CASES = {
  'llama_untied': (
    'LlamaForCausalLM',
    'llama',
    dict(
      rope_theta=500_000.0,
      rope_scaling={**LLAMA3, 'factor': 8.0},
      tie_word_embeddings=False,
    ),
  ),
  'llama_tied': (
    'LlamaForCausalLM',
    'llama',
    dict(
      rope_theta=100.0,
      rope_scaling={**LLAMA3, 'factor': 32.0},
      tie_word_embeddings=True,
    ),
  ),
  'mistral': (
    'MistralForCausalLM',
    'mistral',
    dict(rope_theta=1e6, sliding_window=7, tie_word_embeddings=False),
  ),
  'qwen2_tied': (
    'Qwen2ForCausalLM',
    'qwen2',
    dict(rope_theta=1e6, tie_word_embeddings=True),
  ),
  'qwen2_windows': (
    'Qwen2ForCausalLM',
    'qwen2',
    dict(
      rope_theta=1e4,
      tie_word_embeddings=False,
      use_sliding_window=True,
      sliding_window=5,
      max_window_layers=2,
    ),
  ),
  'qwen3_tied': (
    'Qwen3ForCausalLM',
    'qwen3',
    dict(rope_theta=1e6, tie_word_embeddings=True),
  ),
  'qwen3_untied': (
    'Qwen3ForCausalLM',
    'qwen3',
    dict(
      rope_theta=1e6,
      tie_word_embeddings=False,
      rope_scaling={'rope_type': 'linear', 'factor': 4.0},
    ),
  ),
  'gemma2': (
    'Gemma2ForCausalLM',
    'gemma2',
    dict(
      rope_theta=1e4,
      sliding_window=7,
      attn_logit_softcapping=2.0,
      final_logit_softcapping=3.0,
      query_pre_attn_scalar=20,
      layer_types=GEMMA2_LAYERS,
      tie_word_embeddings=True,
      hidden_activation='gelu_pytorch_tanh',
    ),
  ),
  'gemma3': (
    'Gemma3ForCausalLM',
    'gemma3_text',
    dict(
      rope_theta=1e6,
      rope_local_base_freq=1e4,
      sliding_window=7,
      query_pre_attn_scalar=20,
      rope_scaling={'rope_type': 'linear', 'factor': 8.0},
      layer_types=GEMMA3_LAYERS,
      sliding_window_pattern=3,
      tie_word_embeddings=True,
      hidden_activation='gelu_pytorch_tanh',
    ),
  ),
}

# The vocabulary of the cases is smaller than the default padding token.
NO_PADDING = dict(pad_token_id=None, bos_token_id=1, eos_token_id=2)
# Cases of families that came later; they need transformers 5.24.
CASES.update(
  {
    'smollm3': (
      'SmolLM3ForCausalLM',
      'smollm3',
      dict(
        rope_theta=1e4,
        no_rope_layers=[1, 0, 1, 0],
        **NO_PADDING,
        tie_word_embeddings=True,
      ),
    ),
    'ministral3': (
      'Ministral3ForCausalLM',
      'ministral3',
      dict(
        rope_parameters={
          **YARN,
          'rope_theta': 1e4,
          'mscale': 1.0,
          'mscale_all_dim': 1.0,
          'llama_4_scaling_beta': 0.5,
        },
        sliding_window=None,
        **NO_PADDING,
        tie_word_embeddings=False,
      ),
    ),
    'qwen3_moe': (
      'Qwen3MoeForCausalLM',
      'qwen3_moe',
      dict(
        rope_theta=1e4,
        num_experts=6,
        num_experts_per_tok=2,
        moe_intermediate_size=20,
        norm_topk_prob=True,
        **NO_PADDING,
        tie_word_embeddings=False,
      ),
    ),
    'phi3': (
      'Phi3ForCausalLM',
      'phi3',
      dict(
        rope_theta=1e4,
        sliding_window=None,
        **NO_PADDING,
        tie_word_embeddings=False,
      ),
    ),
    'granite': (
      'GraniteForCausalLM',
      'granite',
      dict(
        rope_theta=1e4,
        embedding_multiplier=1.7,
        attention_multiplier=0.3,
        residual_multiplier=0.4,
        logits_scaling=3.0,
        tie_word_embeddings=True,
      ),
    ),
    'olmo2': (
      'Olmo2ForCausalLM',
      'olmo2',
      dict(rope_theta=1e4, tie_word_embeddings=False),
    ),
    'olmo3': (
      'Olmo3ForCausalLM',
      'olmo3',
      dict(
        rope_theta=500_000.0,
        rope_scaling={**YARN, 'attention_factor': 1.3},
        sliding_window=7,
        layer_types=GEMMA3_LAYERS,
        tie_word_embeddings=False,
      ),
    ),
  }
)
GEMMA4 = dict(
  head_dim=8,
  global_head_dim=16,
  attention_k_eq_v=True,
  final_logit_softcapping=10.0,
  sliding_window=7,
  rope_parameters={
    'sliding_attention': {'rope_type': 'default', 'rope_theta': 100.0},
    'full_attention': {
      'rope_type': 'proportional',
      'partial_rotary_factor': 0.25,
      'rope_theta': 1e4,
    },
  },
  **NO_PADDING,
  tie_word_embeddings=True,
  hidden_activation='gelu_pytorch_tanh',
)
CASES.update(
  {
    'gemma4': (
      'Gemma4ForCausalLM',
      'gemma4_text',
      dict(
        num_hidden_layers=5,
        num_global_key_value_heads=1,
        layer_types=['full_attention', 'sliding_attention'] * 2
        + ['full_attention'],
        hidden_size_per_layer_input=0,
        **GEMMA4,
      ),
    ),
    'gemma4_e': (
      'Gemma4ForCausalLM',
      'gemma4_text',
      dict(
        num_hidden_layers=7,
        num_kv_shared_layers=3,
        use_double_wide_mlp=True,
        hidden_size_per_layer_input=6,
        vocab_size_per_layer_input=67,
        layer_types=['full_attention', 'sliding_attention'] * 3
        + ['full_attention'],
        **{**GEMMA4, 'attention_k_eq_v': False},
      ),
    ),
    'gemma4_unified': (
      'Gemma4UnifiedForCausalLM',
      'gemma4_unified_text',
      dict(
        num_hidden_layers=6,
        num_global_key_value_heads=4,
        layer_types=['sliding_attention', 'sliding_attention', 'full_attention']
        * 2,
        **GEMMA4,
      ),
    ),
  }
)


def config_json(case: str) -> dict:
  architecture, model_type, traits = CASES[case]
  return {
    'architectures': [architecture],
    'model_type': model_type,
    **SIZES,
    **traits,
  }


def stored_tensors(model) -> dict:
  """Parameters, and the buffers that are stored with them."""
  buffers = {
    name: buffer
    for name, buffer in model.named_buffers()
    if name.endswith('layer_scalar')
  }
  return {**dict(model.named_parameters()), **buffers}


def saved_tensors(model) -> dict:
  """Tensors in bfloat16 under the names of the folders that transformers writes."""
  import safetensors.torch
  import torch

  with tempfile.TemporaryDirectory() as folder:
    model.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    return safetensors.torch.load_file(f'{folder}/model.safetensors')


def random_weights(model, seed: int):
  """Weights so large that soft caps, norms and windows all matter; rounded to bfloat16."""
  import torch

  rng = np.random.default_rng(seed)
  # Scales of norms are added to 1.
  has_offset = (
    'Gemma' in type(model).__name__ and 'Gemma4' not in type(model).__name__
  )
  with torch.no_grad():
    for name, parameter in sorted(stored_tensors(model).items()):
      scale = (
        parameter.shape[-1] ** -0.5
        if parameter.ndim == 2 and 'embed' not in name
        else 0.5
      )
      is_scale = 'norm' in name or 'layer_scalar' in name
      start = 1.0 if is_scale and not has_offset else 0.0
      values = rng.normal(
        start, 1.5 * scale if parameter.ndim == 2 else 0.2, parameter.shape
      )
      parameter.copy_(torch.tensor(values).to(torch.bfloat16))


def build(case: str, folder: pathlib.Path):
  """(model in float32, tokens) of a case; writes its config.json."""
  import torch
  import transformers

  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'config.json').write_text(
    json.dumps(config_json(case), indent=1) + '\n'
  )
  config = transformers.AutoConfig.from_pretrained(folder)
  model = transformers.AutoModelForCausalLM.from_config(
    config, dtype=torch.float32, attn_implementation='eager'
  ).eval()
  seed = zlib.crc32(case.encode())
  random_weights(model, seed)
  return model, np.random.default_rng(seed).integers(
    0, SIZES['vocab_size'], (ROWS, LENGTH)
  )


def write(case: str, folder: pathlib.Path) -> None:
  import safetensors.torch
  import torch

  model, tokens = build(case, folder)
  with torch.no_grad():
    logits = model(torch.tensor(tokens)).logits
  if 'experts' in ' '.join(stored_tensors(model)):
    tensors = saved_tensors(model)  # the model holds the experts together
  else:
    tensors = {
      name: parameter.detach().to(torch.bfloat16).contiguous()
      for name, parameter in stored_tensors(model).items()
    }
  safetensors.torch.save_file(
    tensors, folder / 'model.safetensors', metadata={'format': 'pt'}
  )
  safetensors.torch.save_file(
    {'tokens': torch.tensor(tokens), 'logits': logits},
    folder / 'expected.safetensors',
  )


if __name__ == '__main__':
  for name in sys.argv[1:] or CASES:
    write(name, GOLDENS / name)
