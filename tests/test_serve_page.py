"""The page of `pokeml serve` in Chromium: by mouse and by keyboard, in both themes, and nothing from outside."""

from itertools import product

import pytest
from serving import wait_until


@pytest.fixture
def page(browser, server):
    """The page, with a note of all that it asks for and complains of."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.asked, opened.complaints = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("console", lambda message: opened.complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.goto(server.url)
    opened.wait_for_selector("#bars li.first .share:not(:empty)")
    yield opened
    assert not opened.complaints
    assert all(url.startswith((server.url, "data:")) for url in opened.asked), opened.asked
    opened.close()


def until(page, condition: str) -> None:
    """Wait for something in the page; Playwright's own way needs `eval`, which the page's policy forbids."""
    wait_until(lambda: page.evaluate(condition))


def shares(page) -> dict[str, str]:
    """The bars: how wide each is."""
    return page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#bars li')].map("
        "li => [li.querySelector('.name').textContent, li.querySelector('.fill').style.width]))"
    )


def test_a_slider_moves_the_bars_and_the_page_says_what_was_seen(page, server):
    examples = server.ask("GET", "/examples?route=statistics")[1]["examples"]
    page.get_by_label("statistics").check()
    until(page, "state.route.name === 'statistics'")
    for part, said in {"train": "was seen in training", "test": "was not seen in training"}.items():
        name = next(example["name"] for example in examples if example["part"] == part)
        page.get_by_label("Start from a known row").fill(name.upper())
        page.get_by_label("Start from a known row").press("Enter")
        until(page, f"document.getElementById('seen').textContent.startsWith({name!r} + ' was ')")
        assert said in page.inner_text("#seen")
    before = shares(page)
    assert len(before) == len(server.ask("GET", "/model")[1]["routes"][1]["classes"])
    slider = page.get_by_label("attack, slider", exact=True)
    slider.focus()
    for _ in range(30):
        slider.press("ArrowRight")
    wait_until(lambda: shares(page) != before)
    assert "the values are yours" in page.inner_text("#seen")
    number = page.get_by_label("attack", exact=True)
    assert number.input_value() == slider.input_value()
    number.fill("")
    page.wait_for_selector("#said li.error")
    assert page.inner_text("#said li.error").startswith("attack") and page.inner_text("#answer").startswith("–")
    number.fill("80")
    page.wait_for_selector("#said li.error", state="detached")
    until(page, "document.getElementById('told').textContent.includes('%')")  # for a screen reader


def test_it_works_by_keyboard_alone(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "route"
    page.keyboard.press("ArrowRight")
    until(page, "state.route.name === 'statistics'")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "row"
    named = page.evaluate(
        "[...document.querySelectorAll('input, select, button')].filter(e => e.offsetParent).every("
        "e => e.labels?.length || e.ariaLabel || e.textContent.trim())"
    )
    assert named


CONTRAST = """() => {
    const light = rgb => rgb.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = light(getComputedStyle(document.querySelector('.card')).backgroundColor);
    return ['h1', '.hint', '.quiet', '#answer strong', '#bars .share', 'legend', 'a', '#seen'].map(s => {
        const text = light(getComputedStyle(document.querySelector(s)).color);
        return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
    });
}"""


def test_nothing_runs_over_and_all_text_can_be_read(page):
    for width, scheme in product((1440, 360), ("light", "dark")):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, scheme)
        contrast = page.evaluate(CONTRAST)
        assert min(contrast) >= 4.5, (width, scheme, contrast)  # WCAG AA
    until(page, "document.getElementById('bars').offsetHeight === 5 * 28")  # on the phone, the last of them
    page.get_by_role("button", name="Show all").click()
    assert page.evaluate("document.getElementById('bars').offsetHeight") > 5 * 28


def test_the_documentation_works_without_the_network(page, server):
    page.goto(f"{server.url}/docs")
    page.click("#operations-prediction-post_statistics .opblock-summary")
    page.click(".try-out__btn")
    page.click(".execute")
    status = page.locator(".live-responses-table .response td.response-col_status")
    assert status.inner_text().strip().startswith("200")
