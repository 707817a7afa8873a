"""Hypothesis without a deadline per example, which would fail on a busy machine."""

import hypothesis

hypothesis.settings.register_profile('no_deadline', deadline=None)
hypothesis.settings.load_profile('no_deadline')
