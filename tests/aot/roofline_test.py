"""Times from counts, worked out by hand."""

import dataclasses
import types

import pytest

from mathft_jax.aot import report, roofline
from mathft_jax.aot.hlo import program_costs
from mathft_jax.monitoring import hardware

CHIP = hardware.Chip(
  'x',
  'X',
  flops=100.0,
  hbm_bytes=1e9,
  hbm_bandwidth=10.0,
  link_bandwidth=6.0,
  slow_bandwidth=0.5,
  dimensions=3,
)
COSTS = program_costs.ProgramCosts(
  flops=400,
  kernel_flops=0,
  hbm_bytes=30.0,
  collectives=(),
  uncounted={},
  data_dependent_loops=(),
)


def devices(*places):
  return [
    types.SimpleNamespace(coords=coords, slice_index=index)
    for *coords, index in places
  ]


CUBE = devices(*((x, y, z, 0) for x in (0, 1) for y in (0, 1) for z in (0, 1)))


def exchange(*groups, sent=12.0, between=False):
  return program_costs.CollectiveCosts(
    'all-reduce', len(groups[0]), groups, 1, sent, between
  )


def test_arithmetic_and_traffic_take_what_the_chip_can():
  found = roofline.resource_times(COSTS, CHIP, CUBE)
  assert found == roofline.ResourceTimes(compute=4.0, memory=3.0)
  assert (found.least, found.most) == (4.0, 7.0)


@pytest.mark.parametrize(
  'groups, seconds',
  [
    ([(0, 1), (2, 3)], 12 / 2),  # along z: a third of the links
    ([(0, 1, 2, 3), (4, 5, 6, 7)], 12 / 4),  # along y and z
    ([tuple(range(8))], 12 / 6),
    ([(0, 1), (0, 2, 4, 6)], 12 / 2),
  ],
)  # the slower group
def test_a_collective_uses_the_links_along_which_its_group_lies(
  groups, seconds
):
  costs = dataclasses.replace(COSTS, collectives=(exchange(*groups),))
  assert roofline.resource_times(costs, CHIP, CUBE).links == seconds


def test_between_slices_the_slow_network_counts():
  both = devices((0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1), (1, 0, 0, 1))
  costs = dataclasses.replace(
    COSTS,
    collectives=(exchange((0, 1)), exchange((0, 1), sent=3.0, between=True)),
  )
  found = roofline.resource_times(costs, CHIP, both)
  assert (found.links, found.slow) == (6.0, 6.0)


def test_axes_are_those_along_which_groups_differ():
  mesh = [('data', 4), ('model', 2)]
  assert (
    roofline.mesh_axes_of_collective(exchange((0, 1), (2, 3)), mesh) == 'model'
  )
  assert (
    roofline.mesh_axes_of_collective(exchange((0, 2, 4, 6), (1, 3, 5, 7)), mesh)
    == 'data'
  )
  assert (
    roofline.mesh_axes_of_collective(exchange(tuple(range(8))), mesh)
    == 'data, model'
  )
  assert (
    roofline.mesh_axes_of_collective(exchange((0, 1), between=True), mesh)
    == 'slices'
  )


def test_rates_follow_from_times():
  planned = report.StageEstimate(
    stage='s',
    program='train',
    settings={},
    mesh=(4, 1),
    groups=1,
    num_devices=4,
    parameters=1,
    fits=True,
    used_bytes=1,
    hbm={},
    is_compiled=True,
    tokens=800,
    model_flops=800.0,
    times=roofline.ResourceTimes(compute=4.0, memory=4.0),
    batches=10,
    epoch_tokens=1600,
    epoch_batches=2.0,
  )
  assert report.throughput_bounds(planned, CHIP) == {
    'batch_seconds': (4.0, 8.0),
    'stage_seconds': (40.0, 80.0),
    'epoch_seconds': (8.0, 16.0),
    'tokens_per_second_per_chip': (50.0, 25.0),
    'model_flops_utilization': (0.5, 0.25),
  }
