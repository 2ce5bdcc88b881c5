"""The console in headless Chromium, as an operator uses it: at a desk and on a phone, in light and in dark.

Asserts, all along: no request leaves the page's origin, the browser's console has no errors, axe finds nothing that is serious or worse, and nothing is
wider than the window.
"""

import argparse
import os
import re
import subprocess
import time
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

VIEWS = ["cluster", "traffic", "orders", "storage", "access"]
SCHEMES = ("light", "dark")
WIDTHS = (1440, 390)
# How long anything that must happen may take, in milliseconds.
PATIENCE = 60_000
SERIOUS = ("serious", "critical")
AXE = (Path(__file__).parent / "axe.min.js").read_text()


class Desk:
    """A browser's window on the console."""

    def __init__(self, browser, asked, scheme, width):
        self.asked = asked
        height = 900 if width > 700 else 844
        self.context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": height}, has_touch=width < 700, locale="en-GB", timezone_id="UTC"
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.name = f"{scheme} at {width}"
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self.told)

    def told(self, message):
        # The browser tells of each answer that is a refusal; that a shard has no leader for a moment is no fault of the page's, which shows it.
        if re.search(r"responded with a status of (503|504) ", message.text):
            return
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def open(self, path="/console"):
        self.page.goto(self.asked.admin + path)

    def log_in(self, key):
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Log in").click()

    def view(self, name):
        self.page.get_by_role("navigation").get_by_role("link", name=name.capitalize()).click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(name.capitalize())
        self.settled()

    def settled(self):
        expect(self.page.get_by_text("Asking the node")).to_have_count(0)
        expect(self.page.locator("main .panel").first).to_be_visible()

    def check(self, what):
        """What must hold wherever one is."""
        page = self.page
        self.page.evaluate(AXE)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        bad = [
            f"{it['id']} ({it['impact']}): {[node['html'] for node in it['nodes']][:3]} {it['nodes'][0]['failureSummary']}"
            for it in found["violations"]
            if it["impact"] in SERIOUS
        ]
        assert not bad, f"{self.name}, {what}: axe: " + "\n".join(bad)
        assert len(found["passes"]) > 10, "axe has looked at nothing"
        wide = page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{self.name}, {what}: {wide} pixels wider than the window"
        self.check_quiet(what)

    def check_quiet(self, what):
        strays = [url for url in self.requests if not url.startswith(self.asked.admin + "/")]
        assert not strays, f"{self.name}, {what}: {strays}"
        assert not self.errors, f"{self.name}, {what}: {self.errors}"

    def picture(self, name):
        self.page.screenshot(path=self.asked.pictures / f"{name}.png")

    def close(self):
        self.check_quiet("at the end")
        self.context.close()


def tour(browser, asked, scheme, width):
    """Every view, and an order by its id."""
    desk = Desk(browser, asked, scheme, width)
    page = desk.page
    desk.open()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    desk.check("login")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in re.findall(r"\d+", paper)[:3]) > 3 * 128
    assert light == (scheme == "light"), f"{desk.name}: {paper}"
    desk.log_in(asked.key)
    expect(page.get_by_role("heading", level=1)).to_have_text("Cluster")
    for view in VIEWS:
        desk.view(view)
        if view == "traffic":
            for plot in ("#plot-rate", "#plot-latency"):
                expect(page.locator(f"{plot} canvas")).to_be_visible()
            # Orders are being placed meanwhile.
            expect(page.locator("#plot-rate [data-line=orders]")).to_contain_text("/s")
            expect(page.locator("#plot-latency [data-line=p99]")).to_contain_text("s")
        if view == "access":
            expect(page.get_by_role("row").filter(has_text="admin").first).to_be_visible()
        desk.check(view)
        if (view, scheme, width) == ("traffic", "dark", 1440):
            page.wait_for_function("document.querySelector('#plot-rate canvas') && true")
            desk.picture("traffic-dark")
        if (view, scheme, width) == ("cluster", "light", 390):
            desk.picture("cluster-phone")
    order(desk, asked)
    if (scheme, width) == ("light", 1440):
        desk.picture("order-light")
    if (scheme, width) == ("dark", 390):
        desk.picture("order-phone-dark")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert desk.context.cookies() == []
    desk.close()


def order(desk, asked):
    """An order is found by its id, and its time line is read."""
    page = desk.page
    desk.view("orders")
    page.get_by_label("Order", exact=True).fill(f" orders/{asked.order} ")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Order {asked.order}")
    desk.settled()
    told = page.locator(".timeline > li")
    expect(told.filter(has_text="confirmed").first).to_be_visible()
    expect(told.filter(has_text="shipped").first).to_contain_text("captured 9.00 EUR")
    expect(told.last).to_contain_text("street-is-missing")
    times = [time.get_attribute("datetime") for time in page.locator(".timeline time").all()]
    assert times == sorted(times) and len(times) >= 3, times
    expect(page.locator("#money-authorized")).to_contain_text("66.80 EUR")
    expect(page.locator("#money-captured")).to_contain_text("9.00 EUR")
    expect(page.locator("#line-1")).to_contain_text("consumed 2")
    # A moment is told exactly where it has the focus.
    when = page.locator(".timeline time").first
    when.focus()
    shown = when.evaluate("it => getComputedStyle(it, '::after').content")
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", shown), shown
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    desk.check("order")


def odd_names(browser, asked):
    """What a customer and an item call themselves is text."""
    desk = Desk(browser, asked, "light", 1440)
    page = desk.page
    desk.open(f"/console/orders/{asked.odd}")
    desk.log_in(asked.key)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Order {asked.odd}")
    desk.settled()
    assert page.get_by_text(asked.markup).count() == 2, "of the customer and of the item"
    assert page.locator("img").count() == 0
    desk.close()


def a_node_dies_and_comes_back(browser, asked):
    """It dies once, and is watched in every light and width."""
    desks = [Desk(browser, asked, scheme, width) for scheme in SCHEMES for width in WIDTHS]
    for desk in desks:
        desk.open()
        desk.log_in(asked.key)
        expect(desk.page.locator("#node-2")).to_contain_text("ready")
    docket(asked, "kill", "2")
    for desk in desks:
        page, led = desk.page, desk.page.locator("dl.stats")
        expect(page.locator("#node-2")).to_contain_text("away")
        expect(led).to_contain_text("2 of 3")
        # The others have taken its leads over.
        expect(led).to_contain_text("9 of 9")
        expect(page.get_by_role("heading", name="What is not as it should be")).to_be_visible()
        for group in page.locator("tr[id^=group-]").all():
            expect(group.locator("td").nth(1)).to_have_text(re.compile("away"))
            expect(group.get_by_text("leader")).to_have_count(1)
        desk.check("a node is away")
        if desk.name == "dark at 1440":
            desk.picture("node-away-dark")
    docket(asked, "restart", "2")
    for desk in desks:
        page = desk.page
        expect(page.locator("#node-2")).to_contain_text("ready")
        expect(page.locator("dl.stats")).to_contain_text("3 of 3")
        expect(page.get_by_text("away", exact=True)).to_have_count(0)
        desk.check("it is back")
        desk.close()


def by_keyboard(browser, asked):
    desk = Desk(browser, asked, "light", 1440)
    page = desk.page
    desk.open()
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.insert_text("dk_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    # The browser itself tells of the refusal.
    assert len(desk.errors) == 1 and "401" in desk.errors.pop(), desk.errors
    page.keyboard.insert_text(asked.key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Cluster")
    [cookie] = desk.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and cookie["path"] == "/console", cookie
    assert page.evaluate("document.cookie") == ""
    assert asked.key not in page.evaluate("JSON.stringify([localStorage, sessionStorage]) + document.documentElement.outerHTML")

    desk.open()
    desk.settled()
    focused = "document.activeElement.textContent"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    desk.open()
    desk.settled()
    for _ in range(4):
        page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Traffic"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", outline
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Traffic")
    assert page.evaluate("document.activeElement.tagName") == "H1", "the focus is where the view begins"
    assert page.evaluate("document.title") == "Traffic · Docket"
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cluster")

    # The switch wins over the system, and is remembered.
    desk.view("traffic")
    page.get_by_label("Theme").select_option("dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    desk.settled()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark == "rgb(17, 21, 26)", dark
    desk.close()


def nobody_looks(browser, asked):
    """A page that is not seen asks nothing; one that is seen again asks at once."""
    desk = Desk(browser, asked, "light", 1440)
    page = desk.page
    desk.open()
    desk.log_in(asked.key)
    expect(page.get_by_role("heading", level=1)).to_have_text("Cluster")
    desk.settled()
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
    # One may be on its way.
    page.wait_for_timeout(1_000)
    before = len(desk.requests)
    page.wait_for_timeout(6_000)
    assert len(desk.requests) == before, desk.requests[before:]
    with page.expect_request("**/console/api/cluster"):
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    desk.close()


def the_node_itself_is_away(browser, asked):
    """What is shown is old then, and says so."""
    desk = Desk(browser, asked, "light", 1440)
    page = desk.page
    desk.open()
    desk.log_in(asked.key)
    # The page to log in has a panel, too.
    expect(page.get_by_role("heading", level=1)).to_have_text("Cluster")
    desk.settled()
    desk.check_quiet("before")
    page.route("**/console/api/**", lambda route: route.abort())
    news = page.get_by_role("status")
    expect(news).to_contain_text("Node 1 does not answer")
    expect(news).to_contain_text("What is below is from")
    expect(page.locator("main")).to_have_class(re.compile("old"))
    page.get_by_role("link", name="Storage").click()
    expect(page.get_by_text("Node 1 does not answer")).to_be_visible()
    expect(page.get_by_text("Asking the node")).to_have_count(0)
    page.unroute("**/console/api/**")
    desk.settled()
    expect(news).to_have_text("")
    # The browser itself tells of each that failed.
    assert all("ERR_FAILED" in error for error in desk.errors), desk.errors
    desk.context.close()


def docket(asked, *command):
    subprocess.run([asked.docket, "dev", *command], cwd=asked.folder, check=True, timeout=PATIENCE / 1000, capture_output=True)


def main():
    parser = argparse.ArgumentParser()
    for name in ("browser", "admin", "order", "odd", "markup", "docket"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("folder", "pictures"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    asked = parser.parse_args()
    asked.key = os.environ["DOCKET_CONSOLE_KEY"]
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked.browser, args=["--no-sandbox"])
        begun = time.monotonic()

        def done(what):
            print(f"{time.monotonic() - begun:6.1f} s  {what}", flush=True)

        by_keyboard(browser, asked)
        done("by keyboard")
        for scheme in SCHEMES:
            for width in WIDTHS:
                tour(browser, asked, scheme, width)
                done(f"every view, {scheme} at {width} pixels")
        odd_names(browser, asked)
        done("odd names")
        nobody_looks(browser, asked)
        done("nobody looks")
        the_node_itself_is_away(browser, asked)
        done("the node itself is away")
        a_node_dies_and_comes_back(browser, asked)
        done("a node dies and comes back, in each light and width")
        browser.close()
    print("all as it should be")


if __name__ == "__main__":
    main()
