"""What the server serves to browsers besides the call itself."""

from __future__ import annotations

import json

from tests.browser.axe import violations
from tests.browser.conftest import OpenTab
from tests.integration.raw import RawWebSocket
from tests.integration.servers import Running


def test_the_status_page_shows_figures_and_no_names(open_tab: OpenTab, site: Running) -> None:
    tab = open_tab()
    with RawWebSocket(site) as peer:
        peer.join()
        secret = {"roomId": "the-secret-room", "name": "Mallory"}
        peer.send(peer.event(json.dumps(["join-room", secret])))
        while "join-ok" not in str(peer.receive()):
            pass
        served = site.get("/status").read().decode()
        tab.page.goto(f"{tab.url}/status")
        tab.wait("() => Number(document.querySelector('[data-figure=rooms]').textContent) >= 1")
        shown = tab.page.locator("main").inner_text()
        assert violations(tab.page) == []
    for text in (served, shown):
        assert not any(word in text for word in ("the-secret-room", "Mallory", peer.sid))
    figures = site.get_json("/health")
    assert set(figures) == {
        *("status", "version", "uptime", "workers", "nodes", "sockets", "rooms"),
        *("relayed", "dropped"),
    }
    assert figures["version"] in shown


def test_the_status_page_says_when_the_server_is_gone(open_tab: OpenTab) -> None:
    tab = open_tab(fresh=True)
    tab.page.goto(f"{tab.url}/status")
    tab.wait_for_text("#verdict", "The server is running.")
    tab.page.context.set_offline(True)
    tab.wait_for_text("#verdict", "The server does not answer.")
    tab.errors.clear()


def test_everything_comes_from_this_server(open_tab: OpenTab, site: Running, room: str) -> None:
    tab = open_tab(fresh=True)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.open(room, "Ada").wait_inside()
    assert f"{site.url}/rtcio/main.js" in asked
    assert sum(len(site.get(url.removeprefix(site.url)).read()) for url in set(asked)) < 150_000
    assert [url for url in asked if not url.startswith(f"{site.url}/")] == []


def test_the_pages_run_only_their_own_scripts_and_are_not_framed(
    open_tab: OpenTab, site: Running
) -> None:
    for path in ("/", "/status"):
        tab = open_tab(fresh=True)
        tab.page.goto(f"{site.url}{path}")
        tab.page.evaluate(
            """() => {
              const script = document.createElement("script");
              script.textContent = "window.foreign = true";
              document.body.append(script);
            }"""
        )
        assert tab.page.evaluate("() => window.foreign") is None
        assert any("Content Security Policy" in error for error in tab.errors)
        tab.errors.clear()
        response = site.get(path)
        response.read()
        policy = response.headers["Content-Security-Policy"]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == rules["script-src"] == "'self'"
        assert rules["object-src"] == rules["base-uri"] == "'none'"
        assert rules["frame-ancestors"] == "'self'"
        assert "unsafe" not in policy
        assert response.headers["Referrer-Policy"] == "no-referrer"


def test_text_is_never_run_as_a_script(open_tab: OpenTab, site: Running) -> None:
    tab = open_tab(fresh=True)
    for path in ("/", "/status"):
        tab.page.goto(f"{site.url}{path}")
        # From within the page, later: what a test evaluates is let pass.
        tab.page.evaluate(
            """() => setTimeout(() => {
              try { window.evaluated = (0, eval)("1"); }
              catch (error) { window.evaluated = error.name; }
            })"""
        )
        tab.wait("() => window.evaluated")
        assert tab.page.evaluate("() => window.evaluated") == "EvalError"
        tab.errors.clear()


def test_the_pages_break_no_rule_of_their_policy(
    open_tab: OpenTab, site: Running, room: str
) -> None:
    tabs = [open_tab(fresh=True) for _ in range(2)]
    broken: list[str] = []
    for tab, name in zip(tabs, ("Ada", "Ben"), strict=True):
        tab.page.expose_function("rule_broken", lambda rule: broken.append(rule))
        tab.page.add_init_script(
            """addEventListener("securitypolicyviolation",
              (event) => window.rule_broken(`${event.violatedDirective} ${event.blockedURI}`));"""
        )
        tab.page.goto(f"{site.url}/status")
        tab.wait_for_text("#verdict", "The server is running.")
        tab.open(room, name).wait_inside()
    ada, ben = tabs
    ada.wait_for_video("Ben")
    ben.wait_for_video("Ada")
    ada.say("hello")
    ben.wait_for_message("hello")
    for button in ("Microphone", "Camera", "Leave"):
        ben.press(button)
    ben.wait_outside()
    ada.wait_for_others()
    assert broken == []
