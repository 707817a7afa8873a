# ruff: noqa: E501 (an HLO instruction is a line)
"""Tests of the HBM bytes of nested fusions against values computed by hand."""

from mathft_jax.aot.hlo import program_costs

NESTED = """
HloModule m, is_scheduled=true

%%same (x: bf16[64,128]) -> bf16[%(shape)s] {
  %%x = bf16[64,128]{1,0} parameter(0)
  ROOT %%b = bf16[%(shape)s]{1,0} bitcast(%%x)
}

%%outer (p: bf16[64,128], q: bf16[8,64]) -> f32[8,128] {
  %%p = bf16[64,128]{1,0} parameter(0)
  %%q = bf16[8,64]{1,0} parameter(1)
  %%f = bf16[%(shape)s]{1,0} fusion(%%p), kind=kLoop, calls=%%same
  %(use)s
}

ENTRY %%main (p: bf16[64,128], q: bf16[8,64]) -> f32[8,128] {
  %%p = bf16[64,128]{1,0} parameter(0)
  %%q = bf16[8,64]{1,0} parameter(1)
  ROOT %%o = f32[8,128]{1,0} fusion(%%p, %%q), kind=kOutput, calls=%%outer
}
"""


def test_an_operand_used_through_a_fused_bitcast_is_read():
  text = NESTED % dict(
    shape='64,128',
    use='ROOT %d = f32[8,128]{1,0} dot(%q, %f), lhs_contracting_dims={1}, rhs_contracting_dims={0}',
  )
  costs = program_costs.count_program_costs(text)
  assert costs.flops == 2 * 8 * 128 * 64
  assert costs.hbm_bytes == 2 * 64 * 128 + 2 * 8 * 64 + 4 * 8 * 128


def test_only_the_slice_of_an_operand_used_through_a_fused_bitcast_is_read():
  text = NESTED % dict(
    shape='64,128',
    use='%s = bf16[64,128]{1,0} slice(%f), slice={[0:8], [0:128]}\n  ROOT %c = f32[8,128]{1,0} convert(%s)',
  )
  text = text.replace('%s = bf16[64,128]', '%s = bf16[8,128]')
  assert (
    program_costs.count_program_costs(text).hbm_bytes
    == 2 * 8 * 128 + 4 * 8 * 128
  )


def test_instructions_of_another_execution_thread_are_counted():
  costs = program_costs.count_program_costs("""
HloModule m, is_scheduled=true

%called (x: f32[64,8]) -> f32[64,8] {
  %x = f32[64,8]{0,1} parameter(0)
  ROOT %c = f32[64,8]{1,0} copy(%x)
}, execution_thread="sparsecore"

ENTRY %main (p: f32[64,8]) -> f32[64,8] {
  %p = f32[64,8]{0,1} parameter(0)
  %s = ((f32[64,8]{0,1}), f32[64,8]{1,0}, u32[]) call-start(%p), async_execution_thread="sparsecore", to_apply=%called
  ROOT %d = f32[64,8]{1,0} call-done(%s)
}
""")
  assert costs.hbm_bytes == 2 * 4 * 64 * 8
