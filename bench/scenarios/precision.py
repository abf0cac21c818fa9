"""Which precisions a framework computes in on which hardware, and why not in the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Precision


@dataclass(frozen=True, slots=True)
class Hardware:
    """What decides which precisions a machine computes in."""

    #: Of its CPU, by the names of `Environment`; empty: not known.
    instruction_sets: Collection[str]
    #: Of NVIDIA's cards, such as "8.6"; empty: not known.
    compute_capabilities: Sequence[str] = ()


#: What oneDNN's kernels for products of bfloat16 need at least; they are fast where the CPU multiplies bfloat16, too.
_AVX512: Final = ("avx512bw", "avx512vl", "avx512dq")
#: The instructions without which a framework has no such product on a CPU, or one of a hundred times the time.
_CPU_NEEDS: Final = {
    (Framework.MXNET, Precision.BFLOAT16): _AVX512,  # its oneDNN has no other kernel
    (Framework.TORCH, Precision.BFLOAT16): _AVX512,  # pytorch/pytorch#118499
    (Framework.TORCH, Precision.FLOAT16): ("avx512_fp16",),
}
#: The least compute capability with such a product.
_GPU_NEEDS: Final = {Precision.TF32: "8.0", Precision.BFLOAT16: "8.0", Precision.FLOAT16: "5.3"}


def missing_in(hardware: Hardware, scenario: Scenario) -> str | None:
    """Return why a machine cannot compute in the scenario's precision, and what can be used instead; None: it can."""
    precision = scenario.precision
    kinds = {device.kind for device in scenario.devices}
    instead = f"use precision={Precision.FLOAT32}"
    if DeviceKind.CPU in kinds and hardware.instruction_sets:
        needed = _CPU_NEEDS.get((scenario.framework, precision), ())
        if missing := [name for name in needed if name not in hardware.instruction_sets]:
            what = f"framework {scenario.framework} needs {', '.join(missing)} of the CPU, which this one has not"
            return f"precision={precision}: {what}; {instead}"
    if DeviceKind.GPU in kinds and hardware.compute_capabilities and precision in _GPU_NEEDS:
        least, has = _GPU_NEEDS[precision], min(hardware.compute_capabilities, key=_version)
        if _version(has) < _version(least):
            what = f"needs a card of compute capability {least}, and here is one of {has}"
            return f"precision={precision} {what}; {instead}"
    return None


def _version(capability: str) -> tuple[int, ...]:
    return tuple(map(int, capability.split(".")))
