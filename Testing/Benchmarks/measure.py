"""What every benchmark needs: time and memory, where it ran, and results as JSON and Markdown."""

from __future__ import annotations

import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TEXT = {"encoding": "utf-8", "errors": "replace"}
"""How a subprocess's output is read, whatever the locale says."""

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Timing:
    """Median seconds of a call.

    `cpu` counts all threads of this process. It is what ratios are made of: unlike `wall` it hardly changes when
    other work shares the machine. What a graphics card does only `wall` counts.
    """

    wall: float
    cpu: float


def clock(device: str) -> str:
    """Which of the two a ratio on a device is made of."""
    return "wall" if device == "cuda" else "cpu"


def timed(call: Callable[[], Any], repeats: int = 3, warmup: int = 0) -> Timing:
    """Median time of `repeats` calls, after `warmup` calls that do not count."""
    for _ in range(warmup):
        call()
    wall, cpu = [], []
    for _ in range(repeats):
        gc.collect()
        _wait_for_the_card()
        started_wall, started_cpu = time.perf_counter(), time.process_time()
        call()
        _wait_for_the_card()
        wall.append(time.perf_counter() - started_wall)
        cpu.append(time.process_time() - started_cpu)
    return Timing(statistics.median(wall), statistics.median(cpu))


def alternated(calls: Mapping[str, Callable[[], Any]], repeats: int = 5, warmup: int = 1) -> dict[str, Timing]:
    """Time several calls in turn, so that a machine that slows down slows all of them."""
    for call in calls.values():
        timed(call, 1, warmup)
    rounds: dict[str, list[Timing]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            rounds[name].append(timed(call, 1))
    return {
        name: Timing(statistics.median(t.wall for t in taken), statistics.median(t.cpu for t in taken))
        for name, taken in rounds.items()
    }


def _wait_for_the_card() -> None:
    """A card is handed work and computes while the call has long returned."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def peak_memory(device: str = "cpu") -> int:
    """Largest memory of this process so far, in bytes: what is resident, or what it took of the card."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux ru_maxrss also counts what the parent held when it started this process.
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_subprocess(module: str, *arguments: str) -> Any:
    """Run a module of this folder in a process of its own and read the JSON that it prints last."""
    command = [sys.executable, "-m", f"Testing.Benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, **TEXT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def environment(device: str = "cpu") -> dict[str, Any]:
    """Where a number was measured; nothing that names the machine or its user."""
    import monai
    import torch

    card = {"card": torch.cuda.get_device_name()} if device == "cuda" else {}
    return {
        **card,
        "commit": commit(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
    }


def commit() -> str:
    """The commit that is checked out; "+" where files differ from it."""
    try:
        git = ["git", "-C", str(ROOT)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True, **TEXT).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=True, **TEXT).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed.strip() else "")


def write_json(path: Path, said: Any) -> None:
    """Write a result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    part.write_text(json.dumps(said, indent=1, default=_plain) + "\n", encoding="utf-8")
    os.replace(part, path)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, first column to the left, the others to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_table(path: Path, table: str, where: Mapping[str, Any]) -> None:
    """Write a Markdown table with the line that says where it was measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = (
        f"Commit {where['commit'][:10]}{'+' if where['commit'].endswith('+') else ''}, "
        f"{where['card'] + ', ' if 'card' in where else ''}{where['cpu']}, "
        f"{where['cores']} cores, {where['threads']} threads, torch {where['torch']}, MONAI {where['monai']}."
    )
    path.write_text(f"{table}\n\n{said}\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Timing):
        return asdict(value)
    raise TypeError(f"{type(value)} has no JSON form")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
