"""The live page in a real browser: it gains points while a run is stored, with the figures that are there."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from dashboards.page.app import application
from test_page_following import STEPS, write_steps
from test_report_browser import browser, pytestmark  # noqa: F401 - when to skip


def test_the_page_gains_points_while_a_run_is_stored(
    browser: Any,  # noqa: F811 - the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    write_steps(folder, 0, 12, risen=True)
    server = uvicorn.Server(uvicorn.Config(application(folder), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        page, troubles = browser.new_page(), []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"http://localhost:{port}/runs/run/")
        page.evaluate("document.getElementById('figures').scrollIntoView()")
        page.wait_for_selector(".plot canvas")
        # What is seen from here on are points, and no figures drawn anew.
        monkeypatch.setattr("dashboards.page.app.Runs.renew", lambda *_: None)
        write_steps(folder, 12, 14, risen=True)
        page.wait_for_function(
            """step => report.views.some((one) => one && one.view.signal("to_step") === step
               && Object.values(one.spec.datasets).some((rows) => rows.filter((row) => row.step === step).length === 1))
            """,
            arg=int(STEPS[13]), timeout=20_000,
        )  # fmt: skip
        assert not troubles
    finally:
        server.should_exit = True
        thread.join()
