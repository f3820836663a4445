"""The steps of the closed loop: customers are asked about, checks run, alerts are posted, time passes."""

import re
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import func, select

from campaigns.result import report as result
from campaigns.result.experiment import read_experiment
from churn.campaigns import Campaigns
from churn.measured import settled
from churn.params import read_knobs
from churn.profit import Profit
from churn.scorer import Scorer
from churn.script import InputError
from demo.client import Service, Watch, service, watch
from demo.clock import pass_time
from demo.crowd import Crowd, side
from demo.processes import child, until
from demo.screen import Screen
from demo.story import Month, Recovery, Score, Side
from demo.workspace import repro
from demo.world import WORLDS
from monitoring.check.findings import Report
from monitoring.check.knobs import Limits
from monitoring.check.production import record, snapshot_now
from monitoring.check.report import report
from monitoring.frames import open_log
from serve.log.tables import predictions
from serve.releases.store import Store

CUSTOMERS = 6_000  # of a month
A_MONTH = timedelta(days=30)
SEED = 100


class Steps:
    """What happens in a month, by the real commands and services; `months`, `recovery` and `told` are what is left."""

    def __init__(self, clone: Path, screen: Screen, stack: ExitStack):
        self.clone, self.screen, self.stack = clone, screen, stack
        self.beside = clone.parent / "aside"  # where other releases are trained
        self.releases, self.profit = clone / "releases", settled(read_knobs("profit", Profit))[0]
        self.months: list[Month] = []
        self.crowds: list[Crowd] = []
        self.told: dict[str, Any] = {}
        self.pending: list[str] = []  # what happens before this month's customers are asked about
        self.aside: Popen[bytes]
        self.service: Service
        self.watch: Watch
        self.first: Scorer
        self.recovery: Recovery
        self.wrong: str  # the bad release
        self.acts: list[dict[str, Any]] = []  # of the ledger, in the end
        screen.scene.months, screen.scene.of = self.months, len(WORLDS)

    @property
    def store(self) -> Store:
        """Read anew: the clock moves its acts."""
        return Store(self.releases)

    def begin(self) -> None:
        self.screen.head("Before the first month: train and serve")
        self.screen.step("train", "dvc repro")
        # what the checks compare with takes seconds to import: while the pipeline trains
        threading.Thread(target=import_module, args=("evidently",), daemon=True).start()
        self.screen.say(f"dvc repro in {self.clone}: {repro(self.clone, self.trains)}")
        version = self.store.add(Path("models/release"), "first training", "demo")
        self.store.promote(version, "first run", "demo")
        self.first = Scorer.open(self.store.bundle(version))
        card = self.first.release.card
        self.screen.say(f"release {version} ({card['model']}), test ROC AUC {card['test']['roc_auc']:.3f}")
        self.screen.step("serve", "uvicorn serve.app:app")
        self.service = self.stack.enter_context(service(self.clone))
        self.watch = self.stack.enter_context(watch(self.clone))
        self.service.wait_for(version)
        self.beside.mkdir()
        words, log = ("demo.aside", str(self.beside)), self.clone.parent / "aside.log"
        self.aside = self.stack.enter_context(child(*words, cwd=self.clone, log=log))
        self.screen.say(
            f"it answers at {self.service.address}; monitoring.watch waits for alerts at {self.watch.address}"
        )
        self.show_roles()

    def trains(self, line: str) -> None:
        if found := re.search(r"[Ss]tage '(.+?)'", line):
            self.screen.step(self.screen.scene.step, f"{self.screen.scene.words.partition(':')[0]}: {found[1]}")

    def head(self, number: int, words: str) -> None:
        self.screen.head(f"Month {number}: {words}")

    def next_month(self, words: str) -> None:
        self.pass_month()
        self.head(len(self.months) + 1, words)
        self.outcomes()

    def pass_month(self) -> None:
        self.screen.step("outcomes", "a month passes")
        pass_time(self.releases, A_MONTH)
        if len(self.months) == 1:
            self.screen.say("a month passes: the demo moves all that is logged back by 30 days, here and below")

    def outcomes(self) -> None:
        """What became of the last month's customers, a month after they were asked about."""
        self.screen.step("outcomes", "POST /feedback")
        crowd = self.crowds[-1]
        now, became = datetime.now(UTC).isoformat(), crowd.became
        told = [
            {"customer_id": customer["customer_id"], "churned": bool(churned), "observed_at": now}
            for customer, churned in zip(crowd.customers, became, strict=True)
        ]
        matched = self.service.tell(told)
        self.screen.say(f"POST /feedback: {matched:,} outcomes of last month's customers; {became.mean():.1%} left")

    def offer(self, campaign: str, share: float) -> None:
        """Make all who are flagged an offer, with that chance; the others of them are held back."""
        self.screen.step("ask", "POST /contacts")
        crowd, now = self.crowds[-1], datetime.now(UTC).isoformat()
        flagged = np.flatnonzero(side(crowd.answered).flagged)
        drawn = np.random.default_rng(SEED + len(self.months)).random(len(flagged)) < share
        crowd.offered[flagged[drawn]] = 1
        self.service.contact(
            [
                {
                    "customer_id": crowd.customers[i]["customer_id"],
                    "campaign": campaign,
                    "offered": bool(crowd.offered[i]),
                    "share": share,
                    "at": now,
                }
                for i in flagged
            ]
        )
        held_back = f"{len(flagged) - drawn.sum():,} are held back by chance" if share < 1 else "nobody is held back"
        self.screen.say(f"POST /contacts: {drawn.sum():,} flagged customers are made an offer, {held_back}")

    def brought(self, campaign: str) -> None:
        """What `python -m campaigns result` says."""
        self.screen.step("outcomes", "campaigns result")
        knobs = read_knobs("campaigns", Campaigns)
        with open_log() as connection:
            experiment = read_experiment(connection, campaign, timedelta(days=knobs.lasts))
        made = result.report(experiment, self.profit, knobs, datetime.now(UTC))
        self.told["campaign"] = {"verdict": made.verdict, "profit_per_contact": list(made.profit_per_contact)}
        each, avoided = made.profit_per_contact, made.churn_avoided
        self.screen.say(
            f"campaigns result {campaign}: churn avoided {avoided.value:.1%} [{avoided.low:.1%}, {avoided.high:.1%}], "
            f"profit {each.value:.2f} per contact [{each.low:.2f}, {each.high:.2f}], the offer's cost paid"
        )

    def ask(self, n: int = CUSTOMERS, by_file: bool = False) -> None:
        """The first n of a month's customers; by a file of all of them instead of requests."""
        how = "serve.score" if by_file else "POST /predict/batch"
        self.screen.step("ask", how)
        number, world = len(self.months) + 1, WORLDS[len(self.months)]
        self.crowds.append(Crowd.draw(SEED + number, CUSTOMERS, world, self.first.release.schema))
        answered = self.score_file(number) if by_file else self.answer(n)
        now = Month(number, n, *answered, events=self.pending)
        self.pending = []
        self.months.append(now)
        if self.store.state()["shadow"]:
            self.shadow_is_done()
        self.screen.say(
            f"{how}: {n:,} customers; the simulation knows already: true ROC AUC {now.answered.auc:.3f}, "
            f"profit {now.answered.profit:.2f} each"
            + (f"; first release {now.without.auc:.3f}, {now.without.profit:.2f}" if self.is_retrained else "")
        )

    def score_file(self, number: int) -> tuple[Score, Score]:
        """What a monthly job does: score a file of all customers, and write the answers into the log."""
        crowd, folder = self.crowds[-1], self.clone.parent / f"month-{number}"
        folder.mkdir()
        crowd.table.to_parquet(folder / "customers.parquet", index=False)
        words = ("serve.score", str(folder / "customers.parquet"), str(folder / "scores"), "--log")
        log = folder / "log"
        with child(*words, cwd=self.clone, log=log) as process:
            if process.wait():
                raise InputError(f"serve.score failed: {log.read_text()[-500:]}")
        scores = pd.concat(map(pd.read_parquet, sorted((folder / "scores").glob("part-*.parquet"))))
        assert scores["customer_id"].tolist() == crowd.table["customer_id"].tolist()
        crowd.answered += scores[["churn_probability", "prediction"]].to_dict("records")
        return self.compared()

    @property
    def is_retrained(self) -> bool:
        return self.store.state()["champion"] != self.first.release.version

    def answer(self, n: int) -> tuple[Score, Score]:
        """Ask about the next n customers of this month."""
        crowd = self.crowds[-1]
        done = len(crowd.answered)
        crowd.answered += self.service.ask(crowd.customers[done : done + n])
        return self.compared()

    def compared(self) -> tuple[Score, Score]:
        """The score of all answers of this month, and of the first release's."""
        crowd = self.crowds[-1]
        told = len(crowd.answered)
        facts = crowd.chance[:told], crowd.churned[:told], self.profit
        sides = side(crowd.answered), self.by_the_first(crowd.customers[:told])
        ours, first = (Score.of(each, *facts) for each in sides)
        return ours, first

    def by_the_first(self, customers: list[dict[str, Any]]) -> Side:
        p = self.first.probabilities(customers)
        return Side(p, (p >= self.first.release.card["threshold"]["value"]).astype("float64"))

    def check(self) -> Report:
        """What `python -m monitoring.check` does, without importing it all anew each month."""
        self.screen.step("check", "monitoring.check")
        checked, _ = report(snapshot_now(), self.profit, read_knobs("monitoring.report", Limits))
        record(checked)
        findings, now = checked.findings, self.months[-1]
        assert findings is not None
        estimated = findings.estimated.roc_auc if findings.estimated else None
        realised = findings.realised.roc_auc if findings.realised else None
        now.verdict = checked.verdict
        # a check of the bad release says nothing of the one that answered this month
        now.estimated = now.estimated or estimated
        if len(self.months) > 1 and not self.months[-2].realised:
            self.months[-2].realised = realised
        aucs = [("estimated", now.estimated), ("last month's by outcomes", realised)]
        self.screen.say(
            f"monitoring.check: {checked.verdict}; "
            + ", ".join(f"{name} {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]" for name, auc in aucs if auc),
            "bold red" if checked.verdict == "breach" else "",
        )
        for reason in checked.reasons:
            self.screen.say(f"  {reason.level}: {reason.words}")
        return checked

    def alert(self, checked: Report) -> None:
        """A breach is an alert: what Alertmanager posts to the watch, which runs monitoring.retrain --if-needed."""
        if checked.verdict != "breach":
            raise InputError(f"the check says {checked.verdict} where the story has a breach: {checked.reasons}")
        self.screen.step("alert", "POST /alerts")
        self.screen.say("alert: POST /alerts of monitoring.watch, which runs: python -m monitoring.retrain --if-needed")

        def meanwhile(line: str) -> None:
            if "Running stage" in line and self.screen.scene.step != "retrain":
                self.screen.step("retrain", "monitoring.retrain")
            self.trains(line)

        begin = time.monotonic()
        status, said = self.watch.alert(checked.reasons[0].words, meanwhile)
        for line in said:
            self.screen.say(f"  {line}", "green" if "passes the gate" in line else "")
        if status:
            raise InputError(f"the retraining failed: {said or self.watch.log.read_text()[-2000:]}")
        self.told["retraining"] = time.monotonic() - begin

    def happens(self, words: str) -> None:
        self.pending.append(words)

    def show_gate(self, gate: dict[str, Any]) -> None:
        for measured in gate["measures"]:
            if measured["measure"] in ("roc_auc", "profit"):
                self.screen.say(
                    f"  gate, {gate['customers'][measured['data']]:,} customers of {measured['data']}: "
                    f"{measured['measure'].replace('_', ' ')} {measured['candidate']:.3f}, champion "
                    f"{measured['champion']:.3f}: {'passes' if measured['passed'] else 'does not pass'}"
                )

    def shadow_is_done(self) -> None:
        """Until no more of the shadow's rows come: it takes its time behind the answers, and what is late would get the
        date of the next month."""
        seen = -1

        def is_still() -> bool:
            nonlocal seen
            before = seen
            with open_log() as connection:
                seen = connection.scalar(select(func.count()).where(predictions.c.arm == "shadow")) or 0
            time.sleep(0.5)
            return seen == before and seen > 0

        until(is_still, 60)

    def show_roles(self) -> None:
        state = self.store.state()
        self.screen.scene.roles = {name: state[name] or "-" for name in ("champion", "shadow", "previous")}
