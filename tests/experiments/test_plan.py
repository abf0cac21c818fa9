"""A suite becomes the runs of this machine."""

from __future__ import annotations

from bench.experiments.run.plan import plan_here
from bench.scenarios.axes import Framework
from bench.scenarios.suite import Overrides, expand, load_suite
from mnist_core.devices import Device, Probe, Unusable


def test_gpus_are_tried_out_where_there_are_any() -> None:
    """A new card has rows of the frameworks that can use it; each is asked for each card once."""
    tried: list[tuple[Framework, str]] = []

    def try_out(framework: Framework, device: Device) -> Probe:
        tried.append((framework, str(device)))
        if framework is Framework.MXNET:
            return Probe(device, Unusable.NO_CUDA_BUILD)
        return Probe(device, None if device.index == 0 else Unusable.NO_SUCH_DEVICE)

    plan = plan_here("standard", Overrides(), None, 42, try_out, has_gpu=True)
    on_gpu = {planned.scenario.framework for planned in plan if planned.scenario.contexts == ("gpu(0)",)}
    assert on_gpu == {Framework.TORCH, Framework.JAX}
    assert sorted(tried) == sorted(
        [
            (Framework.MXNET, "gpu(0)"),
            *((peer, f"gpu({n})") for peer in (Framework.TORCH, Framework.JAX) for n in (0, 1)),
        ]
    )


def test_without_a_gpu_nothing_is_tried_out() -> None:
    """It would cost the start-up of every framework."""

    def refuse(framework: Framework, device: Device) -> Probe:
        raise AssertionError(f"{framework} was asked for {device}")

    assert plan_here("standard", Overrides(), None, 42, refuse) == expand(load_suite("standard"))
