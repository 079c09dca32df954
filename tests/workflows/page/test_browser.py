"""The pages in a real browser, driven by the protocol of its developer tools."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.websocket import websocket_connect

from spinloom.workflows.page.sweep import sweep_page

pytestmark = pytest.mark.browser

HOSTILE, EQUATION = "<script>alert(1)</script>", "$$x$$"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-dev-shm-usage",
    "--remote-debugging-port=0", "about:blank",
)  # fmt: skip
PATIENCE = 60.0
WIDTHS = (400, 1280, 1920)
READY = """new Promise((resolve) => {
  const look = () => document.readyState === "complete" && globalThis.Bokeh && Bokeh.documents.length
    && Bokeh.documents.every((one) => one.is_idle) ? setTimeout(resolve, 200) : setTimeout(look, 50)
  look()
})"""
LAYOUT = """(() => {
  const wrong = []
  const seen = (one) => one.getClientRects().length && getComputedStyle(one).position !== "sticky"
  const name = (one) => `${one.tagName.toLowerCase()}.${one.className} ${one.innerText.slice(0, 30)}`
  const inside = (element) => !element.closest(".scroll, .grid, nav")
  for (const element of document.querySelectorAll("body *")) {
    const box = element.getBoundingClientRect()
    if (seen(element) && inside(element) && box.right > innerWidth + 1) wrong.push("beyond the page: " + name(element))
    const blocks = [...element.children].filter((child) => seen(child) && getComputedStyle(child).display !== "inline"
      && !["TR", "TD", "TH"].includes(child.tagName))
    for (let i = 1; i < blocks.length; i++) {
      const [a, b] = [blocks[i - 1].getBoundingClientRect(), blocks[i].getBoundingClientRect()]
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left)
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)
      if (wide > 1 && high > 1) wrong.push("one over the other: " + name(blocks[i - 1]) + " / " + name(blocks[i]))
    }
  }
  for (const plot of document.querySelectorAll(".plot, .control, .grid")) {
    for (const view of plot.querySelectorAll("[data-root-id] > *")) {
      if (view.offsetWidth > plot.clientWidth + 1) wrong.push("wider than its place: " + name(plot))
    }
  }
  if (document.documentElement.scrollWidth > innerWidth) wrong.push("the page scrolls sideways")
  return wrong
})()"""
MODELS = "[...Bokeh.documents].flatMap((one) => [...one._all_models.values()])"
FOCUSED = """(() => {
  let at = document.activeElement
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement
  return at?.tagName === "SELECT" ? at.getRootNode().querySelector("label").innerText : ""
})()"""
CELLS = """(() => {
  const found = []
  const walk = (root) => {
    for (const element of root.querySelectorAll("*")) {
      const top = element.getBoundingClientRect().top
      if (element.matches(".slick-row .slick-cell.l0")) found.push([top, element.innerText])
      if (element.shadowRoot) walk(element.shadowRoot)
    }
  }
  walk(document)
  return found.sort((a, b) => a[0] - b[0]).map((one) => Number(one[1]))
})()"""


class Browser:
    """A browser without a window, with one page at a time; everything it says is kept."""

    def __init__(self, program: str, folder: Path) -> None:
        self.loop, self.socket = asyncio.new_event_loop(), None
        command = [program, f"--user-data-dir={folder}", *OPTIONS]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.number, self.session = 0, ""

    def begin(self) -> None:
        """Wait for the browser, and open a page in it."""
        port = self.folder / "DevToolsActivePort"
        until = time.monotonic() + PATIENCE
        while not (port.exists() and len(port.read_text().split()) == 2):
            assert time.monotonic() < until, "the browser did not start"
            assert self.process.poll() is None, "the browser ended"
            time.sleep(0.05)
        number, path = port.read_text().split()
        self.socket = self.loop.run_until_complete(self._connected(f"ws://127.0.0.1:{number}{path}"))
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.ask(f"{domain}.enable")

    async def _connected(self, address: str) -> Any:
        return await asyncio.wait_for(websocket_connect(address, max_message_size=1 << 28), PATIENCE)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}

        async def answer() -> dict[str, Any]:
            await self.socket.write_message(json.dumps(message))
            while True:
                said = json.loads(await self.socket.read_message())
                if said.get("id") == self.number:
                    assert "error" not in said, said
                    return said["result"]
                self.events.append(said)

        return self.loop.run_until_complete(asyncio.wait_for(answer(), PATIENCE))

    def run(self, script: str) -> Any:
        """Run a script on the page; its value."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, path: Path, width: int = 1280, *, dark: bool = False) -> None:
        """Open a page and wait until it stands."""
        self.events.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.ask("Page.navigate", url=path.as_uri())
        self.run(READY)

    def choose(self, label: str, value: str) -> None:
        """Choose as one does with a selector."""
        pick = f"{MODELS}.find((one) => one.type === 'Select' && one.title === {json.dumps(label)})"
        self.run(f"{pick}.value = {json.dumps(value)}; new Promise((resolve) => setTimeout(resolve, 200))")

    def press(self, key: str) -> None:
        codes = {"Tab": 9, "ArrowDown": 40, "Enter": 13}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **text)

    def mouse(self, kind: str, x: float, y: float, **told: Any) -> None:
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **told)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place and let go at another; a click where they are the same."""
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, **held)
        for share in (0.3, 0.6, 1.0) if end != start else ():
            self.mouse("mouseMoved", *(a + share * (b - a) for a, b in zip(start, end, strict=True)), **held)
        self.mouse("mouseReleased", *end, **held)
        self.run("new Promise((resolve) => setTimeout(resolve, 200))")

    def place(self, selector: str, number: int = 0) -> dict[str, float]:
        """Where something is, after it was brought into view; shadows are looked into."""
        return self.run(f"""(() => {{
          const found = []
          const walk = (root) => {{
            found.push(...root.querySelectorAll({json.dumps(selector)}))
            for (const element of root.querySelectorAll("*")) if (element.shadowRoot) walk(element.shadowRoot)
          }}
          walk(document)
          found[{number}].scrollIntoView({{block: "center"}})
          const {{left, top, width, height}} = found[{number}].getBoundingClientRect()
          return {{left, top, width, height, x: left + width / 2, y: top + height / 2}}
        }})()""")

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and what was asked of elsewhere."""
        found = []
        for event in self.events:
            told = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(told["exceptionDetails"])[:500])
            elif event["method"] == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(told["args"])[:500])
            elif event["method"] == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                found.append(json.dumps(told["entry"])[:500])
            elif event["method"] == "Network.requestWillBeSent":
                address = told["request"]["url"]
                found += [] if address.startswith(("file:", "data:")) else [f"asks for {address}"]
        return found

    def named(self) -> list[tuple[str, str]]:
        """Role and name of everything that a screen reader meets."""
        nodes = [node for node in self.ask("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
        return [(node.get("role", {}).get("value", ""), node.get("name", {}).get("value", "")) for node in nodes]

    def end(self) -> None:
        try:
            self.loop.run_until_complete(self._parted())
        finally:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
            self.loop.close()

    async def _parted(self) -> None:
        # Within the loop: whoever ran another one before has left this thread without a loop of its own.
        if self.socket is not None:
            self.socket.close()
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} was found")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found = Browser(program, Path(folder))
        try:
            found.begin()
            yield found
        finally:
            found.end()


@pytest.fixture(scope="module")
def pages(renamed_run, tune_text, design_text, swept, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    texts = {"tune": tune_text, "design": design_text}
    texts["sweep"] = sweep_page(swept, ["nodes", "alpha", "device"], ["nrmse", "works"], HOSTILE, [EQUATION])
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {"run": renamed_run / "report.html", **{name: folder / f"{name}.html" for name in texts}}


@pytest.mark.parametrize("name", [pytest.param("run", marks=pytest.mark.slow), "tune", "design", "sweep"])
def test_nothing_is_wrong_at_any_width(browser, pages, name):
    for width in WIDTHS:
        browser.open(pages[name], width, dark=width == 1920)
        assert browser.run(LAYOUT) == [], width
        assert browser.complaints() == [], width


def test_what_is_wrong_would_be_seen(browser, pages):
    browser.open(pages["sweep"])
    browser.run("document.querySelector('h1').style.marginBottom = '-60px'")
    assert any("one over the other: h1" in told for told in browser.run(LAYOUT))
    browser.run("document.querySelector('p').style.minWidth = '200vw'")
    assert any("beyond the page: p" in told for told in browser.run(LAYOUT))
    browser.run("console.error('ill'); fetch('https://elsewhere.invalid/').catch(() => 0)")
    told = " ".join(browser.complaints())
    assert "ill" in told
    assert "asks for https://elsewhere.invalid/" in told


@pytest.mark.parametrize("name", ["run", "tune", "design", "sweep"])
def test_all_figures_and_selectors_have_names_and_the_keyboard_reaches_them(browser, pages, name):
    browser.open(pages[name])
    named = browser.named()
    roles = {role for role, _ in named}
    assert {"figure", "combobox", "heading"} <= roles
    nameless = {
        role for role, text in named if not text and role in ("figure", "combobox", "heading", "link", "table", "img")
    }
    assert nameless == set()
    selectors = {text for role, text in named if role == "combobox"}
    reached = set()
    for _ in range(150):
        browser.press("Tab")
        reached.add(browser.run(FOCUSED))
        if selectors <= reached:
            break
    assert selectors <= reached


def test_choosing_a_task_and_a_junction_shows_them(browser, pages):
    browser.open(pages["run"])
    words = f"{MODELS}.find((one) => one.type === 'Div').text"
    shown = f"Array.from({MODELS}.find((one) => one.data?.target && one.data?.full).data.full).slice(0, 9)"
    before = browser.run(shown)
    assert browser.run(words).startswith(EQUATION)
    for _ in range(40):
        browser.press("Tab")
        if browser.run(FOCUSED) == "Task":
            break
    browser.press("ArrowDown")
    assert browser.run(words).startswith(HOSTILE)
    assert browser.run(shown) != before
    signal = f"Array.from({MODELS}.find((one) => one.data?.apart && one.data?.drive).data.full).slice(0, 9)"
    first = browser.run(signal)
    browser.choose("Junction", "3")
    assert browser.run(signal) != first
    browser.choose("Trajectory", "2")
    assert browser.complaints() == []


def test_a_table_is_sorted_where_it_is_seen(browser, pages):
    browser.open(pages["sweep"])
    assert browser.run(CELLS)[:6] == [10, 20, 40, 10, 20, 40]
    browser.choose("Sort by", "nodes")
    assert browser.run(CELLS)[:6] == [10] * 6
    browser.choose("Sort by", "listed")
    assert browser.run(CELLS)[:3] == [10, 20, 40]
    assert browser.complaints() == []


def test_a_click_sorts_a_table_and_picks_a_network_and_a_junction(browser, pages):
    browser.open(pages["sweep"])
    head = browser.place(".slick-header-column")
    browser.drag((head["x"], head["y"]), (head["x"], head["y"]))
    assert browser.run(CELLS)[:6] == [10] * 6
    browser.open(pages["run"])
    for row, label, value in ((1, "Task", HOSTILE), (2 + 2, "Junction", "2")):  # two networks stand above the junctions
        cell = browser.place(".slick-row .slick-cell.l1", row)
        assert cell["height"] > 10
        browser.drag((cell["x"], cell["y"]), (cell["x"], cell["y"]))
        assert browser.run(f"{MODELS}.find((one) => one.title === {json.dumps(label)}).value") == value
    assert browser.complaints() == []


COLUMN = """(() => {{
  const table = document.querySelector("table[aria-label='What was judged closely']")
  return [...table.tBodies[0].rows].map((row) => row.cells[{}].innerText)
}})()"""


def test_a_click_or_a_key_sorts_a_small_table_and_what_is_missing_stays_last(browser, pages):
    browser.open(pages["design"])
    chips, energy = (COLUMN.format(f"row.cells.length - {k}") for k in (4, 1))
    listed = browser.run(chips)
    assert sorted(listed) == ["100 %", "5 %", "–", "–"]
    head = browser.place("table.sorts th:nth-last-child(4) button")
    browser.drag((head["x"], head["y"]), (head["x"], head["y"]))
    assert browser.run(chips) == ["5 %", "100 %", "–", "–"]
    browser.press("Enter")
    assert browser.run(chips) == ["100 %", "5 %", "–", "–"]
    assert browser.run("[...document.querySelectorAll('th[aria-sort=descending]')].map((one) => one.innerText)") == [
        "chips that do it"
    ]
    browser.run("document.querySelector('table.sorts th:last-child button').click()")
    values = [float(one) for one in browser.run(energy)]
    assert values == sorted(values)
    assert browser.complaints() == []


def test_what_has_two_rows_or_an_order_of_its_own_is_not_sorted(browser, pages):
    browser.open(pages["run"])
    assert browser.run("document.querySelectorAll('table.sorts').length") > 1
    assert browser.run("document.querySelectorAll('th button').length") == 0
    browser.open(pages["design"])
    assert browser.run("document.querySelectorAll('table[aria-label=\"The device card\"] button').length") == 0


@pytest.mark.parametrize("name", ["run", "tune", "design", "sweep"])
def test_on_paper_nothing_is_cut_and_no_tool_is_left(browser, pages, name):
    """From a window that is wider than the paper."""
    browser.open(pages[name], 1280)
    browser.run("""matchMedia("print").addEventListener("change", (event) => {
      if (!event.matches) return
      const paper = document.documentElement.clientWidth
      const beyond = [...document.querySelectorAll("body *")].filter((one) =>
        one.getBoundingClientRect().right > paper + 1)
      const plots = [...document.querySelectorAll(".plot > *")].map((one) => [one, one.currentCSSZoom])
      const tools = []
      const walk = (root) => {
        for (const element of root.querySelectorAll("*")) {
          if (element.matches(".bk-Toolbar")) tools.push(getComputedStyle(element).visibility)
          if (element.shadowRoot) walk(element.shadowRoot)
        }
      }
      walk(document)
      globalThis.printed = {
        paper, tools, beyond: beyond.map((one) => one.tagName + "." + one.className),
        zooms: plots.map(([one, zoom]) => zoom * one.offsetWidth),
      }
    })""")
    browser.ask("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)
    printed = browser.run("printed")
    assert printed["beyond"] == []
    assert printed["paper"] < 800  # 182 mm are 688 pixels; what does not fit would make all of it smaller
    assert set(printed["tools"]) == {"hidden"}
    assert all(width <= printed["paper"] + 1 for width in printed["zooms"])


@pytest.mark.parametrize("name", ["run", "tune", "design", "sweep"])
def test_without_scripts_the_page_says_what_is_missing_and_where_it_is(browser, pages, name):
    browser.events.clear()
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.ask("Page.navigate", url=pages[name].as_uri())
        until = time.monotonic() + PATIENCE
        while browser.run("document.readyState") != "complete":
            assert time.monotonic() < until
            time.sleep(0.1)
        told = browser.run("document.querySelector('noscript').innerText")
        assert told.startswith("Scripts are switched off")
        assert browser.run("document.querySelector('noscript').getBoundingClientRect().height") > 20
        if name == "run":
            assert browser.run("document.querySelector('noscript img').naturalWidth") > 300
            for file in ("cosimulation.nc", "calibration.nc", "model.nc", "summary.json"):
                assert file in told
                assert (pages["run"].parent / file).is_file()
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_dragging_zooms_and_the_pointer_is_told_values(browser, pages):
    browser.open(pages["run"])
    shown = f"{MODELS}.find((one) => one.type === 'RangeTool').x_range"
    before = browser.run(f"[{shown}.start, {shown}.end]")
    at = browser.place("figure[aria-label^='Outputs'] .plot")
    browser.mouse("mouseMoved", at["x"], at["y"])
    browser.mouse("mouseMoved", at["x"] + 3, at["y"] + 3)
    tip = browser.place(".bk-tooltip-content")
    assert tip["width"] > 40
    browser.drag((at["x"] - 100, at["y"] - 40), (at["x"] + 100, at["y"] + 40))
    after = browser.run(f"[{shown}.start, {shown}.end]")
    assert before[0] < after[0] < after[1] < before[1]
    assert browser.complaints() == []


def test_other_axes_are_shown_on_the_scale_that_suits_them(browser, pages):
    browser.open(pages["sweep"])
    seen = f"{MODELS}.filter((one) => one.type === 'Figure' && one.visible).map((one) => one.below[0].type)"
    assert browser.run(seen) == ["LinearAxis"]
    browser.choose("Horizontal", "nrmse")
    browser.choose("Colour", "ink of device")
    assert browser.run(seen) == ["LogAxis"]
    browser.choose("Vertical", "nodes")
    assert browser.run(LAYOUT) == []
    assert browser.complaints() == []


def test_plots_follow_the_colours_of_the_page(browser, pages):
    """Dark where it is dark, and dark ink on paper."""
    browser.open(pages["sweep"])
    ink = """(() => {
      const found = []
      const walk = (root) => {
        for (const element of root.querySelectorAll("*")) {
          if (element.tagName === "CANVAS" && element.width > 400) found.push(element)
          if (element.shadowRoot) walk(element.shadowRoot)
        }
      }
      walk(document)
      let [sum, count] = [0, 0]
      for (const canvas of found) {
        const labels = canvas.getContext("2d").getImageData(0, canvas.height - 30, canvas.width, 28).data
        for (let i = 0; i < labels.length; i += 4) if (labels[i + 3] > 150) { sum += labels[i]; count += 1 }
      }
      return sum / count
    })()"""
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    light = browser.run(ink)
    browser.ask("Emulation.setEmulatedMedia", media="", features=[dark])
    assert browser.run(f"new Promise((resolve) => setTimeout(() => resolve({ink}), 200))") > light + 40
    browser.ask("Emulation.setEmulatedMedia", media="print", features=[dark])
    assert browser.run(f"new Promise((resolve) => setTimeout(() => resolve({ink}), 200))") < light + 10
    assert browser.run("getComputedStyle(document.querySelector('.controls')).display") == "none"
