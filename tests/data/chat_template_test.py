"""Chat templates of published models are rendered in a sandbox."""

import pytest

from mathft_jax.data import chat_template

pytest.importorskip('jinja2')
USER = [{'role': 'user', 'content': '1 + 1?'}]


def test_a_template_is_rendered():
  text = chat_template.render_chat_template(
    '{{ bos_token }}{% for m in messages %}{{ m["content"] | trim }}{% endfor %}'
    '{%- if add_generation_prompt %} :{% endif %}',
    USER,
    bos_token='<s>',
  )
  assert text == '<s>1 + 1? :'


@pytest.mark.parametrize(
  'template',
  [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    '{{ messages.append(1) }}',
    '{% for a in range(1000000000) %}{% endfor %}',
    '{% include "/etc/passwd" %}',
    '{{ raise_exception("roles must alternate") }}',
    '{% if %}',
  ],
)
def test_what_leaves_the_sandbox_is_an_error(template):
  with pytest.raises(ValueError, match='chat template cannot be rendered'):
    chat_template.render_chat_template(template, USER)
