"""Tests of roofline times against values computed by hand."""

import dataclasses
import types

import pytest

from mathft_jax.aot import estimates, roofline
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


def make_devices(*positions):
  return [
    types.SimpleNamespace(coords=coords, slice_index=index)
    for *coords, index in positions
  ]


CUBE = make_devices(
  *((x, y, z, 0) for x in (0, 1) for y in (0, 1) for z in (0, 1))
)


def all_reduce(*groups, sent=12.0, between=False):
  return program_costs.CollectiveCosts(
    'all-reduce', len(groups[0]), groups, 1, sent, between
  )


def test_times_are_costs_divided_by_peak_rates():
  found = roofline.resource_times(COSTS, CHIP, CUBE)
  assert found == roofline.ResourceTimes(compute=4.0, memory=3.0)
  assert (found.lower_bound, found.upper_bound) == (4.0, 7.0)


@pytest.mark.parametrize(
  'groups, seconds',
  [
    ([(0, 1), (2, 3)], 12 / 2),  # along z: a third of the links
    ([(0, 1, 2, 3), (4, 5, 6, 7)], 12 / 4),  # along y and z
    ([tuple(range(8))], 12 / 6),
    ([(0, 1), (0, 2, 4, 6)], 12 / 2),
  ],
)  # the slower group
def test_a_collective_uses_the_links_along_its_groups_torus_axes(
  groups, seconds
):
  costs = dataclasses.replace(COSTS, collectives=(all_reduce(*groups),))
  assert roofline.resource_times(costs, CHIP, CUBE).ici == seconds


def test_collectives_between_slices_use_the_data_center_network():
  two_slices = make_devices(
    (0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1), (1, 0, 0, 1)
  )
  costs = dataclasses.replace(
    COSTS,
    collectives=(
      all_reduce((0, 1)),
      all_reduce((0, 1), sent=3.0, between=True),
    ),
  )
  found = roofline.resource_times(costs, CHIP, two_slices)
  assert (found.ici, found.dcn) == (6.0, 6.0)


def test_mesh_axes_are_those_along_which_devices_of_a_group_differ():
  mesh = [('data', 4), ('model', 2)]
  assert (
    roofline.mesh_axes_of_collective(all_reduce((0, 1), (2, 3)), mesh)
    == 'model'
  )
  assert (
    roofline.mesh_axes_of_collective(
      all_reduce((0, 2, 4, 6), (1, 3, 5, 7)), mesh
    )
    == 'data'
  )
  assert (
    roofline.mesh_axes_of_collective(all_reduce(tuple(range(8))), mesh)
    == 'data, model'
  )
  assert (
    roofline.mesh_axes_of_collective(all_reduce((0, 1), between=True), mesh)
    == 'slices'
  )


def test_throughput_bounds_follow_from_times():
  estimate = estimates.StageEstimate(
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
  assert estimates.throughput_bounds(estimate, CHIP) == {
    'batch_seconds': (4.0, 8.0),
    'stage_seconds': (40.0, 80.0),
    'epoch_seconds': (8.0, 16.0),
    'tokens_per_second_per_chip': (50.0, 25.0),
    'model_flops_utilization': (0.5, 0.25),
  }
