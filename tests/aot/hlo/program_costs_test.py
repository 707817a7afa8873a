# ruff: noqa: E501 (an HLO instruction is a line)
"""Tests of the costs of hand-written HLO against values computed by hand."""

import pytest

from mathft_jax.aot.hlo import collectives, program_costs, text_parser

ADD = """
%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}
"""


def count_entry(body, before='', devices=8, **settings):
  """Returns the costs of a module whose entry computation has these lines."""
  lines = '\n'.join('  ' + line.strip() for line in body.strip().splitlines())
  return program_costs.count_program_costs(
    f'HloModule m, is_scheduled=true, num_partitions={devices}\n{ADD}{before}\n'
    f'ENTRY %main (p: f32[1]) -> f32[1] {{\n{lines}\n}}\n',
    **settings,
  )


def test_a_dot_costs_two_flops_per_product_and_reads_and_writes_its_arrays():
  costs = count_entry("""
    %x = bf16[4,8,16]{2,1,0} parameter(0)
    %y = bf16[4,16,32]{2,1,0} parameter(1)
    ROOT %dot = f32[4,8,32]{2,1,0} dot(%x, %y), lhs_batch_dims={0}, lhs_contracting_dims={2}, rhs_batch_dims={0}, rhs_contracting_dims={1}, metadata={op_name="a"}
  """)
  assert costs.flops == 2 * (4 * 8 * 32) * 16
  assert costs.hbm_bytes == 2 * (4 * 8 * 16) + 2 * (4 * 16 * 32) + 4 * (
    4 * 8 * 32
  )


@pytest.mark.parametrize(
  'window, labels, kernel, output, products',
  [
    ('', 'bf_io->bf', 'f32[16,32]', 'f32[4,32]', 4 * 16 * 32),
    (
      'window={size=3}, ',
      'b0f_0io->b0f',
      'f32[3,16,32]',
      'f32[4,8,32]',
      4 * (3 * 8) * 16 * 32,
    ),
    (
      'window={size=3 pad=1_1}, ',
      'b0f_0io->b0f',
      'f32[3,16,32]',
      'f32[4,10,32]',
      4 * (3 * 10 - 2) * 16 * 32,
    ),
    (
      'window={size=3 stride=2}, ',
      'b0f_0io->b0f',
      'f32[3,16,32]',
      'f32[4,4,32]',
      4 * (3 * 4) * 16 * 32,
    ),
    # The batch is the spatial size of the kernel: each output position reads one element that is
    # not padding.
    (
      'window={size=10 pad=9_9 rhs_reversal=1}, ',
      'b0f_0io->b0f',
      'f32[10,16,32]',
      'f32[4,19,32]',
      4 * 100 * 16 * 32,
    ),
    (
      'window={size=10 stride=9 lhs_dilate=10}, ',
      'b0f_0io->b0f',
      'f32[10,16,32]',
      'f32[4,10,32]',
      4 * 10 * 16 * 32,
    ),
  ],
)
def test_a_convolution_does_not_count_products_with_padding(
  window, labels, kernel, output, products
):
  left = 'f32[4,16]' if labels == 'bf_io->bf' else 'f32[4,10,16]'
  costs = count_entry(f"""
    %x = {left} parameter(0)
    %y = {kernel} parameter(1)
    ROOT %c = {output} convolution(%x, %y), {window}dim_labels={labels}
  """)
  assert costs.flops == 2 * products


def test_a_grouped_convolution_counts_products_within_groups():
  costs = count_entry("""
    %x = f32[4,10,16] parameter(0)
    %y = f32[1,2,32] parameter(1)
    ROOT %c = f32[4,10,32] convolution(%x, %y), window={size=1}, dim_labels=b0f_0io->b0f, feature_group_count=8
  """)
  assert costs.flops == 2 * 4 * 10 * 32 * 2


LOOP = """
%body (s: (s32[], f32[8,8])) -> (s32[], f32[8,8]) {
  %s = (s32[], f32[8,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %one = s32[] constant(STEP)
  %next = s32[] add(%i, %one)
  %x = f32[8,8]{1,0} get-tuple-element(%s), index=1
  %y = f32[8,8]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %t = (s32[], f32[8,8]{1,0}) tuple(%next, %y)
}

%condition (s: (s32[], f32[8,8])) -> pred[] {
  %s = (s32[], f32[8,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %n = s32[] constant(BOUND)
  ROOT %go = pred[] compare(%i, %n), direction=DIRECTION
}
"""
WHILE = """
    %x = f32[8,8]{1,0} parameter(0)
    %zero = s32[] constant(START)
    %t = (s32[], f32[8,8]{1,0}) tuple(%zero, %x)
    ROOT %w = (s32[], f32[8,8]{1,0}) while(%t), condition=%condition, body=%body
"""


@pytest.mark.parametrize(
  'start, step, bound, direction, trips',
  [
    (0, 1, 7, 'LT', 7),
    (1, 2, 8, 'LT', 4),
    (0, 1, 7, 'LE', 8),
    (6, -1, 0, 'GE', 7),
    (6, -2, 0, 'GT', 3),
    (0, 3, 9, 'NE', 3),
    (5, 1, 5, 'LT', 0),
  ],
)
def test_the_trip_count_follows_from_counter_and_condition(
  start, step, bound, direction, trips
):
  before = (
    LOOP.replace('STEP', str(step))
    .replace('BOUND', str(bound))
    .replace('DIRECTION', direction)
  )
  costs = count_entry(WHILE.replace('START', str(start)), before)
  assert costs.flops == trips * 2 * 8**3
  assert costs.data_dependent_loops == ()


def test_the_known_trip_count_of_the_compiler_is_used():
  text = WHILE.rstrip() + ', backend_config={"known_trip_count":{"n":"5"}}'
  before = (
    LOOP.replace('STEP', '1').replace('BOUND', '7').replace('DIRECTION', 'LT')
  )
  assert count_entry(text.replace('START', '0'), before).flops == 5 * 2 * 8**3


def test_a_data_dependent_loop_has_the_assumed_trip_count_and_is_reported():
  before = LOOP.replace('STEP', '1').replace(
    'constant(BOUND)', 'get-tuple-element(%s), index=0'
  )
  text = (
    WHILE.rstrip().replace('START', '0') + ', metadata={op_name="jit(f)/while"}'
  )
  costs = count_entry(
    text, before.replace('DIRECTION', 'LT'), unknown_trip_count=11
  )
  assert costs.flops == 11 * 2 * 8**3
  assert costs.data_dependent_loops == (
    program_costs.DataDependentLoop('w', 'jit(f)/while', 11),
  )


def test_a_conditional_costs_its_most_expensive_branch():
  branch = '%NAME (x: f32[8,8]) -> f32[8,8] {\n  %x = f32[8,8] parameter(0)\n  ROOT %r = BODY\n}\n'
  cheap = branch.replace('NAME', 'cheap').replace('BODY', 'f32[8,8] negate(%x)')
  dear = branch.replace('NAME', 'dear').replace(
    'BODY',
    'f32[8,8] dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}',
  )
  costs = count_entry(
    """
    %x = f32[8,8] parameter(0)
    %which = s32[] constant(0)
    ROOT %c = f32[8,8] conditional(%which, %x, %x), branch_computations={%cheap, %dear}
  """,
    cheap + dear,
  )
  assert costs.flops == 2 * 8**3
  assert costs.hbm_bytes == 3 * 256


FUSION = """
%fused (stack: f32[12,64], buffer: f32[12,64], i: s32[]) -> f32[12,64] {
  %stack = f32[12,64]{1,0} parameter(0)
  %buffer = f32[12,64]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  %view = f32[12,64]{1,0} bitcast(%stack)
  %slice = f32[1,64]{1,0} dynamic-slice(%view, %i, %zero), dynamic_slice_sizes={1,64}
  %twice = f32[1,64]{1,0} add(%slice, %slice)
  ROOT %update = f32[12,64]{1,0} dynamic-update-slice(%buffer, %twice, %i, %zero)
}
"""


@pytest.mark.parametrize(
  'layout, bytes_', [('{1,0}', 2 * 256 + 4), ('{1,0:S(5)}', 256 + 4)]
)
def test_a_fusion_reads_slices_of_its_operands_and_updates_in_place(
  layout, bytes_
):
  costs = count_entry(
    f"""
    %a = f32[12,64]{layout} parameter(0)
    %b = f32[12,64]{{1,0}} parameter(1)
    %i = s32[] parameter(2)
    ROOT %f = f32[12,64]{{1,0}} fusion(%a, %b, %i), kind=kLoop, calls=%fused
  """,
    FUSION,
  )
  assert costs.hbm_bytes == bytes_


def test_an_operand_reshaped_by_a_nested_fusion_is_read():
  costs = count_entry(
    """
    %x = f32[64]{0} parameter(0)
    ROOT %f = f32[8,8]{1,0} fusion(%x), kind=kOutput, calls=%outer
  """,
    """
%view (x: f32[64]) -> f32[8,8] {
  %x = f32[64]{0} parameter(0)
  ROOT %y = f32[8,8]{1,0} bitcast(%x)
}

%outer (x: f32[64]) -> f32[8,8] {
  %x = f32[64]{0} parameter(0)
  %y = f32[8,8]{1,0} fusion(%x), kind=kLoop, calls=%view
  ROOT %z = f32[8,8]{1,0} dot(%y, %y), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
""",
  )
  assert costs.hbm_bytes == 2 * 256


def test_arrays_in_vmem_are_no_hbm_traffic_and_tiles_are_padded():
  costs = count_entry("""
    %a = f32[4,100]{1,0:T(8,128)} parameter(0)
    %b = f32[4,100]{1,0:T(8,128)S(1)} copy(%a)
    %c = f32[4,100]{1,0:T(8,128)S(1)} negate(%b)
    ROOT %d = bf16[4,100]{1,0:T(4,128)(2,1)} convert(%c)
  """)
  assert costs.hbm_bytes == 8 * 128 * 4 + 4 * 128 * 2


def test_an_asynchronous_copy_counts_once():
  costs = count_entry("""
    %a = f32[64]{0:T(64)} parameter(0)
    %s = (f32[64]{0:T(64)S(1)}, f32[64]{0:T(64)}, u32[]{:S(2)}) copy-start(%a)
    ROOT %d = f32[64]{0:T(64)S(1)} copy-done(%s)
  """)
  assert costs.hbm_bytes == 256


FULL = 'f32[1024]{0}'  # 4096 bytes


@pytest.mark.parametrize(
  'line, kind, size, sent',
  [
    (
      'all-gather(%x), replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}',
      'all-gather',
      4,
      3 * 4096,
    ),
    (
      'all-reduce(%x), replica_groups=[2,4]<=[8], to_apply=%add',
      'all-reduce',
      4,
      2 * 3072,
    ),
    (
      'all-reduce(%x), replica_groups={}, to_apply=%add',
      'all-reduce',
      8,
      2 * 3584,
    ),
    (
      'reduce-scatter(%x), replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}, to_apply=%add',
      'reduce-scatter',
      2,
      2048,
    ),
    (
      "all-to-all(%x), replica_groups=mesh['x'=2,'y'=4] {'y'}, dimensions={0}",
      'all-to-all',
      4,
      3072,
    ),
    (
      'collective-permute(%x), source_target_pairs={{0,1},{1,0}}',
      'collective-permute',
      2,
      4096,
    ),
    (
      'collective-permute(%x), source_target_pairs={{0,0},{1,1}}',
      'collective-permute',
      1,
      0,
    ),
    (
      'collective-broadcast(%x), replica_groups={{0,1}}',
      'collective-broadcast',
      2,
      4096,
    ),
  ],
)
def test_collectives_send_the_bytes_of_a_ring(line, kind, size, sent):
  result = {'all-gather': 'f32[4096]{0}', 'reduce-scatter': 'f32[512]{0}'}.get(
    kind, FULL
  )
  (each,) = count_entry(f"""
    %x = {FULL} parameter(0)
    ROOT %r = {result} {line}
  """).collectives
  assert (each.kind, each.group_size, each.count, each.bytes_sent) == (
    kind,
    size,
    1,
    sent,
  )


def test_an_asynchronous_collective_counts_once():
  costs = count_entry(f"""
    %x = {FULL} parameter(0)
    %s = ({FULL}, f32[4096]{{0}}) all-gather-start(%x), replica_groups=[2,4]<=[8], dimensions={{0}}
    %g = f32[4096]{{0}} all-gather-done(%s)
    %p = ({FULL}, {FULL}, u32[], u32[]) collective-permute-start(%x), source_target_pairs={{{{0,1}},{{1,2}}}}
    ROOT %q = {FULL} collective-permute-done(%p)
  """)
  gather, permute = costs.collectives
  assert (gather.kind, gather.count, gather.bytes_sent) == (
    'all-gather',
    1,
    3 * 4096,
  )
  assert (permute.bytes_sent, permute.groups) == (4096, ((0, 1, 2),))
  assert costs.hbm_bytes == 4096 + 4 * 4096 + 2 * 4096


@pytest.mark.parametrize(
  'start',
  [
    '((f32[8,8]), f32[8,8], u32[]) fusion-start(%x), kind=kLoop, calls=%inner',
    '((f32[8,8]), f32[8,8], u32[]) async-start(%x), calls=%inner',
    '((f32[8,8]), f32[8,8], u32[]) call-start(%x), to_apply=%inner',
    '((f32[8,8]), f32[8,8], u32[]) dot-start(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}',
  ],
)
def test_an_asynchronous_instruction_counts_once(start):
  costs = count_entry(
    f"""
    %x = f32[8,8] parameter(0)
    %s = {start}
    ROOT %d = f32[8,8] async-done(%s)
  """,
    """
%inner (x: f32[8,8]) -> f32[8,8] {
  %x = f32[8,8] parameter(0)
  ROOT %y = f32[8,8] dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
""",
  )
  assert costs.flops == 2 * 8**3


CHAIN = """
%START (x: f32[64]) -> (f32[64], f32[256], u32[]) {
  %x = f32[64]{0:T(64)} parameter(0)
  %g = f32[256]{0:T(64)} all-gather(%x), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"-1","flag_end":"-1"}}
  ROOT %c = (f32[64]{0:T(64)}, f32[256]{0:T(64)}, u32[]{:S(2)}) custom-call(%g), custom_call_target="AsyncCollectiveStart"
}

%MIDDLE (x: f32[64], all: f32[256], sync: u32[], y: f32[8,8]) -> (f32[8,8], f32[64], f32[256], f32[256], u32[]) {
  %x = f32[64]{0:T(64)} parameter(0)
  %all = f32[256]{0:T(64)} parameter(1)
  %sync = u32[]{:S(2)} parameter(2)
  %y = f32[8,8]{1,0:T(8)} parameter(3)
  %g = f32[256]{0:T(64)} all-gather(%x), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"2","flag_end":"8"}}
  %dot = f32[8,8]{1,0:T(8)} dot(%y, %y), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %t = (f32[8,8]{1,0:T(8)}, f32[64]{0:T(64)}, f32[256]{0:T(64)}, f32[256]{0:T(64)}, u32[]{:S(2)}) tuple(%dot, %x, %all, %g, %sync)
}

%END (x: f32[64], all: f32[256], sync: u32[]) -> f32[256] {
  %x = f32[64]{0:T(64)} parameter(0)
  %all = f32[256]{0:T(64)} parameter(1)
  %sync = u32[]{:S(2)} parameter(2)
  %g = f32[256]{0:T(64)} all-gather(%x), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"2","flag_end":"8"}}
  ROOT %c = f32[256]{0:T(64)} custom-call(%x, %all, %g, %sync), custom_call_target="AsyncCollectiveDone"
}
"""


def test_a_chain_of_tpu_fusions_is_one_collective():
  costs = count_entry(
    """
    %x = f32[64]{0:T(64)} parameter(0)
    %y = f32[8,8]{1,0:T(8)} parameter(1)
    %s = (f32[64]{0:T(64)}, f32[256]{0:T(64)}, u32[]{:S(2)}) fusion(%x), kind=kCustom, calls=%START
    %a = f32[64]{0:T(64)} get-tuple-element(%s), index=0
    %b = f32[256]{0:T(64)} get-tuple-element(%s), index=1
    %c = u32[]{:S(2)} get-tuple-element(%s), index=2
    %m = (f32[8,8]{1,0:T(8)}, f32[64]{0:T(64)}, f32[256]{0:T(64)}, f32[256]{0:T(64)}, u32[]{:S(2)}) fusion(%a, %b, %c, %y), kind=kOutput, calls=%MIDDLE
    %d = f32[64]{0:T(64)} get-tuple-element(%m), index=1
    %e = f32[256]{0:T(64)} get-tuple-element(%m), index=2
    %f = u32[]{:S(2)} get-tuple-element(%m), index=4
    ROOT %done = f32[256]{0:T(64)} fusion(%d, %e, %f), kind=kCustom, calls=%END
  """,
    CHAIN,
  )
  (each,) = costs.collectives
  assert (each.kind, each.count, each.bytes_sent) == (
    'all-gather',
    1,
    3 / 4 * 1024,
  )
  assert costs.flops == 2 * 8**3
  # Gathered once; the product's operand and result.
  assert costs.hbm_bytes == (256 + 1024) + 2 * 256


def test_a_fused_all_reduce_and_slice_is_a_reduce_scatter():
  (each,) = count_entry(
    """
    %x = f32[256]{0:T(64)} parameter(0)
    ROOT %f = f32[64]{0:T(64)} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1
  """,
    """
%all-reduce-scatter.1 (x: f32[256]) -> f32[64] {
  %x = f32[256]{0:T(64)} parameter(0)
  %r = f32[256]{0:T(64)} all-reduce(%x), replica_groups=[2,4]<=[8], to_apply=%add
  %i = u32[] partition-id()
  ROOT %s = f32[64]{0:T(64)} dynamic-slice(%r, %i), dynamic_slice_sizes={64}
}
""",
  ).collectives
  assert (each.kind, each.bytes_sent) == ('reduce-scatter', 3 / 4 * 1024)


@pytest.mark.parametrize(
  'text, groups',
  [
    ('{{0,1},{2,3}}', ((0, 1), (2, 3))),
    ('{}', ((0, 1, 2, 3, 4, 5, 6, 7),)),
    ('[2,4]<=[8]', ((0, 1, 2, 3), (4, 5, 6, 7))),
    ('[4,2]<=[2,4]T(1,0)', ((0, 4), (1, 5), (2, 6), (3, 7))),
    ('[2,4]<=[2,2,2]T(1,0,2)', ((0, 1, 4, 5), (2, 3, 6, 7))),
    ("mesh['x'=2,'y'=4] {'x'}", ((0, 4), (1, 5), (2, 6), (3, 7))),
    ("mesh['x'=2,'y'=4] {'x','y'}", ((0, 1, 2, 3, 4, 5, 6, 7),)),
    ("mesh['x'=2,'y'=4] {'y':(2)2}", ((0, 1), (2, 3), (4, 5), (6, 7))),
    ("mesh['x'=2,'y'=4] {'y':(1)2}", ((0, 2), (1, 3), (4, 6), (5, 7))),
    (
      "mesh['x'=1,'y'=2,'z'=4], device_ids=([4,2]T(1,0)) {'z'}",
      ((0, 2, 4, 6), (1, 3, 5, 7)),
    ),
  ],
)
def test_replica_groups_of_all_formats_are_parsed(text, groups):
  module = text_parser.HloModule('main')
  instruction = text_parser.HloInstruction(
    text_parser.HloComputation('main', module),
    'r',
    'f32[]',
    'all-reduce',
    '%x',
    f'channel_id=1, replica_groups={text}, to_apply=%add',
  )
  assert collectives.parse_replica_groups(instruction, 8) == groups


@pytest.mark.parametrize(
  'target, size, groups',
  [
    ('"{1,2}x{0:3}"', 2, ((0, 1),)),
    ('"{1:4}x{0:3}"', 4, ((0, 1, 2, 3),)),
    (
      '{{100000,300000},{100001,300001},{200000,400000},{200001,400001}}',
      2,
      ((0, 2), (1, 3)),
    ),
  ],
)
@pytest.mark.parametrize(
  'transfer, kind, whole',
  [('ALL_GATHER', 'all-gather', None), ('ALL_REDUCE', 'all-reduce', 2 * 4096)],
)
def test_sends_to_other_slices_are_collectives_between_slices(
  target, size, groups, transfer, kind, whole
):
  costs = count_entry(f"""
    %x = f32[1024]{{0:T(1024)}} parameter(0)
    %a = token[] after-all()
    %s = (f32[1024]{{0:T(1024)}}, u32[], token[]) send(%x, %a), channel_id=2, is_host_transfer=true, frontend_attributes={{_xla_megascale_target={target},_xla_megascale_transfer_type="{transfer}"}}
    ROOT %d = token[] send-done(%s), channel_id=2, is_host_transfer=true
  """)
  (each,) = costs.collectives
  assert (each.kind, each.group_size, each.groups, each.between_slices) == (
    kind,
    size,
    groups,
    True,
  )
  assert (
    each.bytes_sent
    == (4096 * size if whole is None else whole) * (size - 1) / size
  )
  assert costs.hbm_bytes == 4096


def test_an_asynchronous_slice_reads_its_part_only():
  costs = count_entry("""
    %x = bf16[4,16,128]{2,1,0:T(8,128)(2,1)} parameter(0)
    %s = ((bf16[4,16,128]{2,1,0:T(8,128)(2,1)}), bf16[1,16,128]{2,1,0:T(8,128)(2,1)S(1)}, s32[]{:S(2)}) slice-start(%x), slice={[0:1], [0:16], [0:128]}
    ROOT %d = bf16[1,16,128]{2,1,0:T(8,128)(2,1)S(1)} slice-done(%s)
  """)
  assert costs.hbm_bytes == 2 * 16 * 128


KERNEL = """
    %x = f32[8,8]{1,0} parameter(0)
    ROOT %my_kernel.3 = f32[8,8]{1,0} custom-call(%x), custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"xprof_metadata":"{1}"
}}, backend_config={"custom_call_config":{"body":"TUz("COST}}
"""


def test_a_kernel_costs_its_estimate():
  text = KERNEL.replace(
    'COST', ',"cost_estimate":{"flops":"77","bytes_accessed":"99"}'
  )
  costs = count_module(text)
  assert (costs.flops, costs.kernel_flops, costs.hbm_bytes) == (77, 77, 99)
  assert costs.uncounted == {}


def test_a_kernel_without_a_cost_estimate_is_reported_as_uncounted():
  costs = count_module(KERNEL.replace('COST', ''))
  assert costs.uncounted == {'tpu_custom_call my_kernel': 1}
  assert costs.hbm_bytes == 2 * 256


def count_module(lines):
  return program_costs.count_program_costs(
    'HloModule m\n\nENTRY %main (x: f32[8,8]) -> f32[8,8] {' + lines + '}\n'
  )


def test_a_gpu_library_call_is_a_matrix_product():
  costs = count_entry("""
    %x = f16[8,16]{1,0} parameter(0)
    %y = f16[16,32]{1,0} parameter(1)
    ROOT %g = (f16[8,32]{1,0}, s8[4096]{0}) custom-call(%x, %y), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":{"alpha_real":1,"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  """)
  assert costs.flops == 2 * 8 * 16 * 32
  assert costs.uncounted == {}


def test_text_that_is_not_hlo_or_is_truncated_is_refused():
  with pytest.raises(ValueError, match='has no ENTRY computation'):
    program_costs.count_program_costs('module @jit_f {}')
  with pytest.raises(ValueError, match='no ROOT'):
    program_costs.count_program_costs(
      'HloModule m\n\nENTRY %main (x: f32[8]) -> f32[8] {\n  %x = f32[8] parameter(0)\n'
    )
