"""Screenshots of reports for the documentation, from published samples of language models.

  python -m benchmarks.report_screenshots --data=../shared/data --output=docs/images

Needs Chromium (Debian: `apt-get install chromium`) and the samples of `benchmarks.real_samples`: 50
problems of MATH with 8 samples and the scores of a reward model (Qwen2.5-Math), and 60 problems of
GSM8K with 15 samples (Llama-3.1-8B). Grades them, writes reports to a temporary folder and stores:

  report_headline.png     the first screen of report.html
  report_browser.png      a problem of MATH with right and wrong candidates
  report_comparison.png   comparison.html of the votes of 5 and of 15 samples
"""

import argparse
import dataclasses
import pathlib
import tempfile
import urllib.parse

from benchmarks import headless_chromium, real_samples
from mathft_jax import compare, evaluate, grade
from mathft_jax.data import schema
from mathft_jax.evaluation import voting

READY = 'document.body.dataset.ready === "true"'


def take_screenshots(data: pathlib.Path, output: pathlib.Path) -> None:
  """Writes the screenshots; `data` is the folder with `samples/`."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name) / 'runs'  # pages show the last four folders
    paths = {path.stem: path for path in real_samples.convert(data, folder)}
    scored = grade.grade(
      folder / 'math/qwen/graded', candidates=paths['math_qwen']
    )
    evaluate.evaluate(
      folder / 'math/qwen/report',
      candidates=scored,
      rules=voting.paper_rules(),
      title='Qwen2.5-Math samples, re-ranked by its reward model',
      print_tables=False,
    )
    reports = _reports_by_sample_count(
      folder,
      grade.grade(
        folder / 'gsm8k/llama/graded', candidates=paths['gsm8k_llama-3.1-8b']
      ),
    )
    compare.compare(
      folder / 'gsm8k/llama/both',
      reports=reports,
      title='Llama-3.1-8B on 60 problems of GSM8K: 5 and 15 samples',
    )
    with headless_chromium.Browser(1400, 950) as browser:
      page = browser.open(f'file://{folder}/math/qwen/report/report.html')
      page.screenshot(output / 'report_headline.png')
      page = browser.open(f'file://{folder}/gsm8k/llama/both/comparison.html')
      page.screenshot(output / 'report_comparison.png')
    with headless_chromium.Browser(1400, 1250) as browser:
      query = urllib.parse.urlencode(
        {'which': 'right and wrong candidates', 'problem': 'math_qwen/17'}
      )
      page = browser.open(
        f'file://{folder}/math/qwen/report/candidates.html#{query}',
        f'{READY} && document.querySelector(".candidate[open] .body") !== null',
      )
      page.screenshot(output / 'report_browser.png')


def _reports_by_sample_count(
  folder: pathlib.Path, graded: pathlib.Path
) -> dict[str, pathlib.Path]:
  """Returns report folders for the first 5 and for all 15 samples of each problem."""
  reports = {}
  for count in (5, 15):
    sets = []
    for each in schema.read_candidate_sets(graded):
      few = each.candidates[:count]
      sets.append(dataclasses.replace(each, candidates=few))
    path = schema.write_jsonl(
      folder / f'gsm8k/llama/{count}_samples/graded.jsonl', sets
    )
    report = folder / f'gsm8k/llama/{count}_samples/report'
    evaluate.evaluate(
      report,
      candidates=path,
      rules=(voting.Majority(), voting.Oracle()),
      print_tables=False,
    )
    reports[f'{count} samples'] = report
  return reports


if __name__ == '__main__':
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--data', type=pathlib.Path, required=True)
  parser.add_argument('--output', type=pathlib.Path, required=True)
  arguments = parser.parse_args()
  take_screenshots(arguments.data, arguments.output)
