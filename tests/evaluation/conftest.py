"""No deadline per example: on a busy machine it would fail what is right."""

import hypothesis

hypothesis.settings.register_profile('no_deadline', deadline=None)
hypothesis.settings.load_profile('no_deadline')
