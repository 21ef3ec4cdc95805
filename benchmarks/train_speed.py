"""Speed of a training step: images per second of qnn in fp32 and dfp8, and of PyTorch in fp32 where it is installed.

    python benchmarks/train_speed.py --threads 1 2 --out docs/results_speed.json

One step is forward, backward, SGD with momentum, and for qnn the move of the exponents. The nets are the same: MLP
784-512-512-10, LeNet-5 with 6-16-120-84, ResNet-20 with parameter-free shortcuts; the script compares the numbers of
parameters. qnn starts from uint8 pictures, PyTorch from finished float32 tensors, which is in its favour, in its own
memory layout and in channels_last. Every variant lives in a process of its own and the processes take turns, so that a
change of the machine's speed meets all of them; the table has medians over the turns. Nothing here tests correctness.
Needs qnn to be importable; ``pip install torch==2.13.0`` for the comparison.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Step = Callable[[], None]

NETS: dict[str, tuple[tuple[int, int, int], int]] = {  # input shape, batch
    "mlp": ((28, 28, 1), 100),
    "lenet5": ((28, 28, 1), 128),
    "resnet20": ((32, 32, 3), 128),
}
VARIANTS = ("qnn fp32", "qnn dfp8", "torch fp32", "torch fp32 channels_last")
BATCHES = 4  # different ones, used in turn
LR, MOMENTUM, WEIGHT_DECAY = 0.001, 0.9, 1e-4


# --- the two sides ----------------------------------------------------------------------------------------------------


def qnn_step(net: str, recipe: str, threads: int) -> tuple[Step, dict[str, Any]]:
    """A training step of qnn, and what runs it."""
    import numpy as np

    import qnn

    qnn.set_num_threads(threads)
    shape, batch = NETS[net]
    channels = shape[2]
    model = qnn.models.build(
        net, recipe=recipe, input_shape=shape, classes=10, mean=(0.5,) * channels, std=(0.25,) * channels, seed=1
    )
    criterion = qnn.nn.CrossEntropyLoss(model.recipe)
    optimizer = qnn.optim.SGD(model.named_parameters(), momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    run = qnn.nn.prepare(model, criterion, seed=1)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (BATCHES, batch, *shape), np.uint8)
    labels = random.integers(0, 10, (BATCHES, batch))

    def step() -> None:
        turn = run.step % BATCHES
        criterion(model(images[turn]), labels[turn]).backward()
        optimizer.step(LR)
        optimizer.zero_grad()
        run.advance()

    parameters = sum(p.size for p in model.parameters())
    path = "NumPy's BLAS" if recipe == "fp32" else f"{qnn.available_kernels()[0]} kernels"
    if os.environ.get("QNN_KERNELS") and recipe != "fp32":
        path = f"{os.environ['QNN_KERNELS']} kernels"
    return step, {"parameters": parameters, "version": qnn.__version__, "runs_on": path}


def torch_net(net: str) -> Any:
    """The same net in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        """Two 3x3 convolutions with batch normalisation; the shortcut halves the picture and pads the channels."""

        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.norm1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(outputs)
            self.stride, self.extra = stride, outputs - inputs

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
            if self.stride != 1 or self.extra:
                x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
            return functional.relu(x + y)

    if net == "mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )
    if net == "lenet5":
        features = (nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU())
        dense = (nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
        return nn.Sequential(*features, nn.MaxPool2d(2), nn.Flatten(), *dense)
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inputs = 16
    for outputs in (16, 32, 64):
        for index in range(3):
            layers.append(Block(inputs, outputs, 2 if index == 0 and outputs > 16 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def torch_step(net: str, channels_last: bool, threads: int) -> tuple[Step, dict[str, Any]]:
    """A training step of PyTorch, and what runs it."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    (height, width, channels), batch = NETS[net]
    model = torch_net(net)
    images = [torch.randn(batch, channels, height, width) for _ in range(BATCHES)]
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = [x.contiguous(memory_format=torch.channels_last) for x in images]
    labels = [torch.randint(0, 10, (batch,)) for _ in range(BATCHES)]
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    turn = 0

    def step() -> None:
        nonlocal turn
        functional.cross_entropy(model(images[turn]), labels[turn]).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        turn = (turn + 1) % BATCHES

    parameters = sum(p.numel() for p in model.parameters())
    return step, {"parameters": parameters, "version": torch.__version__, "runs_on": "ATen, oneDNN"}


# --- a variant in a process of its own --------------------------------------------------------------------------------


def serve(variant: str, net: str, threads: int) -> None:
    """Worker: say what runs here, then time as many steps as each line on standard input asks for."""
    side, _, rest = variant.partition(" ")
    step, about = qnn_step(net, rest, threads) if side == "qnn" else torch_step(net, "last" in rest, threads)
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        begin = time.perf_counter()
        for _ in range(int(line)):
            step()
        print(time.perf_counter() - begin, flush=True)


class Worker:
    """The other end of `serve`."""

    def __init__(self, variant: str, net: str, threads: int) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "QNN_NUM_THREADS")
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", variant, net, str(threads)],
            env={**os.environ, **dict.fromkeys(names, str(threads))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.variant = variant
        self.about: dict[str, Any] = json.loads(self._answer())
        self.steps = 1
        self.samples: list[float] = []

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {sys.argv[0]} for {self.variant!r} ended early, see its message above")
        return line

    def seconds(self, steps: int) -> float:
        """Time of so many steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def calibrate(self, block: float) -> None:
        """Warm up, and choose how many steps a turn has, so that it takes about ``block`` seconds."""
        self.seconds(2)
        self.steps = max(1, round(block / self.seconds(1)))

    def turn(self, batch: int) -> None:
        """One timed turn; the pause lets the threads of the process before fall asleep."""
        time.sleep(0.05)
        self.samples.append(self.steps * batch / self.seconds(self.steps))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(net: str, threads: int, variants: list[str], rounds: int, block: float) -> list[dict[str, Any]]:
    """All variants of one net in turns; one result each."""
    batch = NETS[net][1]
    workers: list[Worker] = []
    try:
        for variant in variants:
            workers.append(Worker(variant, net, threads))
        counts = {worker.variant: worker.about["parameters"] for worker in workers}
        if len(set(counts.values())) != 1:
            raise SystemExit(f"the nets called {net} differ in their numbers of parameters: {counts}")
        for worker in workers:
            worker.calibrate(block)
        for number in range(rounds):
            for worker in workers[number % len(workers) :] + workers[: number % len(workers)]:
                worker.turn(batch)
    finally:
        for worker in workers:
            worker.close()
    return [
        {
            "net": net,
            "batch": batch,
            "threads": threads,
            "variant": worker.variant,
            "images_per_second": round(statistics.median(worker.samples), 1),
            "steps_per_turn": worker.steps,
            "samples": [round(sample, 1) for sample in worker.samples],
            **worker.about,
        }
        for worker in workers
    ]


# --- the table --------------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Processor and versions; nothing that names a person or a host."""
    import numpy

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line[:10] == "model name"]
        cpu = models[0] if models else cpu
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    return {
        "cpu": cpu,
        "cpus": count,
        "system": system,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
    }


def markdown(results: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """A table with a row per net and number of threads, and a line that says what ran."""
    variants = [v for v in VARIANTS if any(r["variant"] == v for r in results)]
    wanted = (("dfp8 / fp32", "qnn fp32"), ("dfp8 / torch", "torch")) if "qnn dfp8" in variants else ()
    ratios = {title: under for title, under in wanted if any(v.startswith(under) for v in variants)}
    lines = [
        "| " + " | ".join(["net", "batch", "threads", *variants, *ratios]) + " |",
        "|---" + "|---:" * (2 + len(variants) + len(ratios)) + "|",
    ]
    for net, threads in dict.fromkeys((r["net"], r["threads"]) for r in results):
        speed = {r["variant"]: r["images_per_second"] for r in results if (r["net"], r["threads"]) == (net, threads)}
        cells = [f"{speed[v]:,.0f}" if v in speed else "-" for v in variants]
        for under in ratios.values():
            best = max((value for name, value in speed.items() if name.startswith(under)), default=None)
            cells.append("-" if best is None else f"{speed['qnn dfp8'] / best:.2f}")
        lines.append(f"| {net} | {NETS[net][1]} | {threads} | " + " | ".join(cells) + " |")
    ran = dict.fromkeys(f"{r['variant'].split()[0]} {r['version']} on {r['runs_on']}" for r in results)
    turns = len(results[0]["samples"])
    lines += [
        "",
        f"Images per second of a training step, medians of {turns} interleaved turns. The ratio to PyTorch is to the",
        "faster of its two memory layouts.",
        f"Machine: {about['cpu']}, {about['cpus']} processors, {about['system']}, Python {about['python']}, "
        f"NumPy {about['numpy']}; {'; '.join(ran)}.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure what the arguments say, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=9, help="turns of each variant")
    parser.add_argument("--block", type=float, default=1.0, help="seconds of a turn")
    parser.add_argument("--out", type=Path, help="JSON file for all samples")
    parser.add_argument("--worker", nargs=3, metavar=("VARIANT", "NET", "THREADS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options.worker[0], options.worker[1], int(options.worker[2]))
        return
    if options.rounds < 1 or min(options.threads) < 1:
        parser.error("--rounds and --threads are at least 1")
    variants = options.variants
    if importlib.util.find_spec("torch") is None and any(v.startswith("torch") for v in variants):
        print("PyTorch is not installed here: its columns are left out", file=sys.stderr)
        variants = [v for v in variants if not v.startswith("torch")]
    if not variants:
        parser.error("nothing to measure")
    results = []
    for threads in options.threads:
        for net in options.nets:
            chosen = [v for v in variants if not (net == "mlp" and "channels_last" in v)]  # no pictures, no layout
            if chosen:
                print(f"{net}, {threads} thread{'s' * (threads > 1)} ...", file=sys.stderr, flush=True)
                results += measure(net, threads, chosen, options.rounds, options.block)
    results.sort(key=lambda r: (list(NETS).index(r["net"]), r["threads"], VARIANTS.index(r["variant"])))
    about = machine()
    print(markdown(results, about))
    if options.out:
        options.out.write_text(json.dumps({"machine": about, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
