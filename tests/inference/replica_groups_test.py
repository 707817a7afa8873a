"""Who decodes which rows: the groups of a world, and the shares of their batches."""

import collections
import types

import pytest

from mathft_jax.distributed import partitioning
from mathft_jax.inference import replica_groups


def world(processes, devices):
  return [
    types.SimpleNamespace(process_index=p, id=p * devices + d, platform='cpu')
    for p in range(processes)
    for d in range(devices)
  ]


class Recorded(partitioning.Partitioner):
  """Meshes of these pretended devices are lists of them."""

  def mesh(self, devices=None):
    shape = self.abstract_mesh(len(devices)).shape
    return types.SimpleNamespace(
      shape=shape, ids=[device.id for device in devices]
    )


@pytest.mark.parametrize(
  'processes, devices, model, wanted',
  [
    (1, 4, 2, [0]),
    (2, 4, 1, [0, 1]),
    (2, 4, 4, [0, 1]),
    (4, 2, 4, [0, 0, 1, 1]),
    (4, 1, 4, [0, 0, 0, 0]),
    (6, 2, 3, [0, 0, 0, 1, 1, 1]),
  ],
)
def test_a_group_is_the_fewest_processes_that_hold_whole_copies(
  processes, devices, model, wanted
):
  found = [
    replica_groups.replica_group_of_process(
      Recorded(num_partitions=model), 24, world(processes, devices), p
    )
    for p in range(processes)
  ]
  assert [group.index for group in found] == wanted
  for process, group in enumerate(found):
    assert group.items_per_batch * group.count == 24
    assert group.mesh.shape['model'] == model
    assert process * devices in group.mesh.ids
    assert group.is_writer == (wanted.index(group.index) == process)
  everywhere = collections.Counter(
    i for group in found if group.is_writer for i in group.mesh.ids
  )
  assert everywhere == collections.Counter(range(processes * devices))


@pytest.mark.parametrize(
  'changed, message',
  [
    (dict(batch_size=6), 'A batch of 6 does not divide over 8 devices'),
    (
      dict(partitioner=Recorded(num_partitions=3)),
      'num_partitions = 3 does not divide 8 devices',
    ),
    (
      dict(partitioner=Recorded(ici_mesh_shape=(2, 2))),
      'needs 4 devices, there are 8',
    ),
    (
      dict(devices=[*world(2, 4)[:-1], types.SimpleNamespace(process_index=2)]),
      '{0: 4, 1: 3, 2: 1}',
    ),
  ],
)
def test_sizes_that_do_not_divide_are_refused_with_the_numbers(
  changed, message
):
  arguments = (
    dict(partitioner=Recorded(), batch_size=8, devices=world(2, 4), process=0)
    | changed
  )
  with pytest.raises(ValueError) as error:
    replica_groups.replica_group_of_process(**arguments)
  assert message in str(error.value)


def split(order, batch_size, count, done=()):
  """By group: its shares of the batches."""
  return [
    list(
      replica_groups.iter_group_batches(
        replica_groups.ReplicaGroup(g, count, None, True, batch_size // count),
        order,
        batch_size,
        lambda item: item in done,
      )
    )
    for g in range(count)
  ]


def test_all_groups_together_do_every_item_once_and_in_the_shape_of_the_whole_batch():
  for count in (1, 2, 4):
    shares = [
      share for group in split('abcdefghijk', 8, count) for share in group
    ]
    assert sorted(
      item for share in shares for _, item in share.new_items
    ) == list('abcdefghijk')
    assert {share.all_items for share in shares} == {'abcdefgh', 'ijk'}
    assert all(len(share.padded_items) == 8 // count for share in shares)


def test_an_item_keeps_its_row_whatever_was_done_before_and_done_batches_are_left_out():
  first, second = split('abcdefghijk', 8, 2, done='abcdegi')
  assert [(share.padded_items, share.new_items) for share in first] == [
    (['j', 'j', 'k', 'j'], [(1, 'j'), (2, 'k')])
  ]
  assert [(share.padded_items, share.new_items) for share in second] == [
    (['f', 'f', 'f', 'h'], [(1, 'f'), (3, 'h')])
  ]


def test_a_group_may_have_nothing_to_do():
  assert [len(shares) for shares in split('ab', 8, 4)] == [1, 0, 0, 0]
