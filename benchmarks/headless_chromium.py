"""Headless Chromium for tests and screenshots of HTML pages, without further packages.

  with headless_chromium.Browser() as browser:
    page = browser.open('file:///reports/report.html')
    page.evaluate('document.title')
    page.screenshot('report.png')
    page.problems      # errors and warnings of the console, exceptions, dialogs

It speaks the DevTools protocol through a pipe. `find_chromium` returns None where none is installed
(Debian: `apt-get install chromium`).
"""

import base64
from collections.abc import Mapping
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time
from typing import Any, Self

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
TIMEOUT_S = 30.0
OPTIONS = (
  '--headless',
  '--no-sandbox',  # containers run as root
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--hide-scrollbars',
  '--no-first-run',
  '--disable-background-networking',
  '--remote-debugging-pipe',
)


def find_chromium() -> str | None:
  """Returns the path of an installed Chromium; None if there is none."""
  for name in NAMES:
    path = shutil.which(name)
    if path:
      return path
  return None


class Page:
  """A page of a browser.

  Attributes:
    problems: text of errors and warnings in the console, exceptions, and dialogs such as alert().
  """

  def __init__(self, browser: 'Browser', session: str):
    self._browser, self._session = browser, session
    self.problems: list[str] = []

  def evaluate(self, expression: str) -> Any:
    """Returns the value of an expression; promises are awaited."""
    found = self._call(
      'Runtime.evaluate',
      expression=expression,
      awaitPromise=True,
      returnByValue=True,
    )
    if 'exceptionDetails' in found:
      raise RuntimeError(f'{expression}: {found["exceptionDetails"]}')
    return found['result'].get('value')

  def wait_until(self, expression: str) -> None:
    """Waits until an expression is true; TimeoutError after TIMEOUT_S."""
    end = time.monotonic() + TIMEOUT_S
    while not self.evaluate(expression):
      if time.monotonic() > end:
        raise TimeoutError(f'{expression} is not true; {self.problems}')
      time.sleep(0.02)

  def press(self, key: str) -> None:
    """Presses and releases a key, such as 'j' or 'ArrowDown'."""
    text = {'text': key} if len(key) == 1 else {}
    self._call('Input.dispatchKeyEvent', type='keyDown', key=key, **text)
    self._call('Input.dispatchKeyEvent', type='keyUp', key=key)

  def resize(self, width: int, height: int) -> None:
    """Sets the size of the page in pixels, also below that of a window."""
    self._call(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=False,
    )

  def screenshot(self, path: str | os.PathLike) -> None:
    """Writes the visible part of the page as PNG."""
    found = self._call('Page.captureScreenshot', format='png')
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_bytes(base64.b64decode(found['data']))

  def handle_event(self, name: str, params: Mapping[str, Any]) -> None:
    """Collects what the page reports."""
    if name == 'Runtime.exceptionThrown':
      self.problems.append(str(params['exceptionDetails']))
    elif name == 'Runtime.consoleAPICalled':
      if params['type'] in ('error', 'warning', 'assert'):
        self.problems.append(str(params['args']))
    elif name == 'Log.entryAdded':
      if params['entry']['level'] in ('error', 'warning'):
        self.problems.append(params['entry']['text'])
    elif name == 'Page.javascriptDialogOpening':
      self.problems.append(f'dialog: {params["message"]}')

  def _call(self, method: str, **params: object) -> dict[str, Any]:
    return self._browser.call(method, params, self._session)


class Browser:
  """A running Chromium.

  Args:
    width, height: size of the pages in pixels.
  """

  def __init__(self, width: int = 1400, height: int = 1000):
    path = find_chromium()
    if path is None:
      raise FileNotFoundError('No Chromium found; apt-get install chromium.')
    self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    read_commands, self._commands = os.pipe()
    self._answers, write_answers = os.pipe()
    command = [
      path,
      *OPTIONS,
      f'--user-data-dir={self._profile.name}',
      f'--window-size={width},{height}',
    ]
    # Chromium reads commands from descriptor 3 and writes answers to 4.
    redirect = f'exec "$@" 3<&{read_commands} 4>&{write_answers}'
    self._process = subprocess.Popen(
      ['bash', '-c', redirect, 'bash', *command],
      pass_fds=(read_commands, write_answers),
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    self._buffer, self._number = b'', 0
    self._pages: dict[str, Page] = {}

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self._process.terminate()
    self._process.wait(TIMEOUT_S)
    os.close(self._commands)
    os.close(self._answers)
    self._profile.cleanup()

  def open(self, url: str, ready: str = 'true') -> Page:
    """Returns a page that has loaded and where the expression `ready` is true."""
    target = self.call('Target.createTarget', {'url': 'about:blank'})
    session = self.call(
      'Target.attachToTarget', {'targetId': target['targetId'], 'flatten': True}
    )['sessionId']
    page = self._pages[session] = Page(self, session)
    for domain in ('Page', 'Runtime', 'Log'):
      self.call(f'{domain}.enable', {}, session)
    self.call('Page.navigate', {'url': url}, session)
    page.wait_until(
      f'location.href !== "about:blank" && document.readyState === "complete" && {ready}'
    )
    return page

  def call(
    self, method: str, params: Mapping[str, object], session: str | None = None
  ) -> dict[str, Any]:
    """Returns the result of a DevTools command."""
    self._number += 1
    message = {'id': self._number, 'method': method, 'params': {**params}}
    if session:
      message['sessionId'] = session
    os.write(self._commands, json.dumps(message).encode() + b'\0')
    end = time.monotonic() + TIMEOUT_S
    while True:
      answer = self._read(end)
      if answer.get('id') == self._number:
        if 'error' in answer:
          raise RuntimeError(f'{method}: {answer["error"]}')
        return answer['result']
      page = self._pages.get(answer.get('sessionId', ''))
      if page and 'method' in answer:
        page.handle_event(answer['method'], answer['params'])
        if answer['method'] == 'Page.javascriptDialogOpening':
          raise RuntimeError(f'The page opened a dialog: {page.problems[-1]}')

  def _read(self, end: float) -> dict[str, Any]:
    """Returns the next message."""
    while b'\0' not in self._buffer:
      ready, _, _ = select.select(
        [self._answers], [], [], max(0.0, end - time.monotonic())
      )
      part = os.read(self._answers, 1 << 20) if ready else b''
      if not part:
        raise TimeoutError('Chromium does not answer.')
      self._buffer += part
    message, _, self._buffer = self._buffer.partition(b'\0')
    return json.loads(message)
