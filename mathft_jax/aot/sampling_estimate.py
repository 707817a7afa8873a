"""The plans of sampling and of scoring stages."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from mathft_jax.aot import compilation, report, roofline, traced_flops
from mathft_jax.aot.plan_target import PlanTarget
from mathft_jax.distributed import partitioning
from mathft_jax.inference import (
  abstract_programs,
  batch_jobs,
  decoding,
  load_params,
  scoring,
)
from mathft_jax.training import device_memory

SAMPLE_PARAMETERS = (
  'model',
  'method',
  'max_decode_length',
  'num_decodes',
  'batch_size',
  'unroll_layers',
  'partitioner',
)
SCORE_PARAMETERS = ('model', 'quantity', 'batch_size', 'partitioner')
EOS = 1  # any token: it changes no size
WORDS = ((1,), (2,))  # label words of one token each


def estimate_sampling(
  stage: str, arguments: Mapping[str, Any], place: PlanTarget
) -> report.StageEstimate:
  """A stage of `sample.sample`; every candidate is reckoned as long as it may be."""
  partitioner, batch_size = arguments['partitioner'], arguments['batch_size']
  mesh, count, share = place.group(partitioner, batch_size)
  copies, longest = arguments['num_decodes'], arguments['max_decode_length']
  plan = decoding.DecodeConfig(
    model=place.model(arguments['model']),
    method=arguments['method'],
    num_candidates=copies,
    max_decode_length=longest,
    eos_id=EOS,
    vocab_size=arguments['model'].vocab_size,
    mesh=mesh,
    rules=partitioner.rules,
  )
  sizes = dict(
    batch_size=share,
    prompt_length=batch_jobs.round_up_to_power_of_two(place.prompt_length),
  )
  held = _held(plan, sizes, _rooms(plan))
  tokens = batch_size * copies * longest
  found = _planned(
    stage,
    'sample',
    arguments,
    place,
    mesh,
    count,
    held,
    settings={
      'batch_size': batch_size,
      'candidates': copies,
      'tokens of each': longest,
      'prompt': sizes['prompt_length'],
    },
    tokens=tokens,
  )
  unroll = {'unroll_layers': arguments['unroll_layers']}
  if place.chip.is_tpu:
    return _compiled_sampling(found, plan, sizes, unroll, place)
  return _counted_sampling(found, plan, sizes, place)


def estimate_scoring(
  stage: str, arguments: Mapping[str, Any], place: PlanTarget
) -> report.StageEstimate:
  """A stage of `score.score`; every text is reckoned as long as `Place.text_length`."""
  partitioner, batch_size = arguments['partitioner'], arguments['batch_size']
  mesh, count, share = place.group(partitioner, batch_size)
  words = WORDS if arguments['quantity'] == 'verdict' else None
  plan = scoring.ScoreConfig(
    place.model(arguments['model']), words, mesh, partitioner.rules
  )
  copies, length = (
    batch_jobs.round_up_to_power_of_two(place.num_texts, 4),
    batch_jobs.round_up_to_power_of_two(place.text_length),
  )
  prompt = batch_jobs.round_up_to_power_of_two(place.prompt_length)
  traced = abstract_programs.trace_scoring(
    plan,
    batch_size=share,
    num_candidates=copies,
    prefix_length=prompt,
    length=length,
  )
  held = {'parameters': _parameters(plan.model, mesh, partitioner.rules)}
  found = _planned(
    stage,
    'score',
    arguments,
    place,
    mesh,
    count,
    held,
    settings={
      'batch_size': batch_size,
      'texts': copies,
      'tokens of each': length,
      'prompt': prompt,
    },
    tokens=batch_size * copies * length,
  )
  model_flops = float(
    traced_flops.count_traced_flops(traced.jaxpr).flops * count
  )
  found = dataclasses.replace(found, model_flops=model_flops)
  if not place.chip.is_tpu:
    return _with_counts(
      found,
      [('score', traced_flops.count_traced_flops(place.lowered(traced)), 1)],
      place,
    )
  compiled = compilation.compile_program(traced, mesh.size)
  found = _with_memory(found, [compiled], place)
  if not found.fits:
    return found
  program, times = _program('score', compiled, mesh, place)
  return dataclasses.replace(found, programs=(program,), times=times)


def _planned(
  stage: str,
  program: str,
  arguments: Mapping[str, Any],
  place: PlanTarget,
  mesh: Any,
  count: int,
  held: Mapping[str, float],
  **known: Any,
) -> report.StageEstimate:
  """What is known of a stage before anything is compiled."""
  shapes = load_params.inference_param_shapes(
    arguments['model'], mesh=mesh, rules=arguments['partitioner'].rules
  )
  used = sum(held.values())
  return report.StageEstimate(
    stage=stage,
    program=program,
    mesh=tuple(mesh.shape.values()),
    groups=count,
    num_devices=mesh.size * count,
    parameters=device_memory.count_parameters(shapes),
    hbm=held,
    used_bytes=used,
    fits=used <= place.chip.hbm_bytes,
    is_compiled=False,
    **known,
  )


def _rooms(plan: decoding.DecodeConfig) -> list[int]:
  """The numbers of slots that candidates have, one after the other."""
  rooms = [min(plan.initial_slots, plan.max_decode_length)]
  while rooms[-1] < plan.max_decode_length:
    rooms.append(min(2 * rooms[-1], plan.max_decode_length))
  return rooms


def _mean_room(rooms: Sequence[int]) -> int:
  """The slots that a token's attention reads, on the average of all tokens of a candidate."""
  tokens = [room - before for before, room in zip((0, *rooms), rooms)]
  return -(
    -sum(room * times for room, times in zip(rooms, tokens)) // rooms[-1]
  )


def _held(
  plan: decoding.DecodeConfig, sizes: Mapping[str, int], rooms: Sequence[int]
) -> dict[str, float]:
  """Bytes of a device by kind: parameters, the fullest cache, logits of one token of all rows.

  While a cache grows, the smaller one before it is still there.
  """
  states = [
    abstract_programs.decode_state_bytes_per_device(plan, slots=slots, **sizes)
    for slots in rooms
  ]
  rows = sizes['batch_size'] * plan.num_candidates
  return {
    'parameters': _parameters(plan.model, plan.mesh, plan.rules),
    'cache': states[-1],
    'cache before it grew': states[-2] if len(states) > 1 else 0,
    'logits': 4 * rows * plan.model.vocab_size / plan.mesh.size,
  }


def _parameters(config: Any, mesh: Any, rules: partitioning.AxisRules) -> int:
  return partitioning.bytes_per_device(
    load_params.inference_param_shapes(config, mesh=mesh, rules=rules)
  )


def _compiled_sampling(
  found: report.StageEstimate,
  plan: decoding.DecodeConfig,
  sizes: Mapping[str, int],
  unroll: Mapping[str, bool],
  place: PlanTarget,
) -> report.StageEstimate:
  """With what the compiler says of prefill and of decoding, with the least and the most room."""
  rooms = _rooms(plan)
  prefill = compilation.compile_program(
    abstract_programs.trace_prefill(plan, **sizes, **unroll), plan.mesh.size
  )
  decodes = {
    slots: compilation.compile_program(
      abstract_programs.trace_decode_loop(plan, slots=slots, **sizes, **unroll),
      plan.mesh.size,
    )
    for slots in dict.fromkeys((rooms[-1], rooms[0]))
  }
  found = _with_memory(found, [prefill, decodes[rooms[-1]]], place)
  if not found.fits:
    return found
  program, times = _program('prefill', prefill, plan.mesh, place)
  programs, by_room = [program], {}
  for slots, compiled in decodes.items():
    program, once = _program(f'decode {slots}', compiled, plan.mesh, place)
    programs.append(program)
    token = roofline.resource_times(
      compiled.costs(2), place.chip, plan.mesh.devices.ravel()
    ).minus(once)
    by_room[slots] = token, once.minus(token)
  return dataclasses.replace(
    found,
    programs=tuple(programs),
    times=_sum([times, _decoding(by_room, rooms)]),
    model_flops=_model_flops(plan, sizes, rooms) * found.groups,
  )


def _decoding(
  by_room: Mapping[int, tuple[roofline.ResourceTimes, roofline.ResourceTimes]],
  rooms: Sequence[int],
) -> roofline.ResourceTimes:
  """All tokens: a token's times grow with the room in a straight line; some come once a room."""
  (low, (least, once)), (high, (most, _)) = (
    min(by_room.items()),
    max(by_room.items()),
  )
  total, before = roofline.ResourceTimes(0, 0), 0
  for slots in rooms:
    share = 0 if high == low else (slots - low) / (high - low)
    token = _sum([least.scaled(1 - share), most.scaled(share)])
    total = _sum([total, token.scaled(slots - before), once])
    before = slots
  return total


def _model_flops(
  plan: decoding.DecodeConfig, sizes: Mapping[str, int], rooms: Sequence[int]
) -> float:
  """Matrix products of a group's batch, whatever the compiler adds."""
  prefill = traced_flops.count_traced_flops(
    abstract_programs.trace_prefill(plan, **sizes, unroll_layers=False).jaxpr
  ).flops
  traced = abstract_programs.trace_decode_loop(
    plan, slots=_mean_room(rooms), unroll_layers=False, **sizes
  )
  return float(
    prefill
    + traced_flops.count_traced_flops(traced.jaxpr).flops * plan.max_decode_length
  )


def _counted_sampling(
  found: report.StageEstimate,
  plan: decoding.DecodeConfig,
  sizes: Mapping[str, int],
  place: PlanTarget,
) -> report.StageEstimate:
  """With what is counted before any compiler."""
  slots = _mean_room(_rooms(plan))
  prefill = traced_flops.count_traced_flops(
    place.lowered(
      abstract_programs.trace_prefill(plan, **sizes, unroll_layers=False)
    )
  )
  decode = traced_flops.count_traced_flops(
    place.lowered(
      abstract_programs.trace_decode_loop(
        plan, slots=slots, unroll_layers=False, **sizes
      )
    )
  )
  held = _held(
    plan, sizes, [slots]
  )  # read for a token, which writes over the cache it has
  decode = dataclasses.replace(
    decode, bytes=found.num_devices * (held['parameters'] + held['cache'])
  )
  return dataclasses.replace(
    _with_counts(
      found,
      [
        ('prefill', prefill, 1),
        ('decode a token', decode, plan.max_decode_length),
      ],
      place,
    ),
    model_flops=float(prefill.flops + decode.flops * plan.max_decode_length),
  )


def _with_counts(
  found: report.StageEstimate,
  counted: Sequence[tuple[str, Any, int]],
  place: PlanTarget,
) -> report.StageEstimate:
  """With (name, costs of one execution over all devices, executions) of programs."""
  programs, times = [], roofline.ResourceTimes(0, 0)
  for name, costs, executions in counted:
    share = costs.flops / found.num_devices, costs.bytes / found.num_devices
    programs.append(report.ExecutableCosts(name, found.used_bytes, *share))
    one = roofline.ResourceTimes(
      share[0] / place.chip.flops, share[1] / place.chip.hbm_bandwidth
    )
    times = _sum([times, one.scaled(executions)])
  return dataclasses.replace(found, programs=tuple(programs), times=times)


def _with_memory(
  found: report.StageEstimate,
  compiled: Sequence[compilation.CompiledProgram],
  place: PlanTarget,
) -> report.StageEstimate:
  """With the memory of the fullest program; what grows a cache is computed, not compiled."""
  growing = found.used_bytes - found.hbm.get('logits', 0)
  used = max(growing, *(each.used_bytes for each in compiled))
  kinds = dict(found.hbm)
  if used > growing:
    kinds.pop('cache before it grew', None)
    kinds['activations'] = max(0.0, used - sum(kinds.values()))
  return dataclasses.replace(
    found,
    is_compiled=True,
    used_bytes=used,
    hbm=kinds,
    fits=growing <= place.chip.hbm_bytes
    and all(each.fits for each in compiled),
  )


def _program(
  name: str, compiled: compilation.CompiledProgram, mesh: Any, place: PlanTarget
) -> tuple[report.ExecutableCosts, roofline.ResourceTimes]:
  """One execution, a loop that ends when the data says so being run once."""
  costs = compiled.costs(1)
  return report.ExecutableCosts(
    name,
    compiled.used_bytes,
    costs.flops,
    costs.hbm_bytes,
    report.summarize_collectives(costs, place.slice_shape(mesh)),
    costs.uncounted,
    compiled.seconds,
  ), roofline.resource_times(costs, place.chip, mesh.devices.ravel())


def _sum(parts: Sequence[roofline.ResourceTimes]) -> roofline.ResourceTimes:
  total = roofline.ResourceTimes(0, 0)
  for part in parts:
    total = total.plus(part)
  return total
