"""A process that imports everything once and then forks a child for each life it is asked for: a life costs 50 ms, not 3 s.

It reads one JSON object per line and answers each with one: how its children ended. The first order it carries out itself, so that its
children find every module, statement and cache warm; no connection is left open then, so that a fork copies none.
"""

import json
import os
import signal
import sys
import time
import traceback
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from assets import intake as intake_module
from assets import judging
from assets.acquisition import merge_site_day
from assets.intake import Intake
from assets.judging import Judged, judge
from assets.partitions import SiteDay
from ml.plant import Site
from resources.failpoints import FAIL_VARIABLE
from resources.home import Home
from resources.lake import LakeResource
from resources.landing import Delivery, LandingResource
from resources.ledger.intake import pending_site_days
from resources.ledger.ledger import LedgerResource, engine_for
from resources.spool import Spool


def live(order: dict[str, Any]) -> None:
    """The life of one child: everything in the landing zone, through to merged readings."""
    if order.get("fail_at"):
        os.environ[FAIL_VARIABLE] = order["fail_at"]
    home = Home(Path(order["home"]))
    site = _site(order["plant"])
    landing, archive, quarantine = (str(home.folder(name)) for name in ("landing", "archive", "quarantine"))
    zone = LandingResource(landing=landing, archive=archive, quarantine=quarantine)
    lake, ledger = LakeResource(root=str(home.folder("lake"))), LedgerResource(url=order["url"])
    judging.Spool = partial(Spool, rows_in_memory=order["rows_in_memory"], rows_at_once=order["rows_in_memory"] // 2)  # type: ignore[misc]
    growing = order.get("growing")
    intake_module.judge = partial(_judge_while_it_grows, name=growing["name"], size=growing["size"]) if growing else judge
    intake = Intake(landing=zone, lake=lake, ledger=ledger, run_id=f"run-{os.getpid()}")
    names = [f.name for f in zone.files(site=site.site)]
    while True:  # once with nothing to take in, too: that clears away what a death after the last file had left
        taken = list(intake.take_in_all(names, {site.site: site}))
        if failed := [t for t in taken if t.state == "failed"]:
            raise RuntimeError(f"failed: {failed}")
        if not (names := [f.name for f in zone.files(site=site.site)] or zone.claimed()):
            break
    with ledger.begin() as connection:
        pending = pending_site_days(connection)
    for site_day in pending:
        merge_site_day(SiteDay(site_day.day, site_day.site), lake=lake, ledger=ledger)


@cache
def _site(plant: str) -> Site:
    return Site.model_validate(yaml.safe_load(plant))


def _judge_while_it_grows(delivery: Delivery, site: Site, *, name: str, size: int, **rest: Any) -> Judged:
    """The sender of one file wrote `size` bytes, paused, and goes on only now."""
    if delivery.name == name and delivery.size == size:
        with delivery.claimed.open("ab") as file:
            file.write(b"2026-10-06T11:59:00Z,P1-T,22\n")
        os.utime(delivery.claimed, ns=(delivery.claimed.stat().st_atime_ns, delivery.mark[1] + 1))
    return judge(delivery, site, **rest)


def born(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        live(order)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever ends it is told
        Path(order["home"], "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(status)


def ended(pid: int) -> int:
    """0 for a child that lived to its end, -9 for one that was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def answer(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        if "warm_up" in order:
            live(order)
            engine_for(order["url"]).dispose()
            answer({})
            continue
        began = time.perf_counter()
        children = [born(order) for _ in range(order.get("twins", 1))]
        if "kill_after_s" in order:
            time.sleep(max(0.0, order["kill_after_s"] - (time.perf_counter() - began)))
            os.kill(children[0], signal.SIGKILL)
        exits = [ended(pid) for pid in children]
        answer({"exits": exits, "seconds": time.perf_counter() - began})


if __name__ == "__main__":
    serve()
