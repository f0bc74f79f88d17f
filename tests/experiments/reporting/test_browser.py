"""The pages in a real browser: nothing hangs over the edge, the scripts run, printing shows all."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.analysis.growth import formulas_of
from experiments.figures.registry import draw_figures
from experiments.reporting.comparison import compare_directories
from experiments.reporting.runs import write_index
from experiments.reporting.sweep import write_report
from experiments.results.files import write_csv
from tests.support.sweeps import SMALL, results_of

pytestmark = pytest.mark.browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (360, 768, 1280)
# Measures the page in a frame of the width that is asked for: a browser's window is never narrower
# than 500 pixels.
MEASURE = """
<body style="margin:0"><iframe id="frame" style="width:{width}px;height:2000px;border:0"></iframe>
<script>
const frame = document.getElementById("frame");
frame.onload = () => setTimeout(() => {{
  const page = frame.contentDocument, root = page.documentElement;
  const first = page.querySelector(".timeline svg");
  const box = first.getBoundingClientRect();
  const place = (x) => ({{ clientX: box.left + x, clientY: box.top + 40, buttons: 1 }});
  const at = (kind, x) => first.dispatchEvent(new PointerEvent(kind, place(x)));
  at("pointermove", box.width / 2);
  const hovered = page.querySelector(".timeline .readout").textContent;
  at("pointerdown", box.width / 2); at("pointerup", box.width / 2);
  const table = page.querySelector("table.cards:has(th.sorts)");
  table.tHead.rows[0].cells[0].click();
  document.body.textContent = JSON.stringify({{
    scrollWidth: root.scrollWidth, clientWidth: root.clientWidth,
    paths: page.querySelectorAll(".timeline svg path").length, hovered,
    buffers: page.querySelectorAll(".timeline details tbody tr").length,
    sorted: table.tHead.rows[0].cells[0].getAttribute("aria-sort"),
    headings: getComputedStyle(page.querySelector("table.cards thead")).display,
    unlabelled: page.querySelectorAll("svg[role=img]:not([aria-label]), svg[aria-label='']").length,
  }});
  document.body.id = "measured";
}}, 800);
frame.srcdoc = {page};
</script></body>
"""


# What any page with tables has: the first column that sorts, sorted twice.
TABLES = """
<body style="margin:0"><iframe id="frame" style="width:{width}px;height:2000px;border:0"></iframe>
<script>
const frame = document.getElementById("frame");
frame.onload = () => setTimeout(() => {{
  const page = frame.contentDocument, root = page.documentElement;
  const table = page.querySelector("table.cards:has(th.sorts)");
  const first = () => [...table.tBodies[0].rows].map((row) => row.cells[{column}].innerText.trim());
  const before = first();
  table.tHead.rows[0].cells[{column}].click();
  const up = first();
  table.tHead.rows[0].cells[{column}].click();
  document.body.textContent = JSON.stringify({{
    scrollWidth: root.scrollWidth, clientWidth: root.clientWidth, before, up, down: first(),
    sorted: table.tHead.rows[0].cells[{column}].getAttribute("aria-sort"),
  }});
  document.body.id = "measured";
}}, 400);
frame.srcdoc = {page};
</script></body>
"""


def browser() -> str:
    """The browser of this machine."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    assert found is not None, f"expected one of {', '.join(BROWSERS)} on the path; install Chromium"
    return found


def chromium(directory: Path, *arguments: str) -> str:
    """What the browser prints."""
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={directory / 'profile'}", "--virtual-time-budget=6000"]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small sweep."""
    made = results_of(SMALL, tmp_path_factory.mktemp("browser"))
    made = replace(made, complexity=formulas_of(made.results))
    draw_figures(made)
    return write_report(made)


def measured_at(report: Path, width: int, script: str = MEASURE) -> dict[str, Any]:
    """What the browser says of the page at a width."""
    outer = report.parent / f"outer_{width}.html"
    page = json.dumps(report.read_text()).replace("</", "<\\/")
    outer.write_text(script.format(width=width, page=page))
    found = re.search(
        r'<body[^>]*id="measured"[^>]*>(.*?)</body>',
        chromium(report.parent, "--dump-dom", "--window-size=1400,2000", f"file://{outer}"),
        flags=re.DOTALL,
    )
    assert found is not None, "the page did not load, or its scripts failed"
    return dict(
        json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_fits_and_its_scripts_run(report: Path, width: int) -> None:
    """No page hangs over the edge; the timeline is drawn, hovered, clicked; a table sorts."""
    said = measured_at(report, width)
    assert said["clientWidth"] == width
    assert said["scrollWidth"] <= said["clientWidth"]
    assert said["paths"] > 4
    assert "live" in said["hovered"]
    assert said["buffers"] > 0
    assert said["sorted"] == "ascending"
    assert (said["headings"] == "none") == (width < 700)
    assert said["unlabelled"] == 0


def test_the_measurement_sees_what_hangs_over(report: Path) -> None:
    """A planted element that is too wide is seen, so the test above can fail."""
    wide = report.parent / "wide.html"
    wide.write_text(report.read_text().replace("<nav>", '<div style="width:900px">x</div><nav>'))
    said = measured_at(wide, 360)
    assert said["scrollWidth"] > said["clientWidth"]


def test_printing_shows_what_is_folded(report: Path) -> None:
    """The printed page holds the text of the folded parts too."""
    printed = report.parent / "report.pdf"
    chromium(report.parent, f"--print-to-pdf={printed}", f"file://{report}")
    folded = report.parent / "folded.pdf"
    closed = report.parent / "closed.html"
    closed.write_text(re.sub(r"<details.*?</details>", "", report.read_text(), flags=re.DOTALL))
    chromium(report.parent, f"--print-to-pdf={folded}", f"file://{closed}")
    pages = [len(re.findall(rb"/Type\s*/Page\b", path.read_bytes())) for path in (printed, folded)]
    assert pages[0] > pages[1] > 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the index of six runs, and with the comparison of ten."""
    folder = tmp_path_factory.mktemp("runs")
    for number in range(6):
        run = folder / "a folder with a long name" / f"run_{number}"
        run.mkdir(parents=True)
        (run / "report.html").write_text("a report")
        keys = {"grid": {"n": [number] * 30, "d": [2]}, "seed": 7 * number % 6}
        (run / "manifest.json").write_text(json.dumps({"config": keys, "commit": f"c{number}"}))
    write_index(folder)
    rows = results_of(SMALL, folder).results
    sweeps = []
    for number in range(10):
        sweeps.append(folder / f"sweep {number}")
        table = rows.assign(ops=rows["ops"] + number, dtype="float32")
        write_csv(sweeps[-1] / "results.csv", table)
    compare_directories(sweeps, folder)
    return folder


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("name", "column"), [("index", 3), ("comparison", 0)])
def test_index_and_comparison_fit_and_sort(runs: Path, name: str, column: int, width: int) -> None:
    """Nothing hangs over the edge, and a click sorts up, another one down."""
    said = measured_at(runs / f"{name}.html", width, TABLES.replace("{column}", str(column)))
    assert said["scrollWidth"] <= said["clientWidth"] == width
    assert sorted(said["up"]) == sorted(said["before"]) == sorted(said["down"])
    assert said["up"] == said["down"][::-1]
    assert len(set(said["up"])) > 3
    assert said["sorted"] == "descending"
