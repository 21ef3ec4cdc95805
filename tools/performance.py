"""Measure and write the tables and pictures of docs/performance.md.

``python tools/performance.py run [GROUP ...] [--threads N ...] [--label TEXT]`` runs ``qnn bench GROUP --json`` for
every group, keeps the answers in docs/performance.json (groups that are not named stay as they are), and renders.
``python tools/performance.py add FILE ... --machine NAME`` takes answers of ``qnn bench GROUP --json`` from another
machine instead, joining those of one group, for the page docs/performance-NAME.md and its docs/performance-NAME.json.
``python tools/performance.py render`` writes the tables between the marks ``<!-- table: NAME -->`` and ``<!-- end -->``
and the pictures from the kept answers alone. Nothing in here tests anything.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from qnn.bench import GROUPS  # noqa: E402
from qnn.bench.document import number, share  # noqa: E402

DOCS = ROOT / "docs"
IMAGES = ROOT / "docs" / "images"
PICTURES = ("shift", "train")  # groups with a picture in the page

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """The page of a machine and the answers that it is made from."""

    machine: str = ""

    @property
    def page(self) -> Path:
        """The page; the one without a name is that of the machine everything was developed on."""
        return DOCS / f"performance{self.machine and '-' + self.machine}.md"

    @property
    def data(self) -> Path:
        """{group: answer of ``qnn bench GROUP --json``, with a label}."""
        return self.page.with_suffix(".json")

    def kept(self) -> dict[str, Any]:
        """What was measured so far."""
        found: dict[str, Any] = json.loads(self.data.read_text(encoding="utf-8")) if self.data.exists() else {}
        return found

    def keep(self, kept: dict[str, Any]) -> None:
        """Write what was measured."""
        self.data.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


# --- measure ----------------------------------------------------------------------------------------------------------


def run(place: Place, groups: list[str], threads: list[int], label: str, peers: bool, quick: bool) -> None:
    """Measure the groups one after the other; each is written as soon as it is there."""
    for name in groups:
        line = [sys.executable, "-m", "qnn", "bench", name, "--json"]
        line += [word for count in threads for word in ("--threads", str(count))]
        line += ["--scaling"] if name == "train" else []
        line += ["--quick"] if quick else []
        line += [] if peers else ["--no-peers"]
        print(f"{name}: {' '.join(line[1:])}", file=sys.stderr, flush=True)
        search = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
        done = subprocess.run(
            line, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, "PYTHONPATH": search}
        )
        lines = done.stdout.strip().splitlines()
        if not lines:
            raise SystemExit(f"qnn bench {name} ended with code {done.returncode} and no answer; see its message above")
        place.keep({**place.kept(), name: {**json.loads(lines[-1]), "label": label}})
        if done.returncode:
            raise SystemExit(f"qnn bench {name} ended with code {done.returncode}; see its message above")


def add(place: Place, files: list[Path], label: str) -> None:
    """Keep answers that were measured elsewhere; those of one group become one."""
    added: dict[str, Any] = {}
    for path in files:
        answer = json.loads(path.read_text(encoding="utf-8"))
        (name,) = answer["groups"]
        if name not in added:
            added[name] = {**answer, "label": label}
            continue
        whole = added[name]
        whole["groups"][name] += answer["groups"][name]
        whole["peaks"] += answer["peaks"]
        whole["notes"] = list(dict.fromkeys([*whole["notes"], *answer["notes"]]))
        whole["same"] = whole["same"] and answer["same"]
    place.keep({**place.kept(), **added})


# --- tables -----------------------------------------------------------------------------------------------------------


def grid(header: list[str], lines: list[list[str]]) -> str:
    """A Markdown table; all columns but the first stand right."""
    head = f"| {' | '.join(header)} |\n|---|{'---:|' * (len(header) - 1)}"
    return "\n".join([head, *(f"| {' | '.join(line)} |" for line in lines)])


def rate(row: dict[str, Any]) -> str:
    """GOPS with the share of the peak, or giga-elements with the share of the traffic."""
    if row["gops"] is not None:
        text = number(row["gops"])
        return text + (f" ({share(row['peak_fraction'])})" if row["peak_fraction"] is not None else "")
    text = number(1 / row["ns_per_unit"])
    return text + (f" ({share(row['traffic_fraction'])})" if row["traffic_fraction"] is not None else "")


def by_threads(found: Rows, text: Any) -> str:
    """One value per number of threads."""
    return " / ".join(text(row) for row in sorted(found, key=lambda row: row["threads"])) or "-"


def pivot(rows: Rows) -> str:
    """A line per work, a column per variant and path, and the ratios of our fastest path."""
    columns = list(dict.fromkeys((row["variant"], row["path"] if row["side"] == "qnn" else "") for row in rows))
    first = next((row["path"] for row in rows if row["side"] == "qnn"), "")
    own = list(dict.fromkeys(row["variant"] for row in rows if row["side"] == "qnn" and row["ratio"] is not None))
    lines = []
    for work in dict.fromkeys(row["work"] for row in rows):
        here = [row for row in rows if row["work"] == work]
        line = [work]
        for variant, path in columns:
            cell = [r for r in here if r["variant"] == variant and (r["path"] == path or not path)]
            line.append(by_threads(cell, rate))
        best = [row for row in here if row["side"] == "qnn" and row["ratio"] is not None and row["path"] == first]
        for variant in own:
            found = [row for row in best if row["variant"] == variant]
            line.append(by_threads(found, lambda row: f"{row['ratio']:.2f} {row['ratio_to']}"))
        lines.append(line)
    ratios = [f"{variant} {first}: ratio, to" for variant in own]
    return grid(["", *(f"{variant} {path}".strip() for variant, path in columns), *ratios], lines)


def steps(rows: Rows) -> str:
    """Training and inference: a line per variant."""
    lines = []
    rows = [row for row in rows if "axis" not in row["extra"]]
    for work, variant, path in dict.fromkeys((r["work"], r["variant"], r["path"]) for r in rows):
        found = [r for r in rows if (r["work"], r["variant"], r["path"]) == (work, variant, path)]
        lines.append(
            [
                f"{work}: {variant} {path}".strip(),
                by_threads(found, lambda r: number(r["extra"]["images_per_second"])),
                by_threads(found, lambda r: number(1e3 * r["seconds"])),
                by_threads(found, lambda r: number(r["gops"])),
                by_threads(found, lambda r: f"{r['ratio']:.2f}" if r["ratio"] else "-"),
                number(max(r["memory_growth"] or 0 for r in found) / 2**20 or None),
            ]
        )
    return grid(["", "images/s", "ms a step", "GOPS", "ratio to the fastest peer", "memory, MiB"], lines)


def growth(rows: Rows) -> str:
    """The measured values of each axis and the exponents."""
    found = [row for row in rows if "axis" in row["extra"]]
    lines = []
    for axis in dict.fromkeys(row["extra"]["axis"] for row in found):
        here = [row for row in found if row["extra"]["axis"] == axis]
        first = here[0]["extra"]
        of_work = first["exponent_of_work"]
        lines.append(
            [
                f"{axis} ({here[0]['work'].split(',')[0]})",
                ", ".join(str(row["extra"]["value"]) for row in here),
                ", ".join(number(1e3 * row["seconds"]) for row in here),
                f"{first['exponent']:.2f}",
                "-" if of_work is None else f"{of_work:.2f}",
            ]
        )
    return grid(["what grows", "values", "ms a step", "exponent", "exponent over multiply-accumulates"], lines)


def loops(rows: Rows) -> str:
    """The loops that shift and multiply, line by line."""
    lines = []
    for variant, path in dict.fromkeys((r["variant"], r["path"]) for r in rows):
        found = [r for r in rows if (r["variant"], r["path"]) == (variant, path)]
        name = variant if any(r["side"] == "loop" for r in found) else f"{variant} {path}"
        ratio = by_threads(found, lambda r: f"{r['ratio']:.2f}" if r["ratio"] else "-")
        to = next((r["ratio_to"] for r in found if r["ratio_to"]), "-")
        lines.append([name, by_threads(found, rate), ratio, to, found[0]["checksum"]])
    return grid(["loop", "GOPS (of peak)", "speed", "against", "checksum"], lines)


def limits(kept: dict[str, Any]) -> str:
    """The peaks that were measured beside the rows; of several runs the highest."""
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for found in kept.values():
        for peak in found["peaks"]:
            name = peak["name"] if "gops" in peak else f"{peak['name']}, {peak['bytes'] / 2**20:.3g} MiB"
            key, value = (name, peak["threads"]), peak.get("gops") or peak["gbytes_per_second"]
            if key not in best or value > (best[key].get("gops") or best[key]["gbytes_per_second"]):
                best[key] = peak
    lines = []
    for (name, threads), peak in sorted(best.items(), key=lambda item: ("gops" not in item[1], item[0])):
        unit = f"{peak['gops']:,.0f} GOPS" if "gops" in peak else f"{peak['gbytes_per_second']:.1f} GB/s"
        lines.append([name, str(threads), unit, peak.get("instructions", "")])
    return grid(["limit", "threads", "measured", "instructions"], lines)


def machine(kept: dict[str, Any]) -> str:
    """What ran where, group by group where that differs."""
    said: dict[str, list[str]] = {}
    for name, found in kept.items():
        about = found["machine"]
        peers = ", ".join(f"{peer} {version}" for peer, version in found["peers"].items() if version) or "no peers"
        text = (
            f"{found['label']} {about['cpu']}, L2 {about['cache_l2'] >> 10} KiB, L3 {about['cache_l3'] >> 20} MiB, "
            f"{about['cpus_allowed']} processors usable, {about['system']}, Python {about['python']}, NumPy "
            f"{about['numpy']}, qnn {about['qnn']}; {peers}."
        )
        said.setdefault(text.strip(), []).append(name)
    whole = len(said) == 1
    lines = [text if whole else f"- {', '.join(names)}: {text}" for text, names in said.items()]
    notes = dict.fromkeys(note for found in kept.values() for note in found["notes"])
    return "\n".join([*lines, *(f"\nSaid while measuring: {note}." for note in notes)])


def against_the_highest(kept: dict[str, Any]) -> None:
    """Shares of the highest peak of all runs on that processor: one that was measured in a bad moment is too low."""
    best: dict[tuple[str, str, int], float] = {}
    for found in kept.values():
        for peak in found["peaks"]:
            if "gops" in peak:
                key = (found["machine"]["cpu"], peak["name"], peak["threads"])
                best[key] = max(best.get(key, 0.0), peak["gops"])
    for name, found in kept.items():
        for row in found["groups"][name]:
            if row["peak"] is not None:
                row["peak_fraction"] = row["gops"] / best[found["machine"]["cpu"], row["peak"], row["threads"]]


def tables(kept: dict[str, Any]) -> dict[str, str]:
    """{mark: Markdown} of everything that was measured."""
    against_the_highest(kept)
    made = {"machine": machine(kept)}
    if any(found["peaks"] for found in kept.values()):
        made["limits"] = limits(kept)
    for name, found in kept.items():
        rows = found["groups"][name]
        if name in ("train", "inference"):
            made[name] = steps(rows)
            if any("axis" in row["extra"] for row in rows):
                made["scaling"] = growth(rows)
        elif name == "shift":
            made["loops"] = loops([row for row in rows if row["work"].startswith("loops")])
            made["shift"] = pivot([row for row in rows if not row["work"].startswith("loops")])
        else:
            made[name] = pivot(rows)
    return made


# --- the page ---------------------------------------------------------------------------------------------------------


def fill(place: Place, text: str, kept: dict[str, Any]) -> str:
    """The page with its tables filled in."""
    made = tables(kept)
    marks = re.findall(r"<!-- table: (\w+) -->", text)
    unknown = [name for name in made if name not in marks]
    if unknown:
        raise SystemExit(f"got tables for {', '.join(unknown)}; {place.page.name} has no marks for them; add the marks")

    def table(found: re.Match[str]) -> str:
        name = found[1]
        return f"<!-- table: {name} -->\n{made.get(name, 'Not measured yet.')}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def render(place: Place) -> None:
    """Write the tables, and the pictures of the page without a name."""
    kept = place.kept()
    place.page.write_text(fill(place, place.page.read_text(encoding="utf-8"), kept), encoding="utf-8")
    from qnn.bench.plot import draw

    for name in () if place.machine else PICTURES:
        if name in kept:
            found = kept[name]
            if name == "train":
                rows = [row for row in found["groups"]["train"] if "axis" in row["extra"]]
                found = {**found, "groups": {"train": rows}}
            draw(found, IMAGES / f"performance_{name}.png")


def main() -> None:
    """Measure, if that is asked for, and render."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "add", "render"))
    parser.add_argument(
        "names", nargs="*", metavar="GROUP|FILE", help=f"run: of {', '.join(GROUPS)}, default all; add: answers"
    )
    parser.add_argument("--machine", default="", help="the page performance-MACHINE.md instead of performance.md")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--label", default="", help="a sentence about this measurement")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--quick", action="store_true", help="small shapes, to try the tables")
    options = parser.parse_args()
    place = Place(options.machine)
    unknown = [name for name in options.names if options.what != "add" and name not in GROUPS]
    if unknown:
        parser.error(f"got {', '.join(unknown)}; groups are {', '.join(GROUPS)}")
    if options.what == "run":
        groups = options.names or list(GROUPS)
        run(place, groups, options.threads, options.label, not options.no_peers, options.quick)
    elif options.what == "add":
        add(place, [Path(name) for name in options.names], options.label)
    render(place)


if __name__ == "__main__":
    main()
