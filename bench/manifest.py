"""The figures that the project wants to show, the commands that measure them, and the bars that ratios should reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GPU = "an NVIDIA GPU"
HOPPER = f"{GPU} of compute capability 9.0"
ON_GPU = "bench/on_gpu.sh --part"  # run this first, then python bench/collect.py on-gpu


@dataclass(frozen=True)
class Wanted:
    """A figure that is wanted. bench: how the names of its files begin, or the keys of its rows in on_gpu-*.jsonl."""

    figure: str
    bench: str
    needs: str
    command: str


@dataclass(frozen=True)
class Bar:
    """The bar for rows of a kind and direction: the least geometric mean of PyTorch's time over ours.

    The goal on a CPU is to be as fast as PyTorch, so every bar is 1; a missed bar is shown as missed.
    """

    title: str
    least: float
    kind: str
    direction: str
    depthwise: bool = False
    device: str = "cpu"
    bench: str = ""
    network: str | None = None

    def holds(self, bench: str, row: dict[str, Any]) -> bool:
        """Whether this bar applies to the row."""
        return (bench.startswith(self.bench) and (row["kind"], row["direction"]) == (self.kind, self.direction)
                and ("depthwise" in row["layer"]) == self.depthwise and self.network in (None, row["network"])
                and (self.kind, row["dtype"]) not in (("train", "bfloat16"), ("train", "float16")))


WANTED = (
    Wanted("CPU layers beside PyTorch, one thread", "cpu_layers_1", "PyTorch",
           "python bench/cpu_layers.py --threads 1"),
    Wanted("CPU layers beside PyTorch, two threads", "cpu_layers_2", "PyTorch, two quiet cores",
           "python bench/cpu_layers.py --threads 2"),
    Wanted("the CPU path's bars, one thread: layers, what lies between them, steps, Keras, overhead", "cpu_bars_1",
           "PyTorch", "python bench/cpu_bars.py"),
    Wanted("the CPU path's bars, two threads", "cpu_bars_2", "PyTorch, two quiet cores",
           "python bench/cpu_bars.py --threads 2"),
    Wanted("training on the CPU beside PyTorch: step time, images/s, peak memory", "train_cpu", "PyTorch",
           "python bench/train.py --device cpu"),
    Wanted("Keras on convgpu beside Keras on PyTorch, on the CPU", "keras_cpu", "PyTorch",
           "python bench/keras_training.py"),
    Wanted("start-up, first calls and overhead per op on the CPU", "startup_cpu", "nothing",
           "python bench/startup.py --device cpu"),
    Wanted("the denominators: cuDNN, cuBLAS, pooling, copies", "denominators",
           f"PyTorch, {GPU}", f"{ON_GPU} 2"),
    Wanted("every kernel beside cuDNN and cuBLAS", "kernels", f"PyTorch, CuPy, nvcc, {GPU}", f"{ON_GPU} 2"),
    Wanted("GEMM and convolution on Hopper beside cuDNN and cuBLAS: half types, float32 and TF32", "hopper",
           f"PyTorch, CuPy, nvcc, {HOPPER}", f"{ON_GPU} 2"),
    Wanted("the errors of float32 on Hopper's tensor cores beside a chain of multiply-adds", "float32 accuracy",
           f"CuPy, nvcc, {HOPPER}", f"{ON_GPU} 2"),
    Wanted("steps of training on a GPU beside PyTorch, eager and compiled, and on the machine's CPUs; with peak memory "
           "by `python bench/train.py --device gpu`", "train_gpu", f"PyTorch, CuPy, {GPU}", f"{ON_GPU} 2"),
    Wanted("the kernels between convolutions: norms, activations, reductions, softmax, dropout and random numbers, "
           "optimizers (a command for each op), and a step's launches and memory beside the ledger's", "between",
           f"CuPy, nvcc, {GPU}", "convgpu benchmark op norm_dgrad --device gpu"),
    Wanted("start-up, first calls, overhead per op and a launch-bound LeNet-5 step on a GPU", "startup_gpu",
           f"CuPy, {GPU}", "python bench/startup.py --device gpu"),
    Wanted("tensor cores, TMA and wgmma against the emulator's reading of them", "probe",
           f"nvcc, {HOPPER}", f"{ON_GPU} 1"),
    Wanted("tensor maps by the driver, one product on each path, `convgpu verify`, LeNet-5 trained", "gemm",
           f"CuPy, nvcc, {HOPPER}", f"{ON_GPU} 1"),
    Wanted("the rate of the L2 cache, of im2col, and of arrivals in a cluster; variants of the GEMM; the plan's "
           "constants", "rates", f"CuPy, nvcc, {HOPPER}", f"{ON_GPU} 3"),
    Wanted("compute-sanitizer's four tools on cases of every family", "synccheck",
           f"CuPy, nvcc, compute-sanitizer, {GPU}", f"{ON_GPU} 3"),
)

BARS = (
    Bar("Dense convolution, forward", 1.0, "conv", "fprop", bench="cpu_layers"),
    Bar("Dense convolution, weight gradient", 1.0, "conv", "wgrad", bench="cpu_layers"),
    Bar("Dense convolution, input gradient", 1.0, "conv", "dgrad", bench="cpu_layers"),
    Bar("Depthwise convolution, forward", 1.0, "conv", "fprop", True, bench="cpu_layers"),
    Bar("Depthwise convolution, weight gradient", 1.0, "conv", "wgrad", True, bench="cpu_layers"),
    Bar("Depthwise convolution, input gradient", 1.0, "conv", "dgrad", True, bench="cpu_layers"),
    Bar("Max pooling, forward", 1.0, "pool", "fprop", bench="cpu_layers"),
    Bar("Max pooling, input gradient", 1.0, "pool", "dgrad", bench="cpu_layers"),
    Bar("Training LeNet-5, a step", 1.0, "train", "step", bench="train_cpu", network="LeNet-5"),
    Bar("Training LeNet-5, a whole epoch with Adam", 1.0, "epoch", "epoch", bench="train_lenet_epoch"),
    Bar("Keras: LeNet-5, an epoch", 1.0, "keras", "epoch", bench="keras_cpu"),
    Bar("Keras: ResNet-50 at 224x224, batch 4, predict", 1.0, "keras", "predict", bench="keras_cpu"),
    Bar("Keras: ResNet-50 at 224x224, batch 4, a training step", 1.0, "keras", "train step", bench="keras_cpu"),
)
