"""A bucket server on this machine that speaks the part of Google Cloud Storage's JSON API in use.

Objects appear whole when their upload ends, have a generation that preconditions are checked
against, and are listed in pages; folders do not exist. Written after
https://cloud.google.com/storage/docs/json_api/v1.
"""

import base64
from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import datetime
import email.parser
import hashlib
import http.server
import itertools
import json
import re
import sys
import threading
import urllib.parse

PAGE = 7  # objects a page at most: few, so that clients must turn pages
OBJECT = r'(?:/download|/upload)?(?:/storage/v1)?/b/([^/]+)/o/([^/]+)'


@dataclasses.dataclass(frozen=True)
class Object:
  """One object: its bytes and which writing of its name this is."""

  content: bytes
  generation: int


@dataclasses.dataclass
class Store:
  """Buckets by name, and what went over the wire.

  Attributes:
    read_only: names of buckets that refuse writes, as for somebody without permission.
    watch: called with (method, object name) before a request is answered; it may wait.
  """

  buckets: dict[str, dict[str, Object]] = dataclasses.field(
    default_factory=dict
  )
  read_only: set[str] = dataclasses.field(default_factory=set)
  calls: list[tuple[str, str]] = dataclasses.field(default_factory=list)
  watch: Callable[[str, str], None] = lambda method, name: None
  uploads: dict[str, tuple[str, str, bytearray, dict]] = dataclasses.field(
    default_factory=dict
  )
  lock: threading.RLock = dataclasses.field(default_factory=threading.RLock)
  clock: Iterator[int] = dataclasses.field(
    default_factory=lambda: itertools.count(1_700_000_000)
  )

  def put(self, bucket: str, name: str, content: bytes) -> Object:
    made = Object(bytes(content), next(self.clock))
    self.buckets[bucket][name] = made
    return made


class Refused(Exception):
  """An answer other than success: (status, reason)."""


class Handler(http.server.BaseHTTPRequestHandler):
  """Answers one request; the store hangs on the server."""

  protocol_version = 'HTTP/1.1'
  disable_nagle_algorithm = True

  def log_message(self, *_) -> None:
    pass

  def _answer(self) -> None:
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    body = self._body()
    store: Store = self.server.store
    name = query.get('name', url.path)
    try:
      store.watch(self.command, urllib.parse.unquote(name))
      with store.lock:
        store.calls.append((self.command, urllib.parse.unquote(name)))
        status, headers, content = _route(self, store, url.path, query, body)
    except Refused as error:
      status, headers = error.args[0], {}
      content = json.dumps(
        {'error': {'code': status, 'message': error.args[1]}}
      ).encode()
    self.send_response(status)
    headers = {
      'Content-Type': 'application/json',
      **headers,
      'Content-Length': len(content),
    }
    for key, value in headers.items():
      self.send_header(key, str(value))
    # Clients that have read enough, or were killed.
    with contextlib.suppress(ConnectionError):
      self.end_headers()
      self.wfile.write(content)

  do_GET = do_POST = do_PUT = do_DELETE = _answer

  def _body(self) -> bytes:
    if self.headers.get('Transfer-Encoding', '').lower() != 'chunked':
      return self.rfile.read(int(self.headers.get('Content-Length') or 0))
    found = b''
    while size := int(self.rfile.readline(), 16):
      found += self.rfile.read(size)
      self.rfile.readline()
    self.rfile.readline()
    return found


Answer = tuple[int, dict, bytes]


def _route(
  request: Handler, store: Store, path: str, query: dict, body: bytes
) -> Answer:
  """(status, headers, content)."""
  for pattern, method, answer in ROUTES:
    found = re.fullmatch(pattern, path)
    if found and method == request.command:
      groups = [urllib.parse.unquote(each) for each in found.groups()]
      if request.command != 'GET' and groups[0] in store.read_only:
        raise Refused(
          403,
          f'The caller does not have storage.objects.create on {groups[0]}.',
        )
      return answer(request, store, query, body, *groups)
  raise Refused(
    400, f'The fake server does not support {request.command} {path}.'
  )


def _bucket(store: Store, name: str) -> dict[str, Object]:
  if name not in store.buckets:
    raise Refused(404, 'The specified bucket does not exist.')
  return store.buckets[name]


def _object(store: Store, bucket: str, name: str) -> Object:
  found = _bucket(store, bucket).get(name)
  if found is None:
    raise Refused(404, f'No such object: {bucket}/{name}')
  return found


def _check(store: Store, bucket: str, name: str, query: dict) -> None:
  """412 where the object's generation is not the one that the request was made for."""
  now = _bucket(store, bucket).get(name)
  wanted = query.get('ifGenerationMatch')
  if wanted is not None and int(wanted) != (now.generation if now else 0):
    raise Refused(
      412, 'At least one of the pre-conditions you specified did not hold.'
    )


def _resource(bucket: str, name: str, found: Object) -> dict:
  when = f'{datetime.datetime.fromtimestamp(found.generation, datetime.timezone.utc):%FT%T.000Z}'
  return {
    'kind': 'storage#object',
    'id': f'{bucket}/{name}/{found.generation}',
    'name': name,
    'bucket': bucket,
    'generation': str(found.generation),
    'metageneration': '1',
    'size': str(len(found.content)),
    'timeCreated': when,
    'updated': when,
    'contentType': 'application/octet-stream',
    'etag': str(found.generation),
    'md5Hash': base64.b64encode(hashlib.md5(found.content).digest()).decode(),
  }


def _json(found: dict, status: int = 200) -> Answer:
  return status, {}, json.dumps(found).encode()


def _get_bucket(request, store, query, body, bucket) -> Answer:
  _bucket(store, bucket)
  return _json(
    {
      'kind': 'storage#bucket',
      'id': bucket,
      'name': bucket,
      'location': 'HERE',
      'locationType': 'region',
      'storageClass': 'STANDARD',
      'metageneration': '1',
    }
  )


def _list(request, store, query, body, bucket) -> Answer:
  """A page of objects, and of what stands before the delimiter in the names of others."""
  prefix, delimiter = query.get('prefix', ''), query.get('delimiter')
  entries: dict[str, Object | None] = {}
  for name, found in sorted(_bucket(store, bucket).items()):
    if (
      not name.startswith(prefix)
      or name < query.get('startOffset', '')
      or ('endOffset' in query and name >= query['endOffset'])
    ):
      continue
    head, cut, _ = (
      name[len(prefix) :].partition(delimiter) if delimiter else (name, '', '')
    )
    if cut:
      entries[prefix + head + cut] = None
    else:
      entries[name] = found
  names = [
    name for name in sorted(entries) if name > query.get('pageToken', '')
  ]
  size = min(PAGE, int(query.get('maxResults', PAGE)))
  page = {
    'kind': 'storage#objects',
    'items': [
      _resource(bucket, name, entries[name])
      for name in names[:size]
      if entries[name]
    ],
    'prefixes': [name for name in names[:size] if not entries[name]],
  }
  if len(names) > size:
    page['nextPageToken'] = names[size - 1]
  return _json({key: value for key, value in page.items() if value})


def _get(request, store, query, body, bucket, name) -> Answer:
  found = _object(store, bucket, name)
  headers = {'X-Goog-Generation': found.generation, 'ETag': found.generation}
  if query.get('ifGenerationNotMatch') == str(found.generation):
    return 304, headers, b''
  _check(store, bucket, name, query)
  if query.get('alt') != 'media' and not request.path.startswith('/download'):
    return _json(_resource(bucket, name, found))
  wanted = re.fullmatch(r'bytes=(\d*)-(\d*)', request.headers.get('Range', ''))
  size = len(found.content)
  if not wanted:
    return 200, headers, found.content
  first, last = (int(each) if each else None for each in wanted.groups())
  if first is None:
    first, last = max(0, size - last), size - 1
  last = size - 1 if last is None else min(last, size - 1)
  if first >= size:
    raise Refused(416, f'Range {request.headers["Range"]} of {size} bytes.')
  headers['Content-Range'] = f'bytes {first}-{last}/{size}'
  return 206, headers, found.content[first : last + 1]


def _delete(request, store, query, body, bucket, name) -> Answer:
  _object(store, bucket, name)
  _check(store, bucket, name, query)
  del store.buckets[bucket][name]
  return 204, {}, b''


def _move(request, store, query, body, bucket, name, to_name) -> Answer:
  made = store.put(bucket, to_name, _object(store, bucket, name).content)
  del store.buckets[bucket][name]
  return _json(_resource(bucket, to_name, made))


def _upload(request, store, query, body, bucket) -> Answer:
  if 'upload_id' in query:
    return _upload_part(request, store, query, body, bucket)
  _bucket(store, bucket)
  kind, name = query['uploadType'], query.get('name')
  if kind == 'resumable':
    number = str(next(store.clock))
    store.uploads[number] = (
      bucket,
      name or json.loads(body)['name'],
      bytearray(),
      query,
    )
    place = f'http://{request.headers["Host"]}{request.path}&upload_id={number}'
    return 200, {'Location': place}, b'{}'
  if kind == 'multipart':
    described, body = _parts(request.headers['Content-Type'], body)
    name = name or described['name']
  _check(store, bucket, name, query)
  return _json(_resource(bucket, name, store.put(bucket, name, body)))


def _upload_part(request, store, query, body, bucket) -> Answer:
  """A part of a resumable upload; the object appears with the last one."""
  bucket, name, so_far, first_query = store.uploads[query['upload_id']]
  first, total = re.fullmatch(
    r'bytes (\d+-\d+|\*)/(\d+|\*)',
    request.headers.get('Content-Range', 'bytes */*'),
  ).groups()
  if first != '*':
    del so_far[int(first.split('-')[0]) :]
    so_far += body
  if total == '*' or int(total) != len(so_far):
    seen = {'Range': f'bytes=0-{len(so_far) - 1}'} if so_far else {}
    return 308, seen, b''
  _check(store, bucket, name, first_query)
  del store.uploads[query['upload_id']]
  return _json(_resource(bucket, name, store.put(bucket, name, so_far)))


def _parts(content_type: str, body: bytes) -> tuple[dict, bytes]:
  """(json, content) of a body of two parts; email's parser would change line ends."""
  header = email.parser.HeaderParser().parsestr(
    f'Content-Type: {content_type}\n\n'
  )
  mark = b'--' + header.get_boundary().encode()
  _, first, rest = body.split(mark, 2)
  content = rest[: rest.rindex(mark + b'--')]
  content = content.removesuffix(b'\n').removesuffix(b'\r')

  def split(part):
    return re.split(rb'\r?\n\r?\n', part, maxsplit=1)[1]

  return json.loads(split(first)), split(content)


ROUTES = (
  (r'(?:/storage/v1)?/b/([^/]+)', 'GET', _get_bucket),
  (r'(?:/storage/v1)?/b/([^/]+)/o', 'GET', _list),
  (OBJECT + r'/moveTo/o/([^/]+)', 'POST', _move),
  (OBJECT, 'GET', _get),
  (OBJECT, 'DELETE', _delete),
  (r'/upload/storage/v1/b/([^/]+)/o', 'POST', _upload),
  (r'/upload/storage/v1/b/([^/]+)/o', 'PUT', _upload),
)


class Server(http.server.ThreadingHTTPServer):
  """Says nothing of clients that were killed."""

  daemon_threads = True
  # Connections that wait; refused ones are tried again after seconds.
  request_queue_size = 128

  def handle_error(self, request, client_address) -> None:
    if not isinstance(sys.exception(), ConnectionError):
      super().handle_error(request, client_address)


@contextlib.contextmanager
def serving(store: Store) -> Iterator[dict[str, str]]:
  """The environment in which clients talk to this store instead of Google's."""
  server = Server(('127.0.0.1', 0), Handler)
  server.store = store
  threading.Thread(target=server.serve_forever, daemon=True).start()
  url = f'http://127.0.0.1:{server.server_address[1]}'
  try:
    # The last three keep clients from looking for a login.
    yield {
      'STORAGE_EMULATOR_HOST': url,
      'TENSORSTORE_GCS_HTTP_URL': url,
      'GOOGLE_CLOUD_PROJECT': 'stand-in',
      'NO_GCE_CHECK': 'true',
      'GCE_METADATA_ROOT': url.removeprefix('http://'),
    }
  finally:
    server.shutdown()
    server.server_close()
