from hypothesis import given
from hypothesis import strategies as st

from mathft_jax.data import first_fit_packing


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_every_item_is_in_one_row_and_no_row_overflows(lengths):
  rows = first_fit_packing.pack_first_fit(lengths, 20)
  assert sorted(index for row in rows for index in row) == list(
    range(len(lengths))
  )
  assert all(sum(lengths[index] for index in row) <= 20 for row in rows)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_an_item_is_in_the_first_row_with_room(lengths):
  rows = first_fit_packing.pack_first_fit(lengths, 20)
  for row, items in enumerate(rows):
    for item in items:
      for earlier in rows[:row]:
        before = sum(lengths[other] for other in earlier if other < item)
        assert before + lengths[item] > 20


def test_small_items_fill_gaps_before_large_items():
  assert first_fit_packing.pack_first_fit([6, 7, 4, 3], 10) == [[0, 2], [1, 3]]
