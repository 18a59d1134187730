"""A pretend GPU: tensors that say cuda:0, compute on the CPU, and refuse to mix with CPU tensors.

What it leaves out: streams, rounding, speed, and operations that CUDA lacks. It finds what stops on
a GPU for the commonest reason: two tensors that lie in different places.

    with pretend_gpu():
        model = PatchCore(device="cuda").fit(train)

Also `python tests/pretend_gpu.py SCRIPT`, which runs a script so.
"""

import contextlib
import runpy
import sys
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("cuda", 0)
MEMORY = 16 << 30
# CUDA takes indices from the CPU, and copies either way.
INDEXING = {"index.Tensor", "index_put_.default", "index_put.default",
            "_index_put_impl_.default", "_unsafe_index.Tensor"}
COPYING = {"copy_.default", "_to_copy.default", "set_.source_Storage", "_copy_from.default",
           "_has_compatible_shallow_copy_type.default"}


class DeviceMix(RuntimeError):
    """What CUDA says when an operation gets tensors of two devices."""


class PretendTensor(torch.Tensor):
    """A tensor of the CPU that says it lies on the GPU."""

    inside: torch.Tensor

    @staticmethod
    def __new__(cls, inside):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inside.size(), strides=inside.stride(), storage_offset=inside.storage_offset(),
            dtype=inside.dtype, layout=inside.layout, requires_grad=False, device=GPU)
        made.inside = inside
        return made

    def __repr__(self, **how):
        return f"PretendTensor({self.inside!r})"

    def tolist(self):
        return self.inside.tolist()

    def numpy(self, **how):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to "
                        "copy the tensor to host memory first.")

    def __array__(self, *args, **how):
        return self.numpy()

    def pin_memory(self, *args):
        raise RuntimeError("cannot pin a tensor of cuda:0: only dense CPU tensors can be pinned")

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    """Sees every operation, so that `torch.zeros(3, device="cuda")` is one of ours as well."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


def compute(function, args, kwargs):
    """Do an operation on the CPU; its results lie where CUDA would have put them."""
    given: list = []
    _gather((args, kwargs), given)
    on_gpu = any(isinstance(one, PretendTensor) for one in given)
    asked = [one for one in given if isinstance(one, torch.device)]  # where the result is to lie
    inner = {key: value for key, value in kwargs.items() if key != "pin_memory"}
    if not on_gpu and not any(one.type == "cuda" for one in asked):
        return function(*args, **inner)  # what lies on the CPU and stays there
    name = function.__name__
    if name not in COPYING:
        check_devices(name, args, [one for one in given if isinstance(one, torch.Tensor)])
    if asked:
        on_gpu = asked[-1].type == "cuda"
    found = function(*_all(_inside, args), **_all(_inside, inner))
    if kwargs.get("out") is not None:
        return kwargs["out"]
    operation = name.partition(".")[0]
    if operation.endswith("_") and not operation.startswith("_"):  # in place
        return args[0]
    return _all(_outside, found) if on_gpu else found


def check_devices(name, args, tensors):
    """Raise what CUDA would. A CPU tensor without dimensions is a number, and may go anywhere."""
    gpu = [one for one in tensors if isinstance(one, PretendTensor)]
    cpu = [one for one in tensors if not isinstance(one, PretendTensor)
           and one.device.type == "cpu" and one.dim()]
    if name in INDEXING and gpu:
        values = args[2] if len(args) > 2 else None
        wrong = not isinstance(args[0], PretendTensor) or (
            isinstance(values, torch.Tensor) and any(values is one for one in cpu))
        if wrong:
            raise DeviceMix(f"{name}: indices should be either on cpu or on the same device as the "
                            "indexed tensor, and values on its device")
    elif gpu and cpu:
        raise DeviceMix(
            f"{name}: expected all tensors to be on the same device, but found cuda:0 "
            f"{[tuple(one.shape) for one in gpu]} and cpu {[tuple(one.shape) for one in cpu]}")


def _gather(things, found):
    """The tensors and devices in tuples, lists and dictionaries; sooner than torch walks there."""
    for thing in things.values() if isinstance(things, dict) else things:
        if isinstance(thing, (tuple, list, dict)):
            _gather(thing, found)
        elif isinstance(thing, (torch.Tensor, torch.device)):
            found.append(thing)


def _all(change, things):
    """The same tuples, lists and dictionaries, of changed things."""
    if isinstance(things, dict):
        return {name: _all(change, thing) for name, thing in things.items()}
    if isinstance(things, (tuple, list)):
        changed = [_all(change, thing) for thing in things]
        return tuple(changed) if isinstance(things, tuple) else changed
    return change(things)


def _inside(one):
    if isinstance(one, torch.device) and one.type == "cuda":
        return torch.device("cpu")
    return one.inside if isinstance(one, PretendTensor) else one


def _outside(one):
    made = isinstance(one, torch.Tensor) and not isinstance(one, PretendTensor)
    return PretendTensor(one) if made else one


@contextlib.contextmanager
def pretend_gpu(*, memory=MEMORY):
    """This machine has a GPU of so many bytes, half of them free, while the block lasts."""
    if not hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
        import pytest

        pytest.skip("torch is too old to pretend")
    swapped = torch.__future__.get_overwrite_module_params_on_conversion()
    torch._C._ensureCUDADeviceGuardSet()
    torch._C._set_only_lift_cpu_tensors(True)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    properties = mock.Mock(total_memory=memory, name="pretend", multi_processor_count=1)
    answers = {
        "torch.cuda": dict(
            is_available=True, device_count=1, current_device=0, get_device_name="pretend GPU",
            mem_get_info=(memory // 2, memory), _lazy_init=None, synchronize=None,
            empty_cache=None, get_device_properties=properties, get_device_capability=(8, 0)),
        "torch.accelerator": dict(
            is_available=True, device_count=1, current_device_index=0, synchronize=None,
            current_accelerator=torch.device("cuda"))}
    with contextlib.ExitStack() as stack:
        # Batch norms of cuDNN have no twin on the CPU; without it torch takes its own.
        stack.callback(setattr, torch.backends.cudnn, "enabled", torch.backends.cudnn.enabled)
        torch.backends.cudnn.enabled = False
        # Tensors made of others, as ours are, know no inference mode.
        stack.enter_context(mock.patch("torch._C._InferenceMode", lambda mode: torch.no_grad()))
        for place, functions in answers.items():
            for function, answer in functions.items():
                stack.enter_context(mock.patch(
                    f"{place}.{function}", lambda *args, answer=answer, **how: answer))
        try:
            with _Dispatch():
                yield
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
            torch.__future__.set_overwrite_module_params_on_conversion(swapped)


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    with pretend_gpu():
        runpy.run_path(sys.argv[0], run_name="__main__")
